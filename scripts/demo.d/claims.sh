# shellcheck shell=bash
#
# What a demo has proved, and what is kept of it. Sourced by scripts/demo.

proved=0
failures=()

# prove CLAIM TEST...: the claim holds if the test command succeeds.
prove() {
    local claim=$1
    shift
    if "$@"; then
        proved=$((proved + 1))
        say "  ok    $claim"
    else
        failures+=("$claim")
        say "  FAIL  $claim"
    fi
}

# count PATTERN: the number of lines on stdin that match.
count() { grep -cE -- "$1" || true; }

# The project whose tree is built, and its build system, as scripts/runs has them.
tree="Bitcoin Core"
build_system=cmake

# keep WHAT RESULT [DETAIL]: keeps the result of a run, and `how_compiled`, if it is set: see scripts/runs. Each end of a
# run is kept, so that a failure takes the place of an earlier success.
keep() {
    local file=() linkage=static
    if ${shared:?}; then linkage=shared; fi
    if ! ${record:?}; then file=(--file "${build:?}/runs.jsonl"); fi
    scripts/runs add "${file[@]}" --tree "$tree" --version "${version:?}" --build-system "$build_system" \
        --linkage "$linkage" --ran "$1" --result "$2" --detail "${3-}${how_compiled-}"
    if $record; then scripts/runs write; fi
}

# kept_if_not_built WHAT: from here on, a step that fails keeps that WHAT could not be built. `on_failure=(true)` ends this.
# shellcheck disable=SC2034 # common.sh reads `on_failure`
kept_if_not_built() { on_failure=(keep "$1" obstacle "the build has failed"); }

# conclude SUBJECT: the end of a demo that has been run on the subject, and the exit status.
conclude() {
    printf '\n%s; logs in %s\n' "$1" "${logs:?}"
    report_skips
    if ((${#failures[@]})); then
        printf '%s proved, %s FAILED, in %s s:\n' "$proved" "${#failures[@]}" "$SECONDS"
        printf '  %s\n' "${failures[@]}"
        exit 1
    fi
    printf '%s proved, none failed, in %s s\n' "$proved" "$SECONDS"
}
