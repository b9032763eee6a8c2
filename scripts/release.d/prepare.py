"""Makes a checkout the one of a new version, or says why it must not be released.

    prepare.py TREE VERSION DATE

Writes the version into each file that has it, and gives the changelog a section of the version with that date. Files that cargo
writes (the header, the man pages, the records of the interfaces) are left to the caller. Prints what a person should look at.

The last release is the newest tag v<version> that HEAD descends from, without pre-releases, which promise nothing. If there is
none, only the checkout is looked at.
"""

import pathlib
import re
import subprocess
import sys

# Semantic Versioning, with no other pre-releases than those that Debian's versions order in the same way.
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-rc(0|[1-9]\d*))?")
ABI_SECTION = "ABI compatibility"


def refuse(why):
    sys.exit(f"refused: {why}")


def parse(version):
    """Major, minor, patch and the number of the pre-release. A release comes after all of its pre-releases."""
    match = VERSION.fullmatch(version)
    if not match:
        refuse(f"{version} is no version such as 1.2.3 or 1.2.3-rc1")
    *numbers, candidate = match.groups()
    return (*map(int, numbers), float("inf") if candidate is None else int(candidate))


def may_break(old, new):
    """Whether a version may break what another one promised: until 1.0, that is the middle number."""
    places = 1 if old[0] else 2
    return old[:places] < new[:places]


