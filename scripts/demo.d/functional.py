#!/usr/bin/env python3
"""Runs Core's functional tests, and compares the results on two builds of the same tree.

    functional.py run BUILD RESULTS.jsonl [--all] [--jobs N] [--minutes N] [--shuffle SEED] [--timeout-factor N] [--again]
    functional.py compare BUILD OURS.jsonl [CORE.jsonl] [--all]

`run` adds a line to RESULTS.jsonl when a test has ended: its name with arguments, "passed", "failed" or "skipped", the
seconds, and the end of what it printed if it has not passed. Tests that have passed before are not run again, so that a
run goes on where an earlier one was stopped. --again forgets the results that the tests have had. --minutes starts no
further test after that time. The longest tests come first; --shuffle runs them in another order, the same for the same
SEED, so that runs that are cut short do not all leave out the same tests. Exit status: 0 if all have passed or are
skipped, 4 if one has failed, 3 if none has failed and some have not been run for want of time.

`compare` prints the tests that have failed and those whose results differ; its last line has the sums, with the names of
these tests. BUILD has the list of the tests. A test that has failed on both builds says nothing of this library. Exit
status: 0 if all tests have been run and none differs; 3 if none differs of those that have been run; 1 if one differs, or
none has passed. Without CORE.jsonl, a test that has failed counts as one that differs.

Without --all, the tests are those of NAMED, with all variants that Core runs of them.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Tests that exercise the code that this library replaces (wallets, passphrases, cookies, encrypted transport), and how
# the node starts, stops and runs as a daemon.
NAMED = (
    "feature_init", "feature_notifications", "feature_shutdown", "interface_http", "p2p_v2_transport", "rpc_misc",
    "rpc_signrawtransactionwithkey", "rpc_users", "tool_wallet", "wallet_backup", "wallet_basic", "wallet_createwallet",
    "wallet_descriptor", "wallet_encryption", "wallet_fundrawtransaction", "wallet_hd", "wallet_keypool",
    "wallet_multiwallet", "wallet_signer",
)
SKIPPED = 77  # the exit status by which a test of Core's says so
LONGEST = 3600  # seconds after which a test counts as failed
KEPT = 2000  # characters of what a test has printed


def tests_of(build, every):
    """The names of the tests with their arguments, as Core's own runner lists them, the longest first."""
    folder = build / "test/functional"
    spec = importlib.util.spec_from_file_location("test_runner", folder / "test_runner.py")
    runner = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    spec.loader.exec_module(runner)
    if not every:
        return [test for test in runner.BASE_SCRIPTS if test.split(".py")[0] in NAMED]
    tests = []
    for test in runner.BASE_SCRIPTS:
        if test == "tool_bench_sanity_check.py":
            # A test for each benchmark.
            bench = next((path for path in build.glob("**/bench_bitcoin") if os.access(path, os.X_OK)), None)
            if bench:
                names = subprocess.run([bench, "-list"], capture_output=True, text=True, check=True).stdout.split()
                tests += [f"{test} --bench={name}" for name in names]
        else:
            tests.append(test)
    return tests


def read(path):
    """{test: its last result}"""
    results = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            # The half line of a run that was killed is no result.
            with contextlib.suppress(ValueError):
                result = json.loads(line)
                results[result["test"]] = result
    return results


class Run:
    """One run: it owns a folder for the tests' data, and stops its tests when it ends."""

    def __init__(self, build, factor, folder):
        self.folder, self.factor = folder, factor
        self.config, self.scripts = build / "test/config.ini", build / "test/functional"
        self.running, self.lock, self.stopped = set(), threading.Lock(), False

    def test(self, name, number):
        """Runs one, and returns its result."""
        script, *arguments = name.split()
        data = self.folder / f"{number}-{pathlib.Path(script).stem}"
        command = [sys.executable, self.scripts / script, *arguments, f"--configfile={self.config}",
                   f"--cachedir={self.folder}/cache", f"--tmpdir={data}", f"--portseed={number}",
                   f"--timeout-factor={self.factor}"]
        began = time.monotonic()
        # Files and not pipes: a node that a test leaves behind would hold a pipe open.
        with tempfile.TemporaryFile() as out_file, tempfile.TemporaryFile() as err_file:
            with self.lock:
                if self.stopped:
                    return None
                # A process group, so that its nodes end with it.
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file,
                                           start_new_session=True)
                self.running.add(process)
            late = ""
            try:
                process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                late = f"stopped after {LONGEST} s"
            self.kill(process)
            process.wait()
            with self.lock:
                self.running.discard(process)
                if self.stopped:
                    return None
            out_file.seek(0)
            err_file.seek(0)
            out = out_file.read().decode(errors="replace")
            err = err_file.read().decode(errors="replace") + late
        if process.returncode == SKIPPED and not err:
            status = "skipped"
        else:
            # Whatever is written to standard error is a failure, as Core's own runner has it.
            status = "passed" if process.returncode == 0 and not err else "failed"
        shutil.rmtree(data, ignore_errors=True)
        return {"test": name, "result": status, "seconds": round(time.monotonic() - began, 1),
                "printed": "" if status == "passed" else (out[-KEPT:] + err[-KEPT:]).strip()}

    @staticmethod
    def kill(process):
        """Ends a test's process group, with the nodes that the test may have left behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def stop(self):
        """Ends all tests that are under way. No further one starts."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                self.kill(process)


