"""Makes JSON lines of the log of `cargo test -- --show-output`, a line for each test program, and names what failed.

usage: results.py TARGET HOW KNOWN LOG OUTPUT PROGRAM...

KNOWN lists what fails for a reason outside of the library: known.txt, which describes itself. PROGRAM... are the test programs that cargo was asked to run. The log ends with `cargo: status NUMBER` if cargo failed.
"""

import json
import re
import sys

target, how, known, log, output, *asked_for = sys.argv[1:]
RUNNING = re.compile(r"^\s+Running (?:unittests )?(\S+) \(")
# (A test that runs in a separate process prints a result with the others filtered out.)
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; 0 filtered out;")
FAILED = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$")
OUTPUT = re.compile(r"^---- (\S+) stdout ----$")
CARGO_FAILED = re.compile(r"^cargo: status (\d+)$")


def unfinished(name):
    return {"target": target, "how": how, "program": name, "passed": None, "failed": [], "skipped": []}


reasons = {}  # by program and test
with open(known, encoding="utf-8") as lines:
    for line in lines:
        if not line.startswith("#") and line.strip():
            which, program, test, why = (field.strip() for field in line.split("|", 3))
            if which in (target, how.partition("-")[0]):
                reasons[program, test] = why

programs = []
test = None
cargo_status = None
with open(log, encoding="utf-8", errors="replace") as lines:
    for line in map(str.rstrip, lines):
        if match := RUNNING.match(line):
            name = re.sub(r"^(src|tests)/|(/main)?\.rs$", "", match[1].replace("\\", "/"))
            # A program that ends early has no result.
            programs.append(unfinished(name))
        elif match := CARGO_FAILED.match(line):
            cargo_status = match[1]
        elif not programs:
            continue
        elif match := OUTPUT.match(line):
            test = match[1]
        elif match := FAILED.match(line):
            # The name stands twice where the test runs in a separate process.
            programs[-1]["failed"] += [match[1]] if match[1] not in programs[-1]["failed"] else []
        elif match := RESULT.match(line):
            test = None
            passed, _, ignored = map(int, match.groups())
            programs[-1] |= {"passed": passed, "ignored": ignored}
        elif (at := line.find("skipped: ")) >= 0:
            programs[-1]["skipped"].append((f"{test}: " if test else "") + line[at + len("skipped: ") :])

started = {program["program"] for program in programs}
programs += [unfinished(name) for name in asked_for if name not in started]

for program in programs:
    name = program["program"]
    program["known"] = {test: reasons[name, test] for test in program["failed"] if (name, test) in reasons}
    program["failed"] = [test for test in program["failed"] if test not in program["known"]]
left_out = [
    {"target": target, "how": how, "program": name, "left_out": why} for (name, test), why in reasons.items() if test == "*"
]

with open(output, "w", encoding="utf-8") as file:
    for program in programs + left_out:
        file.write(json.dumps(program) + "\n")

bad = [p for p in programs if p["failed"] or p["passed"] is None]
for program in bad:
    early = "ended before its last test" if program["program"] in started else "has not been started"
    names = program["failed"] or [early]
    print(f"        {program['program']}: {', '.join(names)}", file=sys.stderr)
passed = sum(p["passed"] or 0 for p in programs)
known_failures = sum(len(p["known"]) for p in programs)
print(f"        {target}: {passed} tests passed, {known_failures} failed for a known reason, in {len(programs)} programs")
is_explained = bool(bad) or any(program["known"] for program in programs)
if cargo_status and not is_explained:
    print(f"        cargo ended with status {cargo_status}, and no test has failed", file=sys.stderr)
sys.exit(bool(bad) or (cargo_status is not None and not is_explained))
