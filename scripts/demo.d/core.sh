# shellcheck shell=bash
#
# A Core tree on our library: how it is configured, what proves that the library is in, and how its tests are run. Sourced
# by scripts/demo.

# The options of CMake that put our library into a Core tree.
on_our_library() {
    printf '%s\n' -DCMAKE_PROJECT_BitcoinCore_INCLUDE="${root:?}/integrations/core-cmake/core_drop_in.cmake" \
        -DBITCOIN_SUPPORT_SHARED="${shared:?}" -DBITCOIN_SUPPORT_LIBRARY="${library:?}"
}

# What Core needs besides what install_missing lists for our library.
needs_of_core() {
    need cmake command -v cmake
    need ninja-build command -v ninja
    need g++ command -v c++
    need pkg-config command -v pkg-config
    need python3 command -v python3
    need binutils command -v nm
    need libboost-dev header_found boost/test/included/unit_test.hpp
    if [[ ${version:?} != 31.99 ]]; then need libevent-dev header_found event2/event.h; fi
}

# fingerprint DIR: everything in it that writing to a file or folder would change.
fingerprint() { find "$1" -printf '%P %y %s %T@ %C@\n' | sort | sha256sum; }

# ---- Proof: Core's own code is out, ours is in ------------------------------

# Names that only Core's own sources and headers bring in: our memory_cleanse has C
# linkage, our Arena and LockedPool have other members.
core_names='_Z14memory_cleansePvm|_Z(N|T[VIS])24PosixLockedPageAllocator|_ZN17LockedPoolManager9_instanceE|_ZN10LockedPool9new_arena'

# prove_code DIR: no object has Core's own code, and there are objects that call ours. A strong definition of a class's
# member is Core's, a weak one is an inline function of our headers.
prove_code() {
    local objects own calls
    objects=$(find "$1" -name '*.o' -not -path '*/.deps/*' | count .)
    find "$1" -name '*.o' -not -path '*/.deps/*' -print0 | xargs -0 nm --print-file-name >"${logs:?}/symbols.txt" 2>"$logs/nm.log" || {
        cat "$logs/nm.log" >&2
        die "nm has failed on an object in $1"
    }
    own=$(count " ($core_names)| [TDBR] _ZNK?(5Arena|10LockedPool|17LockedPoolManager)[0-9CD]" <"$logs/symbols.txt")
    calls=$({ grep -E ' U (bitcoin_support_|memory_cleanse$)' "$logs/symbols.txt" || true; } | cut -d: -f1 | sort -u | count .)
    prove "$own symbols of Core's cleanse.cpp and lockedpool.cpp in $objects objects" test "$own" -eq 0 -a "$objects" -gt 0
    prove "$calls of them call this library" test "$calls" -gt 0
}

# The headers that ours replace, in a list of files that the compiler has read.
replaced_headers='/support/(cleanse|lockedpool|allocators/secure|allocators/zeroafterfree)[.]h'

# prove_headers UNITS LEAST: of so many translation units at least LEAST read our headers, and none those that ours
# replace. Standard input is from the compiler's own lists of what it read: lines of a unit and one of these headers.
prove_headers() {
    local ours core
    sort -u >"${logs:?}/headers.txt"
    ours=$({ grep -F " ${include:?}/" "$logs/headers.txt" || true; } | cut -d' ' -f1 | sort -u | count .)
    core=$({ grep -vF " $include/" "$logs/headers.txt" || true; } | count .)
    prove "$ours of $1 translation units read our support headers" test "$ours" -ge "$2"
    prove "$core of them read one of the headers they replace" test "$core" -eq 0
}

# prove_switched BUILD UNITS BINARY...: a build tree of Ninja's, in which at least UNITS translation units read our
# headers.
prove_switched() {
    local tree=$1 least=$2 own binary
    shift 2
    own=$(find "$tree" -name 'cleanse.cpp.o' -o -name 'lockedpool.cpp.o' | count '/support/')
    prove "no cleanse.cpp.o or lockedpool.cpp.o has been compiled" test "$own" -eq 0
    prove_code "$tree"
    ninja -C "$tree" -t deps >"${logs:?}/deps.txt"
    prove_headers "$(count '^[^ ]' <"$logs/deps.txt")" "$least" \
        < <(awk -v headers="$replaced_headers\$" '/^[^ ]/ { unit = $1 } $1 ~ headers { print unit, $1 }' "$logs/deps.txt")
    for binary in "$@"; do prove_linked "$binary"; done
}

