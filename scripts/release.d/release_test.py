#!/usr/bin/env python3
"""scripts/release refuses what it must, and nothing else: each case changes one thing in a clone that is otherwise released.

It looks at the files of scripts/ that are here, and else at what is committed.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHANGELOG = """# Changelog

## Unreleased

### Added
- Something.

## {old} - 2001-02-03

### Added
- All of it.
"""


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


class Refusals(unittest.TestCase):
    def setUp(self):
        """A clone that can be released: of the present version, with one earlier release of it, and one entry since then."""
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.tree = pathlib.Path(scratch.name) / "tree"
        self.git("clone", "--quiet", "--no-tags", str(ROOT), str(self.tree), folder=ROOT)
        shutil.copytree(ROOT / "scripts", self.tree / "scripts", dirs_exist_ok=True)
        self.whole = re.search(r'^version = "(.*)"$', self.read("Cargo.toml"), re.M)[1]
        self.major, self.minor, self.patch = map(int, self.whole.split("-")[0].split("."))
        # A version that may break what earlier ones promised, and one that may not.
        self.breaking = f"{self.major + 1}.0.0" if self.major else f"0.{self.minor + 1}.0"
        self.patched = f"{self.major}.{self.minor}.{self.patch + 1}"
        self.present = f"{self.major}.{self.minor}.{self.patch}"
        self.write("CHANGELOG.md", CHANGELOG.format(old=self.present))
        self.commit()
        self.git("tag", f"v{self.present}")

    def git(self, *arguments, folder=None):
        status, output = run(folder or self.tree, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments)
        self.assertEqual(status, 0, output)
        return output

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")

    def read(self, file):
        return (self.tree / file).read_text()

    def write(self, file, text):
        (self.tree / file).write_text(text)

    def replace(self, file, old, new):
        self.assertEqual(self.read(file).count(old), 1, f"{old} in {file}")
        self.write(file, self.read(file).replace(old, new))

    def check(self, version):
        return run(self.tree, "scripts/release", "--check", version)

    def refused(self, version, why):
        status, output = self.check(version)
        self.assertEqual(status, 1, output)
        self.assertRegex(output, f"refused: .*{why}")
        return output

    def passes(self, version):
        status, output = self.check(version)
        self.assertEqual(status, 0, output)
        return self.tree / f"build/release/{version}/source"

    def release_abi(self, number):
        """Makes the present ABI the last release's, under another number."""
        for file in ("Cargo.toml", "docs/abi.txt", "include/bitcoin_support.h"):
            text = self.read(file)
            self.write(file, re.sub(r"^(abi = |abi |#define BITCOIN_SUPPORT_ABI )\d+$", rf"\g<1>{number}", text, flags=re.M))
        self.commit()
        self.git("tag", "--force", f"v{self.present}")

    # ---- What passes ------------------------------------------------------------

    def test_the_version_stands_everywhere_and_the_checkout_stays(self):
        head, before = self.git("rev-parse", "HEAD"), self.read("Cargo.toml")
        source = self.passes(self.breaking)
        self.assertEqual((self.git("rev-parse", "HEAD"), self.git("status", "--porcelain")), (head, ""))
        self.assertEqual(self.read("Cargo.toml"), before)
        for file, names in {"Cargo.toml": [""], "command/Cargo.toml": ["-command"], "Cargo.lock": ["", "-command"], "fuzz/Cargo.lock": [""]}.items():
            for name in names:
                self.assertIn(f'\nname = "bitcoin-support{name}"\nversion = "{self.breaking}"\n', (source / file).read_text(), file)
        vcpkg = (source / "packaging/vcpkg/bitcoin-support/vcpkg.json").read_text()
        self.assertIn(f'"version": "{self.breaking}"', vcpkg)
        numbers = dict(re.findall(r"BITCOIN_SUPPORT_VERSION_(\w+): u32 = (\d+);", (source / "src/ffi/version.rs").read_text()))
        major, minor, patch = map(int, self.breaking.split("."))
        wanted = {"MAJOR": major, "MINOR": minor, "PATCH": patch, "NUMBER": major * 1000000 + minor * 1000 + patch}
        self.assertEqual(numbers, {name: str(value) for name, value in wanted.items()})
        changelog = (source / "CHANGELOG.md").read_text()
        self.assertRegex(changelog, rf"\n## Unreleased\n\n## {self.breaking} - \d{{4}}-\d\d-\d\d\n\n### Added\n- Something\.\n\n### ABI compatibility\n- ABI \d+: .*\n\n## {self.present} ")

    def test_a_patch_and_a_candidate_pass(self):
        self.passes(self.patched)
        self.passes(f"{self.breaking}-rc1")

    # ---- What is refused ----------------------------------------------------------

    def test_changes_without_a_commit(self):
        self.write("new file", "")
        self.refused(self.breaking, "changes without a commit")

    def test_no_version(self):
        kept = self.tree / "build/1.0.0/kept"
        for folder in (kept, self.tree / "build/release"):
            folder.mkdir(parents=True)
        for version in ("1.0", "v1.0.0", "1.0.0-beta", "../1.0.0", "01.0.0"):
            self.refused(version, "no version")
        # The version becomes the name of a folder, which is made anew.
        self.assertTrue(kept.exists())

    def test_a_version_that_is_not_greater(self):
        for version in (self.whole, "0.0.1", f"{self.present}-rc0"):
            self.refused(version, "not greater")

    def test_a_version_that_was_released(self):
        self.replace("CHANGELOG.md", f"## {self.present} ", f"## {self.patched} ")
        self.commit()
        self.refused(self.patched, "has .* already")
        self.git("tag", f"v{self.breaking}")
        self.refused(self.breaking, "a tag")

    def test_nothing_unreleased(self):
        self.replace("CHANGELOG.md", "- Something.\n", "\n### ABI compatibility\n- ABI 1: as before.\n")
        self.commit()
        self.refused(self.breaking, "nothing under Unreleased")
        self.replace("CHANGELOG.md", "## Unreleased\n", "")
        self.commit()
        self.refused(self.breaking, "no section Unreleased")

    def test_a_section_about_another_abi(self):
        self.replace("CHANGELOG.md", "- Something.\n", "- Something.\n\n### ABI compatibility\n- ABI 99: as before.\n")
        self.commit()
        self.refused(self.breaking, "does not name ABI")

    def test_a_break_of_the_abi(self):
        self.release_abi(7)
        self.passes(self.patched)
        self.replace("include/bitcoin_support.h", "BITCOIN_SUPPORT_OVERRUN = 13", "BITCOIN_SUPPORT_OVERRUN = 14")
        self.commit()
        self.assertIn("status BITCOIN_SUPPORT_OVERRUN was `13` and is `14`", self.refused(self.breaking, "the C ABI"))
        # A record that was changed after the release does not hide it.
        self.replace("docs/abi.txt", "status BITCOIN_SUPPORT_OVERRUN: 13", "status BITCOIN_SUPPORT_OVERRUN: 14")
        self.commit()
        self.refused(self.breaking, "the C ABI")
        # With another number it is allowed, if the version may break something.
        for file in ("Cargo.toml", "include/bitcoin_support.h"):
            self.write(file, re.sub(r"^(abi = |#define BITCOIN_SUPPORT_ABI )7$", r"\g<1>8", self.read(file), flags=re.M))
        self.commit()
        self.refused(self.patched, "may break")
        source = self.passes(self.breaking)
        self.assertIn("ABI 8: programs that are linked with ABI 7 ", (source / "CHANGELOG.md").read_text())

    def test_a_break_of_the_abi_that_no_tag_has(self):
        self.git("tag", "--delete", f"v{self.present}")
        self.passes(self.breaking)
        self.replace("include/bitcoin_support.h", "BITCOIN_SUPPORT_OVERRUN = 13", "BITCOIN_SUPPORT_OVERRUN = 14")
        self.commit()
        self.refused(self.breaking, "the C ABI")

    def test_a_function_that_is_gone(self):
        symbols = "packaging/debian/libbitcoin-support.symbols"
        self.write(symbols, self.read(symbols) + " bitcoin_support_zzz@BITCOIN_SUPPORT_@ABI@ 0.0.1\n")
        self.commit()
        self.refused(self.breaking, "functions that are gone")

    def test_a_break_of_the_rust_api(self):
        api = self.read("docs/public-api.txt").splitlines(keepends=True)
        self.write("docs/public-api.txt", "".join(api[:-1]))
        self.commit()
        self.refused(self.patched, "the version does not say so")
        self.passes(self.breaking)
        # Something new is no break.
        self.write("docs/public-api.txt", "".join(api) + "fn something()\n")
        self.commit()
        self.passes(self.patched)


if __name__ == "__main__":
    unittest.main(verbosity=2)
