# shellcheck shell=bash
#
# libbitcoinkernel, its tests and Core's allocator tests on our library, from a tree without wallet. Sourced by
# scripts/demo.

core_build=${build:?}/core
install_missing needs_of_core

say "Core ${version:?}: asking cargo for its source"
core=$(scripts/core-source "$version")
core_before=$(fingerprint "$core")
build_library

# ---- Building Core ----------------------------------------------------------

# Unoptimized: it is Core's correctness that is looked at here, and this builds in
# a third of the time.
kept_if_not_built test_kernel
mapfile -t options < <(on_our_library)
step "Core $version: cmake, with -DCMAKE_PROJECT_BitcoinCore_INCLUDE=integrations/core-cmake/core_drop_in.cmake" configure \
    cmake -S "$core" -B "$core_build" -G Ninja --no-warn-unused-cli "${options[@]}" \
    -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DBUILD_SHARED_LIBS=ON \
    -DBUILD_KERNEL_LIB=ON -DBUILD_TESTS=ON -DENABLE_WALLET=OFF -DENABLE_IPC=OFF \
    -DWITH_EMBEDDED_ASMAP=OFF -DENABLE_EXTERNAL_SIGNER=OFF
grep '^-- bitcoin-support:' "${logs:?}/configure.log" | sed 's/^-- /        /' || true

# The small libraries and key.cpp's object are for locked_keys.cpp.
key_objects=(src/CMakeFiles/bitcoin_common.dir/key.cpp.o)
if [[ $version == 30.99 ]]; then key_objects+=(src/CMakeFiles/bitcoin_common.dir/musig.cpp.o); fi
step "Core $version: building libbitcoinkernel and test_kernel" build \
    cmake --build "$core_build" --target bitcoinkernel test_kernel bitcoin_consensus bitcoin_util "${key_objects[@]}"
on_failure=(true)
kernel=$(find "$core_build" -name libbitcoinkernel.so -print -quit)
test_kernel=$(find "$core_build" -name test_kernel -type f -perm -u+x -print -quit)
[[ -n $kernel && -n $test_kernel ]] || die "Core's build has not left libbitcoinkernel.so and test_kernel in $core_build"

say "what Core has been built from"
prove "Core's source has not been written to" test "$(fingerprint "$core")" = "$core_before"
# Which includes a tree has differs: 50 units in 31.99, 20 in 30.99.
case $version in 31.99) units=50 ;; *) units=20 ;; esac
prove_switched "$core_build" "$units" "$kernel"

# ---- Proof: Core's tests pass -----------------------------------------------

say "Core's tests on our library"
for tests_version in 31.99 30.99; do
    tests=$(scripts/core-source "$tests_version")
    program=$build/allocator_tests-$tests_version
    if [[ $tests_version == "$version" ]]; then kept_if_not_built allocator_tests; else on_failure=(true); fi
    step "  allocator_tests.cpp of $tests_version, sha256 $(sha256sum "$tests/src/test/allocator_tests.cpp" | cut -c 1-64)" \
        "allocator_tests-build-$tests_version" build_allocator_tests "$tests" "$program"
    if [[ $tests_version == "$version" ]]; then
        run_and_keep allocator_tests "$program" || true
    else
        run_tests "allocator_tests of $tests_version" "$program" || true
    fi
done
# shellcheck disable=SC2034 # common.sh reads `on_failure`
on_failure=(true)

