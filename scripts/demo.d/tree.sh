# shellcheck shell=bash
#
# Any checkout of Core, or of a project that is made from it, on our library: built by CMake or by autotools. Says what it
# has recognized, builds the small libraries and Core's allocator tests (with --test-bitcoin all of test_bitcoin, with
# --tests-alone no library), and proves which code and which headers are in. Sourced by scripts/demo.

# shellcheck disable=SC2154 # scripts/demo sets configure_options and tests_alone, core.sh replaced_headers

source_dir=$(cd "${tree_dir:?}" 2>/dev/null && pwd -P) || die "there is no folder $tree_dir"

# ---- What it is -------------------------------------------------------------

# field NAME: a number of the version that a CMake tree has.
field() { sed -nE "s/^set\\(CLIENT_VERSION_$1 \"?([0-9]*)\"?\\)\$/\\1/p" "$source_dir/CMakeLists.txt" | head -n 1; }

# Sets tree, version and build_system, which `keep` reads, and project.
recognize() {
    local has_pool=false
    [[ -f $source_dir/src/support/lockedpool.cpp ]] && has_pool=true
    if $has_pool && grep -q '^set(CLIENT_VERSION_MAJOR' "$source_dir/CMakeLists.txt" 2>/dev/null; then
        build_system=cmake
        project=$(sed -nE 's/^project\(([A-Za-z0-9_]+).*/\1/p' "$source_dir/CMakeLists.txt" | head -n 1)
        tree=$(sed -nE 's/^set\((CLIENT_NAME|PACKAGE_NAME) "([^"]+)"\)$/\2/p' "$source_dir/CMakeLists.txt" | head -n 1)
        tree=${tree:-$project}
        version=$(field MAJOR).$(field MINOR)
        if [[ $(field BUILD) != 0 ]]; then version+=.$(field BUILD); fi
    elif $has_pool && [[ -f $source_dir/src/Makefile.am ]] && grep -q '^AC_INIT' "$source_dir/configure.ac" 2>/dev/null; then
        build_system=autotools
        tree=$(sed -nE 's/^AC_INIT\(\[([^]]+)\].*/\1/p' "$source_dir/configure.ac")
        version='' # configure knows it
    else
        die "$source_dir is not recognized. Looked for src/support/lockedpool.cpp together with" \
            "a CMakeLists.txt that sets CLIENT_VERSION_MAJOR, or" \
            "a configure.ac with AC_INIT and a src/Makefile.am"
    fi
}
recognize

# ---- CMake --------------------------------------------------------------------

tree_of_cmake() {
    if ${tests_alone:?}; then die "--tests-alone is for trees that are built by autotools"; fi
    local core_build=$work/core targets=(bitcoin_crypto bitcoin_util) binaries=() target
    install_missing needs_of_core
    build_library
    kept_if_not_built allocator_tests
    mapfile -t options < <(on_our_library)
    options[0]=${options[0]/CMAKE_PROJECT_BitcoinCore_INCLUDE/CMAKE_PROJECT_${project:?}_INCLUDE}
    step "cmake, with ${options[0]}" configure cmake -S "$source_dir" -B "$core_build" -G Ninja --no-warn-unused-cli "${options[@]}" \
        -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DBUILD_TESTS=ON -DENABLE_WALLET=OFF -DENABLE_IPC=OFF \
        -DWITH_EMBEDDED_ASMAP=OFF -DENABLE_EXTERNAL_SIGNER=OFF "${configure_options[@]}"
    printf '%s\n' "$made_of" >"$work/made-of"
    grep '^-- bitcoin-support:' "$logs/configure.log" | sed 's/^-- /        /' || true
    if ${test_bitcoin:?}; then targets+=(test_bitcoin); fi
    for target in "${targets[@]}"; do
        step "building $target" "build-$target" compile "$core_build" cmake --build "$core_build" --target "$target"
    done
    program=$build/allocator_tests
    step "building allocator_tests.cpp, with our headers and library alone" build-allocator_tests \
        compile "$core_build" build_allocator_tests "$source_dir" "$program"
    binaries+=("$program")
    if $test_bitcoin; then
        binaries+=("$(find "$core_build" -name test_bitcoin -type f -perm -u+x -print -quit)")
    fi

    say "what it has been built from"
    prove_switched "$core_build" 1 "${binaries[@]}"
    prove_no_warnings "$core_build"

    say "its tests on our library"
    run_and_keep allocator_tests "$program" || true
    if $test_bitcoin; then run_and_keep test_bitcoin "${binaries[-1]}" || true; fi
}

# ---- Autotools ------------------------------------------------------------------

