"""Prints the table of docs/platforms.md from the results of scripts/test-target, and the reasons below it.

usage: table.py FOLDER
"""

import json
import pathlib
import sys

HOW = {"native": "natively on x86-64", "pages": "natively on x86-64, larger pages imitated", "wine": "Wine 8", "qemu": "qemu-user 7.2"}

targets = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl")):
    targets[path.stem] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def title_of(stem):
    """Of a file's name: the target, and the language unless it is Rust."""
    target = stem.removesuffix(".cpp")
    return f"`{target}`" + (", C and C++" if target != stem else "")


def by_reason(tests):
    """Lines of a list: a reason, and the tests that it is the reason of."""
    reasons = {}
    for test, why in tests:
        reasons.setdefault(why, []).append(test)
    return [f"- {why}: {', '.join(f'`{test}`' for test in tests)}" for why, tests in reasons.items()]


print("| target | runs | programs | passed | of these, not able to do all their work | failed, for a known reason | failed |")
print("|---|---|---|---|---|---|---|")
for target, programs in targets.items():
    # Some programs have no tests for a system.
    run = [p for p in programs if "left_out" not in p and (p["passed"] != 0 or p["known"] or p["failed"])]
    how = HOW[programs[0]["how"].split("-")[0]]
    skipped = {(p["program"], line.partition(": ")[0]) for p in run for line in p["skipped"]}
    failed = sum(len(p["failed"]) or p["passed"] is None for p in run)
    known = sum(len(p["known"]) for p in run)
    passed = sum(p["passed"] or 0 for p in run)
    print(f"| {title_of(target)} | {how} | {len(run)} | {passed} | {len(skipped)} | {known} | {failed} |")

for target, programs in targets.items():
    skipped, known, left_out, failed = [], [], [], []
    for p in programs:
        if "left_out" in p:
            left_out.append((p["program"], p["left_out"]))
            continue
        for line in p["skipped"]:
            test, _, why = line.partition(": ")
            skipped.append((f"{p['program']}::{test}", why))
        known += [(f"{p['program']}::{test}", why) for test, why in p["known"].items()]
        failed += [f"{p['program']}::{test}" for test in p["failed"]]
        if p["passed"] is None:
            failed.append(p["program"])
    of_target = title_of(target)
    for title, lines in (
        ("Programs that are left out", by_reason(left_out)),
        ("Failed, for a known reason", by_reason(known)),
        ("Not able to do all their work", by_reason(skipped)),
        ("Failed", [f"- `{test}`" for test in failed]),
    ):
        if lines:
            print(f"\n**{of_target}: {title[0].lower()}{title[1:]}**\n")
            print("\n".join(lines))