# test_kernel, watched from outside while it runs.
peak=0
# shellcheck disable=SC2034 # common.sh reads `children`
watch_locked() {
    "$@" >"$logs/test_kernel.log" 2>&1 </dev/null &
    local pid=$! status=0 seen
    children=("$pid")
    while seen=$(cat "/proc/$pid/status" 2>/dev/null) && [[ $seen != *State:*Z\ \(* ]]; do
        if [[ $seen =~ VmLck:[[:space:]]+([0-9]+) ]] && ((BASH_REMATCH[1] > peak)); then peak=${BASH_REMATCH[1]}; fi
        sleep 0.02
    done
    wait "$pid" || status=$?
    children=()
    return "$status"
}
kernel_tests=("$test_kernel")
if [[ $version == 28.99 ]]; then
    # Not a Boost program yet; and it expects that it may not make folders in /.
    if [[ $(id -u) == 0 ]]; then
        plain=$(mktemp -d)
        cp "$test_kernel" "$kernel" "$plain"
        if ${shared:?}; then cp "${library:?}" "$plain/${soname:?}"; fi
        chmod -R a+rX "$plain"
        kernel_tests=(setpriv --reuid=nobody --regid=nogroup --clear-groups env LD_LIBRARY_PATH="$plain" "$plain/test_kernel")
    fi
else
    kernel_tests+=(--report_level=short)
fi
status=0
watch_locked "${kernel_tests[@]}" || status=$?
rm -rf "${plain:-}"
if ((status == 0)) && grep -q '^Libbitcoinkernel test completed' "$logs/test_kernel.log"; then
    prove "test_kernel: completed" true
    keep test_kernel passed
elif ((status == 0)) && boost_passed "$logs/test_kernel.log"; then
    # shellcheck disable=SC2154 # boost_passed sets `passed` and `all`
    prove "test_kernel: $(cases_passed), ${assertions:-?} assertions" true
    keep test_kernel passed "$(cases_passed)"
else
    tail -n 20 "$logs/test_kernel.log" >&2
    prove "test_kernel (log: $logs/test_kernel.log)" false
    keep test_kernel failed "see the log of the run"
fi
prove "test_kernel had $peak kB locked (VmLck in /proc; the limit is $(ulimit -l) kB)" test "$peak" -gt 0

# ---- Proof: Core's secrets are in our pool, and locked ----------------------

say "Core's keys in our pool (scripts/demo.d/locked_keys.cpp with Core's static libraries)"
static_libraries=()
# Not each version has each of them; what is missing and needed, the linker misses.
for name in bitcoin_consensus bitcoin_util bitcoin_crypto 'bitcoin_crypto_*' bitcoin_clientversion secp256k1; do
    mapfile -t -O "${#static_libraries[@]}" static_libraries < <(find "$core_build" -name "lib$name.a" | sort)
done
step "  building it" locked_keys-build \
    c++ -std=c++20 -O0 -I"${include:?}" -I"$core_build/src" -I"$core/src" scripts/demo.d/locked_keys.cpp \
    "${key_objects[@]/#/$core_build/}" -Wl,--start-group "${static_libraries[@]}" -Wl,--end-group "$library" -lpthread -ldl -lm -o "$build/locked_keys"
status=0
"$build/locked_keys" >"$logs/locked_keys.log" 2>&1 </dev/null || status=$?
sed 's/^/        /' "$logs/locked_keys.log"
holds=$(count '^  ok ' <"$logs/locked_keys.log")
prove "locked_keys: $holds observations agree, in the pool's statistics and in /proc" test "$status" -eq 0 -a "$holds" -gt 0

# ---- Proof: a program that uses the kernel and this library -----------------

# The kernel's C++ wrapper is new in 30.99. Core is built with -O0 here; another level in the program is what
# makes compilers and the dynamic linker choose differently.
if [[ $version == 31.99 ]]; then
    say "a program on libbitcoinkernel's C++ wrapper (scripts/demo.d/kernel_user.cpp)"
    for level in 0 2; do
        step "  building it with -O$level" "kernel_user-build-$level" \
            c++ -std=c++20 "-O$level" -I"$include" -I"$core/src" -c scripts/demo.d/kernel_user.cpp -o "$build/kernel_user-$level.o"
        for kind in static shared; do
            case $kind in static) link=("${static_library:?}") ;; shared) link=("${shared_library:?}") ;; esac
            program=$build/kernel_user-$level-$kind
            c++ "$build/kernel_user-$level.o" "$kernel" "${link[@]}" -lpthread -ldl -lm \
                -Wl,-rpath,"$(dirname "$kernel")" -Wl,-rpath,"$build/lib" -o "$program"
            folder=$(mktemp -d "$build/kernel_user.XXXXXX")
            status=0
            "$program" "$folder" >"$logs/kernel_user-$level-$kind.log" 2>&1 </dev/null || status=$?
            rm -rf "$folder"
            holds=$(count '^  ok ' <"$logs/kernel_user-$level-$kind.log")
            ((status == 0)) || tail -n 20 "$logs/kernel_user-$level-$kind.log" >&2
            prove "kernel_user, -O$level, $kind library: $holds observations agree" test "$status" -eq 0 -a "$holds" -gt 0
        done
    done
fi

# ---- Speed ------------------------------------------------------------------

# Core's arena benchmark on both implementations, optimized.
say "Core's arena benchmark, Core's arena and ours in one run"
step "  building it" arena_bench-configure cmake -S "${root:?}" -B "$build/ours" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DBITCOIN_SUPPORT_CARGO_TARGET_DIR="${target_dir:?}"
step "  and Core's arena" arena_bench-build cmake --build "$build/ours" --target arena_bench
status=0
"$build/ours/benches/cpp/arena_bench" >"$logs/arena_bench.log" 2>&1 </dev/null || status=$?
sed 's/^/        /' "$logs/arena_bench.log"
prove "the arena benchmark runs on both implementations, chunk for chunk alike" test "$status" -eq 0

conclude "Bitcoin Core $version, unpatched, on $(basename "$library") ($(c++ --version | head -n 1))"
