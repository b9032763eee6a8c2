"""Makes JSON lines of what tests have printed, a line for each test program, and names what failed.

usage: results.py [--keep] TARGET HOW KNOWN LOG OUTPUT [PROGRAM...]

KNOWN lists what fails for a reason outside of the library: known.txt, which describes itself.

LOG is that of `cargo test -- --show-output`, and PROGRAM... are the test programs that cargo was asked to run. The log ends with
`cargo: status NUMBER` if cargo failed. Or LOG is an XML file that CTest has written: the part of a test's name before the first
point stands for a program, with `cpp:` before it.

With --keep the lines of OUTPUT about other programs stay.
"""

import json
import os
import re
import sys
import xml.etree.ElementTree

arguments = sys.argv[1:]
keep = arguments[0] == "--keep"
target, how, known, log, output, *asked_for = arguments[1:] if keep else arguments
RUNNING = re.compile(r"^\s+Running (?:unittests )?(\S+) \(")
# (A test that runs in a separate process prints a result with the others filtered out.)
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored; \d+ measured; 0 filtered out;")
FAILED = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$")
OUTPUT = re.compile(r"^---- (\S+) stdout ----$")
CARGO_FAILED = re.compile(r"^cargo: status (\d+)$")


def unfinished(name):
    return {"target": target, "how": how, "program": name, "passed": None, "failed": [], "skipped": []}


def of_cargo():
    """The programs in a log of cargo's, and cargo's status if it failed."""
    programs = []
    test = None
    status = None
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in map(str.rstrip, lines):
            if match := RUNNING.match(line):
                name = re.sub(r"^(src|tests)/|(/main)?\.rs$", "", match[1].replace("\\", "/"))
                # A program that ends early has no result.
                programs.append(unfinished(name))
            elif match := CARGO_FAILED.match(line):
                status = match[1]
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
    return programs, status


def of_ctest():
    """The programs in a file of CTest's, whose status says no more than the tests do."""
    programs = {}
    for case in xml.etree.ElementTree.parse(log).getroot().iter("testcase"):
        name, _, test = case.get("name").partition(".")
        program = programs.setdefault(name, unfinished(f"cpp:{name}") | {"passed": 0, "ignored": 0})
        printed = case.findtext("system-out") or ""
        reasons = [line.partition("skipped: ")[2] for line in printed.splitlines() if "skipped: " in line]
        program["skipped"] += [f"{test}: {why}" for why in reasons]
        # CTest calls a test that has printed why it is skipped one that was not run.
        if case.get("status") == "run" or (case.get("status") == "notrun" and reasons):
            program["passed"] += 1
        else:
            program["failed"].append(test or name)
    return list(programs.values()), None


reasons = {}  # by program and test
with open(known, encoding="utf-8") as lines:
    for line in lines:
        if not line.startswith("#") and line.strip():
            which, program, test, why = (field.strip() for field in line.split("|", 3))
            if which in (target, how.partition("-")[0]):
                reasons[program, test] = why

is_ctest = log.endswith(".xml")
programs, cargo_status = of_ctest() if is_ctest else of_cargo()
started = {program["program"] for program in programs}
programs += [unfinished(name) for name in asked_for if name not in started]

for program in programs:
    name = program["program"]
    program["known"] = {test: reasons[name, test] for test in program["failed"] if (name, test) in reasons}
    program["failed"] = [test for test in program["failed"] if test not in program["known"]]
left_out = [
    {"target": target, "how": how, "program": name, "left_out": why}
    for (name, test), why in reasons.items()
    if test == "*" and name.startswith("cpp:") == is_ctest
]
others = []
if keep and os.path.exists(output):
    written = {program["program"] for program in programs + left_out}
    with open(output, encoding="utf-8") as lines:
        others = [line for line in map(json.loads, lines) if line["program"] not in written and "left_out" not in line]

with open(output, "w", encoding="utf-8") as file:
    for program in programs + others + left_out:
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
sys.exit(bool(bad) or not programs or (cargo_status is not None and not is_explained))
