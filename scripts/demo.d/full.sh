# shellcheck shell=bash
#
# A whole Core with its wallet, on our library and on Core's own code: all of test_bitcoin, functional tests, a running
# node. Sourced by scripts/demo.

needs() {
    needs_of_core
    need ccache command -v ccache
    need libsqlite3-dev header_found sqlite3.h
    need python3-pip python3 -m pip --version
    need openssl command -v openssl
    # mkswap and swapon.
    need util-linux command -v mkswap
    need mount command -v swapon
}
install_missing needs

# shellcheck disable=SC2034 # `keep` reads it
if [[ ${optimize:?} != 2 ]]; then how_compiled=", compiled with -O$optimize"; fi

say "Core ${version:?}: its whole source"
core=$(scripts/core-source --whole "$version")
# The tests are Python programs in Core's tree.
export PYTHONDONTWRITEBYTECODE=1
core_before=$(fingerprint "$core")
build_library

# The codes that Core is built on. The folder of a build has this name.
codes=(ours core)
if ${ours_only:?}; then codes=(ours); fi
say_code() { case $1 in ours) printf 'on our library' ;; core) printf "on Core's own code" ;; esac; }

# ---- Building Core ----------------------------------------------------------

# Core compiles by ccache. Units that read none of our headers are the same in both builds: the paths are taken relative
# to a folder that has both.
export CCACHE_DIR=${build:?}/ccache CCACHE_BASEDIR=$build CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=5G
for code in "${codes[@]}"; do
    options=() on_failure=(true)
    if [[ $code == ours ]]; then
        mapfile -t options < <(on_our_library)
        kept_if_not_built test_bitcoin
    fi
    step "Core $version $(say_code "$code"): cmake" "configure-$code" \
        cmake -S "$core" -B "$build/$code" -G Ninja --no-warn-unused-cli "${options[@]}" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O${optimize:?}" \
        -DENABLE_WALLET=ON -DENABLE_IPC=OFF -DWITH_EMBEDDED_ASMAP=OFF -DBUILD_TESTS=ON -DBUILD_BENCH=ON
    step "Core $version $(say_code "$code"): building it, -O$optimize" "build-$code" compile "$build/$code" cmake --build "$build/$code"
done
# shellcheck disable=SC2034 # common.sh reads `on_failure`
on_failure=(true)
# shellcheck disable=SC2154 # scripts/demo sets `logs`
grep '^-- bitcoin-support:' "$logs/configure-ours.log" | sed 's/^-- /        /' || true
warnings() { grep -oE '\[-W[a-z0-9=-]+\]' "$build/$1/compiler.log" | sort | uniq -c | tr -s ' ' | tr '\n' ';' || true; }

# program CODE NAME: where the build has put it.
program() { find "$build/$1" -name "$2" -type f -perm -u+x -print -quit; }
# programs CODE: sets those that hold locked memory.
programs() {
    local name
    programs=()
    for name in bitcoind bitcoin-wallet test_bitcoin bench_bitcoin; do programs+=("$(program "$1" "$name")"); done
}

say "what Core has been built from"
programs ours
prove_switched "$build/ours" 50 "${programs[@]}"
if ! $ours_only; then
    programs core
    prove_own "$build/core" "${programs[@]}"
fi
prove_no_warnings "$build/ours"

# ---- test_bitcoin -----------------------------------------------------------

say "Core's tests"
run_and_keep test_bitcoin "$(program ours test_bitcoin)" || true

# ---- Functional tests -------------------------------------------------------

set_of_tests=() limit=() results=()
tests_of="functional tests" name_of_tests="Core's functional tests of what this library replaces"
if [[ ${functional:?} == all ]]; then
    set_of_tests=(--all)
    tests_of="all functional tests" name_of_tests="all of Core's functional tests"