needs_of_autotools() {
    need autoconf command -v autoconf
    need automake command -v automake
    need libtool command -v libtoolize
    need make command -v make
    need g++ command -v g++
    need pkg-config command -v pkg-config
    need bsdmainutils command -v hexdump
    need python3 command -v python3
    need binutils command -v nm
    need libboost-dev header_found boost/test/included/unit_test.hpp
    need libevent-dev header_found event2/event.h
    # Trees before 22 link Boost's libraries.
    local name package
    for name in filesystem thread chrono program_options unit_test_framework; do
        package=${name/unit_test_framework/test}
        if grep -qE "^ *AX_BOOST_${name^^}( |\$)" "$source_dir/configure.ac"; then
            need "libboost-${package//_/-}-dev" test -n "$(find /usr/lib -name "libboost_$name.so" -print -quit)"
        fi
    done
    # Litecoin has fmt besides, Dash GMP, and Dogecoin OpenSSL.
    if grep -q 'libfmt\|fmt/' "$source_dir/configure.ac" "$source_dir/src/Makefile.am"; then need libfmt-dev header_found fmt/format.h; fi
    if grep -q 'gmp\.h' "$source_dir/configure.ac"; then need libgmp-dev header_found gmp.h; fi
    if grep -q 'MODULES(\[SSL\]' "$source_dir/configure.ac"; then need libssl-dev header_found openssl/ssl.h; fi
}

# prove_planned TARGET...: make with the fragment, which does not run here, would build the targets without Core's two
# files.
prove_planned() {
    local plan=${logs:?}/plan.log own compiled
    make -n -f "$fragment" BITCOIN_SUPPORT_LIBRARY="$library" -C "$core_build/src" "$@" >"$plan" ||
        die "make -n has failed for $*"
    own=$(count 'support/([^ ]*-)?(cleanse|lockedpool)[.](cpp|o|lo)' <"$plan")
    compiled=$(grep -oE '[^ `/]+[.]cpp\b' "$plan" | sort -u | count .)
    prove "with core_drop_in.mk, make would compile $compiled files for $*, and name support/cleanse and support/lockedpool $own times" \
        test "$compiled" -gt 0 -a "$own" -eq 0
}