class Tree:
    """A checkout."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def git(self, *arguments):
        done = subprocess.run(["git", *arguments], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout if done.returncode == 0 else None

    def read(self, file):
        return (self.folder / file).read_text()

    def replace(self, file, pattern, text):
        """Replaces what matches, at exactly one place."""
        new, count = re.subn(pattern, text, self.read(file), flags=re.MULTILINE)
        if count != 1:
            refuse(f"{file}: {count} places match {pattern}, not one")
        (self.folder / file).write_text(new)

    def field(self, file, pattern):
        match = re.search(pattern, self.read(file), re.MULTILINE)
        if not match:
            refuse(f"{file}: nothing matches {pattern}")
        return match[1]


def set_version(tree, old, new):
    """Writes the version everywhere where no program writes it."""
    line = f'version = "{new}"'
    for file in ("Cargo.toml", "command/Cargo.toml"):
        tree.replace(file, rf'^version = "{re.escape(old)}"$', line)
    # The lock files are right if cargo takes them with --locked, which the caller sees to.
    for file, names in (("Cargo.lock", ("bitcoin-support", "bitcoin-support-command")), ("fuzz/Cargo.lock", ("bitcoin-support",))):
        for name in names:
            tree.replace(file, rf'(?<=^name = "{name}"\n)version = "{re.escape(old)}"$', line)
    tree.replace("packaging/vcpkg/bitcoin-support/vcpkg.json", rf'"version": "{re.escape(old)}"', f'"version": "{new}"')
    major, minor, patch, _ = parse(new)
    number = major * 1_000_000 + minor * 1_000 + patch
    for name, value in (("MAJOR", major), ("MINOR", minor), ("PATCH", patch), ("NUMBER", number)):
        tree.replace("src/ffi/version.rs", rf"(?<=^pub const BITCOIN_SUPPORT_VERSION_{name}: u32 = )\d+;$", f"{value};")


def abi_text(recorded, present):
    if present == recorded:
        return f"- ABI {present}: programs that are linked with an earlier release of this ABI run with this one."
    return f"- ABI {present}: programs that are linked with ABI {recorded} keep using that library, until they are compiled anew."


def set_changelog(tree, version, date, recorded, present):
    """Gives what is unreleased to the version."""
    text = tree.read("CHANGELOG.md")
    if re.search(rf"^## \[?v?{re.escape(version)}\]?(\s|$)", text, re.MULTILINE):
        refuse(f"CHANGELOG.md has {version} already")
    head, heading, rest = text.partition("\n## Unreleased\n")
    if not heading:
        refuse("CHANGELOG.md has no section Unreleased")
    next_section = re.search(r"^## ", rest, re.MULTILINE)
    unreleased, older = (rest[: next_section.start()], rest[next_section.start():]) if next_section else (rest, "")
    sections = re.split(r"^### ", unreleased, flags=re.MULTILINE)
    about_abi = [section for section in sections if section.startswith(ABI_SECTION)]
    others = [section for section in sections if section not in about_abi]
    if not any(re.search(r"^- ", section, re.MULTILINE) for section in others):
        refuse("CHANGELOG.md lists nothing under Unreleased")
    if not about_abi:
        unreleased = f"{unreleased.rstrip()}\n\n### {ABI_SECTION}\n{abi_text(recorded, present)}\n"
    elif not re.search(rf"\bABI {present}\b", about_abi[0]):
        refuse(f"CHANGELOG.md: the section {ABI_SECTION} does not name ABI {present}")
    released = f"\n## Unreleased\n\n## {version} - {date}\n{unreleased.rstrip()}\n"
    (tree.folder / "CHANGELOG.md").write_text(head + released + (f"\n{older}" if older else ""))


def compare_api(tree, tag, old, new):
    """What the Rust API has no longer, and whether the version says so."""
    before = tree.git("show", f"{tag}:docs/public-api.txt")
    if before is None:
        refuse(f"{tag} has no docs/public-api.txt")
    before, now = before.splitlines(), tree.read("docs/public-api.txt").splitlines()
    gone, added = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    print(f"the Rust API since {tag}: {len(added)} lines new, {len(gone)} gone")
    if gone and not may_break(old, new):
        refuse("docs/public-api.txt lacks what the last release had, and the version does not say so:\n" + "\n".join(gone))


def main():
    folder, version, date = sys.argv[1:]
    tree = Tree(folder)
    new = parse(version)
    present = tree.field("Cargo.toml", r'^version = "(.*)"$')
    if new <= parse(present):
        refuse(f"{version} is not greater than the present version, {present}")
    if tree.git("rev-parse", "--verify", f"refs/tags/v{version}") is not None:
        refuse(f"there is a tag v{version}")
    abi = int(tree.field("Cargo.toml", r"^abi = (\d+)$"))
    recorded_abi = int(tree.field("docs/abi.txt", r"^abi (\d+)$"))
    tag = (tree.git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "--exclude", "*-*") or "").strip()
    if tag:
        old = parse(tag.removeprefix("v"))
        if new <= old:
            refuse(f"{version} is not greater than the last release, {tag}")
        last_abi = re.search(r"^abi (\d+)$", tree.git("show", f"{tag}:docs/abi.txt") or "", re.MULTILINE)
        if not last_abi:
            refuse(f"{tag} has no docs/abi.txt")
        recorded_abi = int(last_abi[1])
        if abi != recorded_abi and not may_break(old, new):
            refuse(f"the ABI number was {recorded_abi} and is {abi}: {version} must be a version that may break programs")
        # What is promised is what was released, and not what a later commit has recorded.
        (tree.folder / "docs/abi.txt").write_text(tree.git("show", f"{tag}:docs/abi.txt"))
        compare_api(tree, tag, old, new)
    else:
        print("no earlier release: no tag v<version>, so the interfaces are compared with docs/abi.txt alone")
    set_changelog(tree, version, date, recorded_abi, abi)
    set_version(tree, present, version)
    # Some rightly name the old one, such as the first version of a function.
    left = tree.git("grep", "-nwF", present, "--", ":!CHANGELOG.md", ":!*Cargo.lock", ":!packaging/debian/*.symbols") or ""
    # What programs write is not yet written anew.
    left = [line for line in left.splitlines() if not line.startswith(("include/bitcoin_support.h:", "command/man/"))]
    for line in left:
        print(f"still {present}: {line[:150]}")


main()