fi
# The order of a day, for both codes: the tests for which the time does not suffice are others on the next day.
if [[ -n ${minutes?} ]]; then limit=(--minutes "$minutes" --shuffle "$(date -u +%F)"); fi
status=0
for code in "${codes[@]}"; do
    say "$name_of_tests, $(say_code "$code")"
    # The results of other programs say nothing of these.
    results+=("$build/functional-$code.jsonl")
    programs "$code"
    if [[ $code == ours ]]; then programs+=("${library:?}"); fi
    built=$(sha256sum "${programs[@]}")
    if [[ $(cat "$build/functional-$code.built" 2>/dev/null) != "$built" ]]; then
        rm -f "${results[-1]}"
        printf '%s\n' "$built" >"$build/functional-$code.built"
    fi
    scripts/demo.d/functional.py run "$build/$code" "${results[-1]}" "${set_of_tests[@]}" "${limit[@]}" \
        >"$logs/functional-$code.log" 2>&1 </dev/null || status=$?
    say "  $(tail -n 1 "$logs/functional-$code.log")"
    case $status in
        0 | 3 | 4) status=0 ;;
        *) tail -n 20 "$logs/functional-$code.log" >&2; prove "$name_of_tests can be run $(say_code "$code")" false; break ;;
    esac
done
if ((status)); then
    keep "$tests_of" failed "they cannot be run $(say_code "$code"): see the log of the run"
else
    compared=$(scripts/demo.d/functional.py compare "$build/ours" "${results[@]}" "${set_of_tests[@]}") || status=$?
    sum=$(tail -n 1 <<<"$compared")
    head -n -1 <<<"$compared" | sed 's/^/        /'
    result=passed
    if ((status == 3)); then
        skips+=("$name_of_tests: $sum")
    else
        if ((status)); then result=failed; fi
        prove "$name_of_tests: $sum" test "$result" = passed
    fi
    keep "$tests_of" "$result" "$sum"
fi

# ---- A running node ---------------------------------------------------------

# What no test of Core's observes: scripts/demo.d/node.py says what it does.
observed=()
for code in "${codes[@]}"; do
    say "bitcoind on regtest, $(say_code "$code")"
    status=0
    rm -f "$build/node-$code.json"
    scripts/demo.d/node.py observe "$(program "$code" bitcoind)" "$build/node-$code.json" >"$logs/node-$code.log" 2>&1 </dev/null ||
        status=$?
    if ((status)); then
        tail -n 20 "$logs/node-$code.log" >&2
        prove "a node $(say_code "$code") can be observed (log: $logs/node-$code.log)" false
        continue
    fi
    observed+=("$build/node-$code.json")
done
if [[ ! -f $build/node-ours.json ]]; then
    keep "a node with an encrypted wallet" failed "it could not be observed: see the log of the run"
else
    held=0 of=0 unseen=
    while IFS=$'\t' read -r word claim; do
        case $word in
            skipped) skips+=("$claim"); unseen+=", without the ${claim%%:*}" ;;
            *) of=$((of + 1)); [[ $word != ok ]] || held=$((held + 1)); prove "$claim" test "$word" = ok ;;
        esac
    done < <(scripts/demo.d/node.py claims "$build/node-ours.json")
    if ((held == of && of > 0)); then result=passed; else result=failed; fi
    keep "a node with an encrypted wallet" "$result" "$held of $of claims$unseen"
fi

# ---- Core's benchmarks --------------------------------------------------------

if ((${bench:?} > 0)) && ! $ours_only; then
    say "Core's benchmarks of what this library replaces, in turn"
    if compared=$(scripts/demo.d/bench.py "$(program ours bench_bitcoin)" "$(program core bench_bitcoin)" "$build/bench.json" \
        --passes "$bench"); then
        head -n -1 <<<"$compared" | sed 's/^/        /'
        say "  $(tail -n 1 <<<"$compared")"
    else
        prove "Core's benchmarks can be run on both codes" false
    fi
fi

prove "Core's source has not been written to" test "$(fingerprint "$core")" = "$core_before"

# ---- Both columns -----------------------------------------------------------

printf '\nA node with an encrypted wallet\n\n'
if [[ -f $build/node-ours.json ]]; then scripts/demo.d/node.py table "${observed[@]}"; fi
printf '\nCompiler warnings, on our library:%s\n' "$(warnings ours)"
if ! $ours_only; then printf "Compiler warnings, on Core's own code:%s\n" "$(warnings core)"; fi
conclude "Bitcoin Core $version, whole, unpatched, -O$optimize, on $(basename "${library:?}") ($(c++ --version | head -n 1))"