# without_skipped: leaves out the headers that the compiler has opened and skipped. A tree that includes with quotes has it
# open its own headers: ours have been read before in this unit, and have the same include guards. The lines are in the
# order in which the compiler has opened the files.
without_skipped() {
    awk -v include="${include:?}/" '
        { header = $2; sub(/.*\/support\//, "", header) }
        index($2, include) == 1 { ours[$1, header] = 1 }
        index($2, include) == 1 || !(($1, header) in ours)
    '
}

tree_of_autotools() {
    local fragment=${root:?}/integrations/autotools/core_drop_in.mk copy=$work/source core_build=$work/core
    local switched targets=() made=() binaries=() units
    # shellcheck disable=SC2034 # `keep` reads it
    if $tests_alone; then how_compiled=", the tree's libraries not built"; fi
    install_missing needs_of_autotools
    build_library
    switched=(compile "$core_build" make -f "$fragment" BITCOIN_SUPPORT_LIBRARY="${library:?}" -C "$core_build/src" -j"$(nproc)")

    # autogen.sh writes into the tree, so it works in a copy. Objects of the user's own build are not copied.
    if [[ ! -f $work/made-of ]]; then
        mkdir "$copy" "$core_build"
        tar -C "$source_dir" --exclude=.git --exclude='*.o' --exclude='*.lo' --exclude='*.l[ao]' --exclude='*.a' --exclude=.deps \
            --exclude=.libs --exclude=config.status -cf - . | tar -C "$copy" -xf -
        if [[ ! -f $copy/configure ]]; then step "autogen.sh, in a copy" autogen "$copy/autogen.sh"; fi
    fi
    version=$("$copy/configure" --version | sed -nE '1s/^.* configure ([^ ]+)$/\1/p')
    say "$tree $version, built by autotools: $source_dir"
    kept_if_not_built allocator_tests
    if [[ ! -f $work/made-of ]]; then
        (cd "$core_build" && step "configure" configure "$copy/configure" --disable-wallet --without-gui --without-miniupnpc --without-natpmp \
            --disable-zmq --disable-bench --disable-man --with-libs --enable-c++17 CXXFLAGS=-O0 CFLAGS=-O0 "${configure_options[@]}") || exit 1
        printf '%s\n' "$made_of" >"$work/made-of"
    fi

    # Which libraries have the two files differs: all that the versions have, as far as this tree has them. Some projects
    # have their own name in the place of bitcoin's.
    mapfile -t targets < <(grep -oE '^(lib[a-z]+_util\.a|crypto/lib[a-z]+_crypto_base\.l?a|lib[a-z]+consensus\.la):' "$core_build/src/Makefile" |
        tr -d : | grep -v '^libtest_util' | sort -u)
    # Control: what make would do without the fragment.
    prove "control: without core_drop_in.mk, make would compile support/cleanse.cpp and support/lockedpool.cpp" \
        test "$(make -n -C "$core_build/src" "${targets[@]}" 2>/dev/null | grep -oE 'support/(cleanse|lockedpool)\.cpp' | sort -u | count .)" -eq 2
    if $tests_alone; then
        # One of their objects is compiled, which wipes memory.
        mapfile -t made < <(grep -oE '^lib[a-z]+_util_a-random\.o' "$core_build/src/Makefile" | head -n 1)
        ((${#made[@]})) || die "--tests-alone needs a tree with a library lib..._util.a that has random.cpp"
    else
        made=("${targets[@]}")
    fi
    step "make -f core_drop_in.mk ${made[*]}" build "${switched[@]}" "${made[@]}"
    grep '^bitcoin-support:' "$logs/build.log" | sed 's/^/        /' || true
    if $tests_alone; then prove_planned "${targets[@]}"; fi

    # The tests of releases before 22 have a fixture that needs a whole node. It is not what is tested: an empty one.
    # The program is test_bitcoin, or has the name of the project's coin.
    local object test_program fixture=() program=$build/allocator_tests
    object=$(grep -oE 'test/test_[A-Za-z0-9_]+-allocator_tests\.o' "$core_build/src/Makefile" | head -n 1) ||
        die "src/Makefile has no object of allocator_tests.cpp"
    test_program=${object%-allocator_tests.o}
    if grep -q BasicTestingSetup "$source_dir/src/test/allocator_tests.cpp"; then
        fixture=("CPPFLAGS=-include $root/scripts/demo.d/empty_fixture.h")
    fi
    step "make -f core_drop_in.mk $object${fixture:+, with an empty fixture}" build-allocator_tests "${switched[@]}" "${fixture[@]}" "$object"
    cp "$core_build/src/$object" "$build/allocator_tests.o"
    if ((${#fixture[@]})); then rm "$core_build/src/$object"; fi
    # The program's main function comes from Boost, from where the tree finds it.
    local boost
    read -ra boost < <(sed -n 's/^BOOST_CPPFLAGS = *//p' "$core_build/src/Makefile")
    step "linking allocator_tests" link-allocator_tests c++ -O0 "${boost[@]}" -DBOOST_TEST_MODULE=allocator_tests -include boost/test/included/unit_test.hpp \
        -x c++ /dev/null -x none "$build/allocator_tests.o" "$library" -lpthread -ldl -lm -o "$program"
    binaries+=("$program")
    for binary in "$core_build"/src/.libs/lib*.so; do
        if [[ -f $binary ]]; then binaries+=("$binary"); fi
    done
    if ${test_bitcoin:?}; then
        step "make -f core_drop_in.mk $test_program" build-test_bitcoin "${switched[@]}" "$test_program"
        binaries+=("$core_build/src/$test_program")
    fi

    say "what it has been built from"
    prove_code "$core_build/src"
    # What automake writes before a unit has been compiled has the word dummy.
    mapfile -t units < <(find "$core_build/src" \( -name '*.Po' -o -name '*.Plo' \) -exec grep -L '^# dummy' {} +)
    prove_headers "${#units[@]}" 1 < <(grep -HoE "[^ ]*$replaced_headers" "${units[@]}" | sed 's/:/ /' | without_skipped)
    for binary in "${binaries[@]}"; do prove_linked "$binary"; done
    prove_no_warnings "$core_build"

    say "its tests on our library"
    run_and_keep allocator_tests "$program" || true
    if $test_bitcoin; then run_and_keep test_bitcoin "$core_build/src/$test_program" || true; fi
}

before=$(fingerprint "$source_dir")
# What an earlier run has left is used again if it was made from this checkout, unchanged, with these options, and was
# configured to the end.
work=${build:?}/demo-tree
made_of=$(printf '%s\n' "$source_dir" "$before" "${configure_options[@]}")
if [[ $(cat "$work/made-of" 2>/dev/null) != "$made_of" ]]; then rm -rf "$work"; fi
mkdir -p "$work"
if [[ $build_system == cmake ]]; then
    say "$tree $version, built by CMake: $source_dir"
    tree_of_cmake
else
    tree_of_autotools
fi
prove "nothing in $source_dir has been written to" test "$(fingerprint "$source_dir")" = "$before"
conclude "$tree $version, unpatched, on $(basename "$library") ($(c++ --version | head -n 1))"
