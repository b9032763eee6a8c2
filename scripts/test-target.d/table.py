"""Counts the results of scripts/test-target, and prints a table with a line for each target.

usage: table.py FOLDER
"""

import json
import pathlib
import sys

HOW = {"native": "natively on x86-64", "wine": "Wine"}

print("| target | runs | programs | tests passed | failed | could not do all their work |")
print("|---|---|---|---|---|---|")
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl")):
    programs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    count = lambda of: sum(map(of, programs))
    print(
        f"| `{path.stem}` | {HOW[programs[0]['how']]} | {len(programs)} | {count(lambda p: p['passed'] or 0)} "
        f"| {count(lambda p: len(p['failed']) or (p['passed'] is None))} "
        f"| {count(lambda p: len(p['skipped']))} |"
    )
