# shellcheck shell=bash
#
# What the scripts share: where the project is, saying what happens, and what has
# to be installed. Sourced, not run; the sourcing script sets `logs`.

# Used by the scripts that source this file.
# shellcheck disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf '%5ds  %s\n' "$SECONDS" "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Processes to be stopped with the script, and with each all processes of its group.
children=()
groups=()
cleanup() {
    if ((${#children[@]})); then kill "${children[@]}" 2>/dev/null || true; fi
    if ((${#groups[@]})); then kill -- "${groups[@]/#/-}" 2>/dev/null || true; fi
}
trap cleanup EXIT

# What `step` runs after a failure, besides showing the end of the log.
on_failure=(true)

# signs_of_life LOG: shows the last line of the log every 15 seconds.
signs_of_life() {
    while sleep 15 >/dev/null; do say "  ... $(tail -c 300 "$1" | tr '\r' '\n' | grep -v '^$' | tail -n 1 | cut -c 1-90)"; done
}

# watched LOG COMMAND...: runs a command, with signs of life from the log that it writes. Called with `set +e`.
watched() {
    local status=0
    signs_of_life "$1" &
    local ticker=$!
    children=("$ticker")
    "${@:2}"
    status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    children=()
    return "$status"
}

# into LOG COMMAND...: runs a command that has no input, and writes the log. A function ends where one of its commands
# fails, and cannot set a variable for later. (The shell ignores failures in a function that is called in a condition, also
# for `f || status=$?`. Therefore the callers of this take its status without one.)
into() { (set -e; "${@:2}") >"$1" 2>&1 </dev/null; }

# step_failed TITLE LOG STATUS: shows the end of the log and ends the run.
step_failed() {
    tail -n 60 "$2" >&2
    "${on_failure[@]}" >&2
    die "failed with status $3: $1 (all of it: $2)"
}

# step TITLE LOG COMMAND...: runs a long command into $logs/LOG.log. A failure ends the run.
step() {
    local title=$1 log=${logs:?}/$2.log status=0
    shift 2
    say "$title"
    set +e
    watched "$log" into "$log" "$@"
    status=$?
    set -e
    ((status == 0)) || step_failed "$title" "$log" "$status"
}

# beside TITLE LOG COMMAND...: starts a command that runs beside the steps that follow, and writes $logs/LOG.log. It is for
# commands that keep one processor busy at most. `finished` waits for its end.
beside() {
    local log=${logs:?}/$2.log
    say "$1, beside what follows"
    # A group of its own, so that all of it can be stopped.
    set -m
    into "$log" "${@:3}" &
    set +m
    groups+=("$!")
}

# finished TITLE LOG: waits for the command that was started first of those that run beside. Its failure ends the run.
finished() {
    local log=${logs:?}/$2.log status=0
    say "$1: its end"
    set +e
    watched "$log" wait "${groups[0]}"
    status=$?
    set -e
    groups=("${groups[@]:1}")
    ((status == 0)) || step_failed "$1" "$log" "$status"
}

header_found() { c++ -E -x c++ - >/dev/null 2>&1 <<<"#include <$1>"; }

# need PACKAGE PROBE...: notes Debian's package as missing when the probe fails.
missing=()
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

# install_missing LIST: calls the function LIST, which notes what is missing, and
# installs that; where that cannot be done, names it and ends.
install_missing() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.85 or newer (https://rustup.rs)"
    missing=()
    "$1"
    if ((${#missing[@]})); then
        if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
            # shellcheck disable=SC2016
            step "installing ${missing[*]}" apt sh -c \
                'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"' sh "${missing[@]}"
            missing=()
            "$1"
        fi
        ((${#missing[@]} == 0)) || die "missing packages (Debian's names): ${missing[*]}"
    fi
}

# failed_of_ctest LOG: of each failed test in a copy of CTest's LastTest.log, the end of
# what it printed.
failed_of_ctest() {
    [[ -r $1 ]] || return 0
    awk '
        function finish(    i) {
            if (failed) for (i = lines > 60 ? lines - 59 : 1; i <= lines; i++) print line[i]
            failed = lines = 0
        }
        /^[0-9]+\/[0-9]+ Test: / { finish() }
        /^Test (Failed|timeout)|^Test exceeded|^Unable to find executable/ { failed = 1 }
        { line[++lines] = $0 }
        END { finish() }
    ' "$1"
}

# ---- Checks that could not be made --------------------------------------------

# A test that cannot do its work on this machine prints a line "skipped: <why>". The
# scripts collect these lines and print them at the end.
skips=()

# skips_of_log TITLE LOG: those in a log; in that of `cargo test -- --show-output`,
# what each test printed stands under its name.
skips_of_log() {
    local line
    while IFS= read -r line; do skips+=("$1: $line"); done < <(awk '
        /^---- .* stdout ----$/ { test = $0; sub(/^---- /, "", test); sub(/ stdout ----$/, "", test); next }
        /^(successes|failures):$|^test result: / { test = "" }
        at = index($0, "skipped: ") { print (test == "" ? "" : test ": ") substr($0, at + 9) }
    ' "$2")
}

# skips_of_ctest TITLE LOG: those in a copy of CTest's LastTest.log.
skips_of_ctest() {
    local line
    while IFS= read -r line; do skips+=("$1: $line"); done < <(awk '
        /^[0-9]+\/[0-9]+ Test: / { test = $3 }
        /^Command: |^Skip regular expression found/ { next }
        at = index($0, "skipped: ") { print test ": " substr($0, at + 9) }
    ' "$2")
}

# report_skips: how many there were, and each.
report_skips() {
    say "${#skips[@]} checks skipped"
    ((${#skips[@]} == 0)) || printf '        %s\n' "${skips[@]}"
}