def run(arguments):
    """`functional.py run`"""
    build = arguments.build.resolve()
    tests = tests_of(build, arguments.all)
    if arguments.again and arguments.results.exists():
        kept = [result for result in read(arguments.results).values() if result["test"] not in tests]
        arguments.results.write_text("".join(json.dumps(result) + "\n" for result in kept), encoding="utf-8")
    results = read(arguments.results)
    if arguments.shuffle is not None:
        random.Random(arguments.shuffle).shuffle(tests)
    left = collections.deque(test for test in tests if results.get(test, {}).get("result") not in ("passed", "skipped"))
    before = len(tests) - len(left)
    print(f"{len(tests)} tests, {before} of them have passed before", flush=True)
    # Core's tests write no bytecode into Core's tree.
    os.environ.update(PYTHONDONTWRITEBYTECODE="1", PYTHON_GIL="1")
    until = time.monotonic() + 60 * arguments.minutes

    with tempfile.TemporaryDirectory(prefix="functional-", dir=arguments.results.parent) as folder, \
            arguments.results.open("a+b") as file, \
            concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        folder = pathlib.Path(folder)
        # A run that was killed may have left half a line.
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            file.write(b"\n")
        this = Run(build, arguments.timeout_factor, folder)
        try:
            # Chains that many tests start from, made once.
            cache = this.test("create_cache.py", 0) if left else {"result": "passed"}
            if cache["result"] != "passed":
                sys.exit(f"create_cache.py has failed:\n{cache['printed']}")
            under_way, number = set(), 0
            while left or under_way:
                while left and len(under_way) < arguments.jobs and time.monotonic() < until:
                    number += 1
                    under_way.add(pool.submit(this.test, left.popleft(), number))
                if not under_way:
                    break
                ended, under_way = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ended:
                    result = future.result()
                    results[result["test"]] = result
                    file.write(json.dumps(result).encode() + b"\n")
                    file.flush()
                    done = sum(test in results for test in tests)
                    print(f"{done}/{len(tests)} {result['test']}: {result['result']}, {result['seconds']} s", flush=True)
                    if result["result"] == "failed":
                        print(result["printed"], flush=True)
        finally:
            this.stop()

    of_tests = collections.Counter(results[test]["result"] if test in results else "not run" for test in tests)
    print(", ".join(f"{number} {result}" for result, number in sorted(of_tests.items())))
    sys.exit(4 if of_tests["failed"] else 3 if of_tests["not run"] else 0)


def compare(arguments):
    """`functional.py compare`"""
    tests = tests_of(arguments.build.resolve(), arguments.all)
    builds = {"on this library": read(arguments.ours)}
    if arguments.core:
        builds["on Core's own code"] = read(arguments.core)
    of_result = {result: [] for result in ("passed", "skipped", "failed", "different", "not run")}
    for test in tests:
        results = [build[test]["result"] if test in build else "not run" for build in builds.values()]
        # A failure on this library counts until the other build has shown the same.
        if "not run" in results and results[0] != "failed":
            result = "not run"
        else:
            result = results[0] if len(set(results)) == 1 else "different"
        of_result[result].append(test)
        if result == "different" or "failed" in results:
            print(f"{test}: {', '.join(map(' '.join, zip(results, builds)))}")
    sums = [f"{len(those)} {result}" + (f" ({', '.join(those)})" if result in ("failed", "different") else "")
            for result, those in of_result.items() if those]
    print(f"{len(tests)} tests{', on both codes' if arguments.core else ''}: {', '.join(sums)}")
    wrong = of_result["different"] or (of_result["failed"] and not arguments.core)
    sys.exit(1 if wrong or not of_result["passed"] else 3 if of_result["not run"] else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("build", type=pathlib.Path)
    running.add_argument("results", type=pathlib.Path)
    running.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 1))
    running.add_argument("--minutes", type=float, default=float("inf"))
    running.add_argument("--shuffle", metavar="SEED")
    running.add_argument("--timeout-factor", type=float, default=5)
    running.add_argument("--again", action="store_true")
    running.set_defaults(do=run)
    comparing = commands.add_parser("compare")
    comparing.add_argument("build", type=pathlib.Path)
    comparing.add_argument("ours", type=pathlib.Path)
    comparing.add_argument("core", type=pathlib.Path, nargs="?")
    comparing.set_defaults(do=compare)
    for command in (running, comparing):
        command.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    # The tests that are under way end with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments.do(arguments)


if __name__ == "__main__":
    main()
