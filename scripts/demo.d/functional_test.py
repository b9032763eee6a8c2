#!/usr/bin/env python3
"""Tests functional.py on a build that is made up: its tests are small programs that pass, fail or skip."""

import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
import functional

ENDS = {"passed": "pass", "failed": "sys.exit('a failure')", "skipped": "sys.exit(77)"}


class Functional(unittest.TestCase):
    """A folder with a build and results."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="functional-test-")
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)

    def build(self, results):
        """Makes a build whose tests end as {test: result} says."""
        tests = pathlib.Path("build/test/functional")
        tests.mkdir(parents=True, exist_ok=True)
        (tests / "test_runner.py").write_text(f"BASE_SCRIPTS = {list(results)}\n", encoding="utf-8")
        for test, result in {"create_cache.py": "passed", **results}.items():
            (tests / test).write_text(f"import sys\n{ENDS[result]}\n", encoding="utf-8")

    def do(self, command, *arguments):
        """The exit status and the last line of functional.py. In this process, as starts of Python take long."""
        arguments = [command, "build", *arguments, "--all"]
        with contextlib.redirect_stdout(io.StringIO()) as out, \
                unittest.mock.patch("sys.argv", ["functional.py", *arguments]), self.assertRaises(SystemExit) as end:
            functional.main()
        return int(end.exception.code), out.getvalue().splitlines()[-1]

    def compare(self, tests, *builds):
        """Compares the results {test: result} of one or two builds."""
        self.build(dict.fromkeys(tests, "passed"))
        for i, results in enumerate(builds):
            text = "".join(json.dumps({"test": test, "result": result}) + "\n" for test, result in results.items())
            pathlib.Path(f"{i}.jsonl").write_text(text, encoding="utf-8")
        return self.do("compare", *(f"{i}.jsonl" for i in range(len(builds))))

    def test_a_failure_is_told_before_tests_that_are_left(self):
        self.build({"a.py": "failed"})
        self.assertEqual(self.do("run", "results.jsonl"), (4, "1 failed"))
        self.build({"a.py": "failed", "b.py": "passed"})
        self.assertEqual(self.do("run", "results.jsonl", "--minutes", "0"), (4, "1 failed, 1 not run"))

    def test_tests_that_are_left_are_no_success(self):
        self.build({"a.py": "passed", "b.py": "skipped"})
        self.assertEqual(self.do("run", "results.jsonl", "--minutes", "0"), (3, "2 not run"))
        self.assertEqual(self.do("run", "results.jsonl"), (0, "1 passed, 1 skipped"))

    def test_what_has_passed_is_not_run_again_and_what_has_failed_is(self):
        self.build({"a.py": "passed", "b.py": "failed"})
        self.do("run", "results.jsonl")
        self.build({"a.py": "failed", "b.py": "passed"})
        self.assertEqual(self.do("run", "results.jsonl"), (0, "2 passed"))
        self.assertEqual(self.do("run", "results.jsonl", "--again"), (4, "1 failed, 1 passed"))

    def test_a_seed_has_one_order(self):
        self.build({f"{letter}.py": "passed" for letter in "abcd"})
        orders = []
        for seed in ("1", "1", "2"):
            self.do("run", f"{len(orders)}.jsonl", "--jobs", "1", "--shuffle", seed)
            lines = pathlib.Path(f"{len(orders)}.jsonl").read_text(encoding="utf-8").splitlines()
            orders.append([json.loads(line)["test"] for line in lines])
        self.assertEqual(orders[0], orders[1])
        self.assertNotEqual(orders[0], orders[2])

    def test_one_build_is_compared_with_success(self):
        self.assertEqual(self.compare("ab", {"a": "passed", "b": "skipped"}), (0, "2 tests: 1 passed, 1 skipped"))
        self.assertEqual(self.compare("abc", {"a": "passed", "b": "skipped"}), (3, "3 tests: 1 passed, 1 skipped, 1 not run"))
        self.assertEqual(self.compare("ab", {"a": "passed", "b": "failed"}), (1, "2 tests: 1 passed, 1 failed (b)"))
        self.assertEqual(self.compare("ab", {}), (1, "2 tests: 2 not run"))

    def test_results_that_differ_are_named(self):
        same = {"a": "passed", "b": "failed", "c": "skipped"}
        self.assertEqual(self.compare("abc", same, same), (0, "3 tests, on both codes: 1 passed, 1 skipped, 1 failed (b)"))
        self.assertEqual(self.compare("ab", {"a": "failed", "b": "passed"}, {"a": "passed", "b": "passed"}),
                         (1, "2 tests, on both codes: 1 passed, 1 different (a)"))
        self.assertEqual(self.compare("ab", {"a": "skipped", "b": "passed"}, {"a": "passed", "b": "passed"}),
                         (1, "2 tests, on both codes: 1 passed, 1 different (a)"))

    def test_a_failure_counts_until_the_other_build_shows_it_too(self):
        self.assertEqual(self.compare("abc", {"a": "failed", "b": "passed"}, {"b": "passed", "c": "failed"}),
                         (1, "3 tests, on both codes: 1 passed, 1 different (a), 1 not run"))


if __name__ == "__main__":
    unittest.main()