# prove_linked BINARY: a program or a shared library has this library's code and none of Core's.
prove_linked() {
    local name left ours exported
    name=$(basename "$1")
    nm "$1" >"$logs/$name.symbols.txt"
    left=$(count " ($core_names)" <"$logs/$name.symbols.txt")
    prove "$name: $left symbols of Core's cleanse.cpp and lockedpool.cpp" test "$left" -eq 0
    if ${shared:?}; then
        ours=$(count ' U (bitcoin_support_|memory_cleanse$)' <"$logs/$name.symbols.txt")
        prove "$name: calls $ours functions of ${soname:?}, which it names as needed" \
            test "$ours" -gt 0 -a "$(readelf -d "$1" | count "NEEDED.*\\[$soname\\]")" -eq 1
    else
        ours=$(count ' [Tt] bitcoin_support_' <"$logs/$name.symbols.txt")
        prove "$name: holds $ours functions of bitcoin-support" test "$ours" -gt 0
        exported=$(nm -D --defined-only "$1" | count ' (memory_cleanse$|bitcoin_support_|rust_|_R|_ZN3std|_ZN4core)')
        prove "$name: exports $exported of them or of Rust's" test "$exported" -eq 0
    fi
}

# prove_own BUILD BINARY...: the control. A build of the same tree without the hook is Core's own code.
prove_own() {
    local tree=$1 binary name own
    shift
    own=$(find "$tree" -name 'cleanse.cpp.o' -o -name 'lockedpool.cpp.o' | count '/support/')
    prove "control: cleanse.cpp.o and lockedpool.cpp.o in the build on Core's own code ($own)" test "$own" -ge 2
    for binary in "$@"; do
        name=$(basename "$binary")
        own=$(nm "$binary" | count " ($core_names)")
        prove "control: $name on Core's own code: $own symbols of cleanse.cpp and lockedpool.cpp" test "$own" -gt 0
    done
}

# ---- Building ------------------------------------------------------------------

# compile DIR COMMAND...: what the compiler prints in this run and in later ones is in DIR/compiler.log. A run that finds
# all of DIR compiled still has the warnings. A warning stays there after its cause is mended, until DIR is removed.
compile() {
    local log=$1/compiler.log
    shift
    "$@" 2>&1 | tee -a "$log"
}

# prove_no_warnings DIR: no warning of the compiler is about our headers, or was found on the way through them.
prove_no_warnings() {
    local log=$1/compiler.log ours
    [[ -f $log ]] || die "there is no $log"
    ours=$({ grep -F "${include:?}/" "$log" || true; } | count 'warning:|In file included from|^ +from ')
    prove "$(grep -F 'warning:' "$log" | sort -u | count .) different warnings of the compiler, $ours lines of them about our headers (log: $log)" test "$ours" -eq 0
}

# ---- Proof: Core's tests pass -----------------------------------------------

# boost_passed LOG: sets passed, all, warned and assertions from Boost's short report. A case that warns has passed: Core's
# tests warn where they lack data.
boost_passed() {
    local cases skipped
    cases=$(sed -nE 's/^ *([0-9]+) test cases? out of ([0-9]+) passed$/\1 \2/p' "$1")
    warned=$(sed -nE 's/^ *([0-9]+) test cases? out of [0-9]+ passed with warnings$/\1/p' "$1")
    skipped=$(sed -nE 's/^ *([0-9]+) test cases? out of [0-9]+ skipped$/\1/p' "$1") # not asked for
    assertions=$(sed -nE 's/^ *([0-9]+) assertions? out of ([0-9]+) passed$/\1/p' "$1")
    read -r passed all <<<"${cases:-0 1}"
    warned=${warned:-0}
    passed=$((passed + warned))
    all=$((all - ${skipped:-0}))
    ((passed == all && passed > 0))
}

# cases_passed: the numbers of the last report, in words.
cases_passed() {
    printf '%s of %s test cases' "$passed" "$all"
    if ((warned)); then printf ', %s of them with a warning' "$warned"; fi
}

# run_tests NAME PROGRAM...: a Boost test program and its numbers.
run_tests() {
    local name=$1 status=0 log
    log=${logs:?}/${name// /-}.log
    shift
    "$@" --report_level=short >"$log" 2>&1 </dev/null || status=$?
    if ((status)) || ! boost_passed "$log"; then
        tail -n 20 "$log" >&2
        prove "$name (log: $log)" false
        return 1
    fi
    prove "$name: $(cases_passed), ${assertions:-?} assertions" true
}

# run_and_keep WHAT PROGRAM...: the same, and the result is kept.
run_and_keep() {
    if run_tests "$@"; then
        keep "$1" passed "$(cases_passed)"
    else
        keep "$1" failed "see the log of the run"
    fi
}

# build_allocator_tests SOURCE PROGRAM: Core's allocator tests, on their own: our headers and library and nothing of
# Core's but two of its headers, which want a configuration header to be there.
build_allocator_tests() {
    local source=$1 program=$2
    mkdir -p "${build:?}/empty-config"
    : >"$build/empty-config/bitcoin-build-config.h"
    c++ -std=c++20 -O0 -DBOOST_TEST_MODULE=allocator_tests -include boost/test/included/unit_test.hpp \
        -I"${include:?}" -I"$build/empty-config" -I"$source/src" "$source/src/test/allocator_tests.cpp" \
        "${library:?}" -lpthread -ldl -lm -o "$program"
}
