"""Leaves in a folder of vendored crates what the Debian package is built from.

    vendor.py SOURCE VENDOR

Cargo.lock also lists the crates of tests and of other systems, and cargo wants to see all of them. Those that the package is
not built from are replaced: their Cargo.toml and their licences stay, and their code is an empty file. Prints how many of each
there are.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

# Debian's release architectures, and Rust's names of them.
TARGETS = [
    "aarch64-unknown-linux-gnu",
    "armv7-unknown-linux-gnueabihf",
    "i686-unknown-linux-gnu",
    "loongarch64-unknown-linux-gnu",
    "powerpc64le-unknown-linux-gnu",
    "riscv64gc-unknown-linux-gnu",
    "s390x-unknown-linux-gnu",
    "x86_64-unknown-linux-gnu",
]

# What is built: packages of the workspace, with their features.
BUILT = [["-p", "bitcoin-support", "--features", "sealed"], ["-p", "bitcoin-support-command"]]

LICENCES = re.compile(r"(UN)?LICEN[CS]E|COPYING|COPYRIGHT|NOTICE", re.IGNORECASE)


def needed(source, vendor):
    """Name and version of each crate that the package is built from. cargo reads nothing but the folder."""
    crates = set()
    settings = [
        "--config", 'source.crates-io.replace-with = "vendor"',
        "--config", f"source.vendor.directory = {json.dumps(str(vendor.resolve()))}",
    ]
    for package in BUILT:
        command = ["cargo", *settings, "tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", *package]
        for target in TARGETS:
            command += ["--target", target]
        lines = subprocess.run(command, cwd=source, check=True, text=True, stdout=subprocess.PIPE).stdout
        crates |= {tuple(line.split()[:2]) for line in lines.splitlines() if line}
    return {(name, version.removeprefix("v")) for name, version in crates}


def empty(crate, manifest):
    """Replaces the code of a crate by nothing; its licences stay. cargo checks the files that the list of checksums names."""
    checksum = json.loads((crate / ".cargo-checksum.json").read_text())
    path = manifest.get("lib", {}).get("path", "src/lib.rs")
    for entry in crate.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "Cargo.toml" and not LICENCES.match(entry.name):
            entry.unlink()
    (crate / ".cargo-checksum.json").write_text(json.dumps({"files": {}, "package": checksum["package"]}))
    (crate / path).parent.mkdir(parents=True, exist_ok=True)
    (crate / path).write_text("// The package is not built from this crate.\n")


def main():
    source, vendor = map(pathlib.Path, sys.argv[1:])
    wanted = needed(source, vendor)
    counts = [0, 0]
    for crate in sorted(vendor.iterdir()):
        manifest = tomllib.loads((crate / "Cargo.toml").read_text())
        package = manifest["package"]
        is_needed = (package["name"], package["version"]) in wanted
        wanted.discard((package["name"], package["version"]))
        counts[is_needed] += 1
        if not is_needed:
            empty(crate, manifest)
    missing = sorted(name for name, _ in wanted if not name.startswith("bitcoin-support"))
    if missing:
        sys.exit(f"these crates have not been vendored: {' '.join(missing)}")
    print(f"{counts[1]} crates, and the manifests of {counts[0]} others")


main()
