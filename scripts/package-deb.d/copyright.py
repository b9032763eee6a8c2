"""Prints debian/copyright, in Debian's machine-readable form, for a source tree with vendored crates in it.

    copyright.py SOURCE
"""

import pathlib
import re
import sys
import tomllib

HEAD = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: bitcoin-support
"""

# The file under /usr/share/common-licenses in which Debian has the text of a licence.
COMMON = {
    "Apache-2.0": "Apache-2.0",
    "CC0-1.0": "CC0-1.0",
    "LGPL-2.1-or-later": "LGPL-2.1",
    "MPL-2.0": "MPL-2.0",
}

# A file with the text of each other licence.
TEXTS = {
    "BSD-2-Clause": "vendor/zerocopy/LICENSE-BSD",
    "BSD-3-Clause": "vendor/subtle/LICENSE",
    "MIT": "LICENSE",
    "Unicode-3.0": "vendor/unicode-ident/LICENSE-UNICODE",
    "Unlicense": "vendor/memchr/UNLICENSE",
    "Zlib": "vendor/bytemuck/LICENSE-ZLIB",
}
# The licence MIT with one sentence more. The crate under it names it and has no file of it.
MITNFA = """
Distributions of all or part of the Software intended to be used by the
recipients as they would use the unmodified Software, containing modifications
that substantially alter, remove, or disable functionality of the Software,
outside of the documented configuration mechanisms provided by the Software,
shall be modified such that the Original Author's bug reporting email addresses
and urls are either replaced with the contact information of the parties
responsible for the changes, or removed entirely."""


# The licence Apache-2.0 with a paragraph more. This file has both.
LLVM = "vendor/rustix/LICENSE-Apache-2.0_WITH_LLVM-exception"


def licences(expression):
    """The licences in an SPDX expression."""
    return [name.strip() for name in re.split(r"\s+(?:OR|AND)\s+|/|[()]", expression) if name.strip()]


def debian(expression):
    """An SPDX expression as Debian writes it. A comma takes the place of brackets."""
    expression = re.sub(r"\((.*)\) AND ", r"\1, AND ", expression.replace("/", " OR "))
    expression = re.sub(r" AND \((.*)\)", r", AND \1", expression)
    for word in ("OR", "AND", "WITH"):
        expression = expression.replace(f" {word} ", f" {word.lower()} ")
    return expression.replace("with LLVM-exception", "with LLVM exception")


def holders(crate, package):
    """Who holds the copyright of a crate: as its licences say, else as its manifest does."""
    lines = set()
    for file in sorted(crate.glob("*")):
        if re.match(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE)", file.name, re.IGNORECASE) and file.is_file():
            for line in file.read_text(errors="replace").splitlines():
                match = re.match(r"\W*Copyright\s+((?:\(c\)|©)?\s*(?:\d|The ).*)$", line, re.IGNORECASE)
                # Without the placeholders and the rules of the licences themselves.
                if match and not re.search(r"[\[{<]|owner|notice", match[1]):
                    lines.add(re.sub(r"^\(c\)\s*|^©\s*", "", match[1], flags=re.IGNORECASE).strip().rstrip("."))
    return sorted(lines) or package.get("authors") or [f"the developers of {package['name']}"]


def text(name, source):
    """The text of a licence, or where Debian has it."""
    if name in COMMON:
        return f"On Debian systems, the full text is in /usr/share/common-licenses/{COMMON[name]}."
    if name == "Apache-2.0 WITH LLVM-exception":
        whole = (source / LLVM).read_text()
        return text("Apache-2.0", source) + "\n\n" + whole[whole.index("--- LLVM Exceptions"):]
    if name == "MITNFA":
        return text("MIT", source) + "\n" + MITNFA
    if name not in TEXTS:
        sys.exit(f"copyright.py knows no text of the licence {name}")
    whole = (source / TEXTS[name]).read_text()
    if name in ("MIT", "BSD-2-Clause", "BSD-3-Clause"):
        # The paragraphs on files name the holders of the copyright.
        start = re.search(r"^(Permission is hereby|Redistribution and use)", whole, re.MULTILINE)
        whole = whole[start.start():]
    return whole


def paragraph(body):
    """The lines of a field after its first."""
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in body.strip().splitlines())


def main():
    source = pathlib.Path(sys.argv[1])
    own = re.search(r"^Copyright \(c\) (.*)$", (source / "LICENSE").read_text(), re.MULTILINE)[1]
    print(HEAD)
    print(f"Files: *\nCopyright: {own}\nLicense: MIT\n")
    names = {"MIT"}
    for crate in sorted((source / "vendor").iterdir()):
        package = tomllib.loads((crate / "Cargo.toml").read_text())["package"]
        expression = package.get("license") or sys.exit(f"{crate.name} names no licence")
        names.update(licences(expression))
        copyright_lines = "\n           ".join(holders(crate, package))
        print(f"Files: vendor/{crate.name}/*\nCopyright: {copyright_lines}\nLicense: {debian(expression)}\n")
    for name in sorted(names):
        print(f"License: {debian(name)}\n{paragraph(text(name, source))}\n")


main()
