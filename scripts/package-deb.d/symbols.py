"""Adds to the Debian package's list of symbols the functions that the header declares and the list lacks.

    symbols.py HEADER LIST VERSION

They are listed as new in VERSION: a program that uses one of them wants a package of that version or a later one. Fails if
the header lacks a function that is listed, because programs that have been linked would not find it.
"""

import pathlib
import re
import sys


def main():
    header, file, version = pathlib.Path(sys.argv[1]).read_text(), pathlib.Path(sys.argv[2]), sys.argv[3]
    # In the header that cbindgen makes, a declaration begins where its line begins.
    declared = set(re.findall(r"^[A-Za-z][^\n(]*[ *](bitcoin_support_[a-z0-9_]+|memory_cleanse)\(", header, re.MULTILINE))
    lines = file.read_text().splitlines()
    head, listed = lines[:3], {line.split("@")[0].strip(): line for line in lines[3:]}
    gone = sorted(listed.keys() - declared)
    if gone or len(declared) < 10:
        sys.exit(f"the header does not declare what {file} lists: {' '.join(gone)}")
    for name in declared - listed.keys():
        listed[name] = f" {name}@BITCOIN_SUPPORT_@ABI@ {version}"
        print(f"new in {version}: {name}")
    file.write_text("\n".join(head + [listed[name] for name in sorted(listed)]) + "\n")


main()
