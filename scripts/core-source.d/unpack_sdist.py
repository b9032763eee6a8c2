#!/usr/bin/env python3
"""Unpacks a folder of a source package from the Python package index.

    unpack_sdist.py PROJECT VERSION SHA256 FOLDER DESTINATION

The index is the one that pip is configured for: its files, its environment variables, or its default. pip itself does
not download the package, because it would build a part of it first.

Nothing is unpacked from an archive whose SHA-256 is another one. DESTINATION appears whole or not at all. The files
in it are read-only. Its folders are writable, so that `cargo clean` can remove them.
"""

import hashlib
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request

TIMEOUT = 180  # seconds without a byte


def index_url():
    """The index that pip is configured for, as its help says it."""
    pip = subprocess.run([sys.executable, "-m", "pip", "download", "--help"], capture_output=True, text=True,
                         env={**os.environ, "COLUMNS": "500"}, check=False)
    if pip.returncode:
        sys.exit("unpack_sdist: python3 has no pip (Debian's package python3-pip)")
    found = re.search(r"--index-url\s+<url>.*?\(default\s+(\S+?)\)", pip.stdout, re.DOTALL)
    if not found:
        sys.exit("unpack_sdist: the help of pip does not say which package index it uses")
    return found[1].rstrip("/") + "/"


class Links(html.parser.HTMLParser):
    """The addresses of a page's links."""

    def __init__(self, page, text):
        super().__init__()
        self.page, self.urls = page, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.urls.append(urllib.parse.urldefrag(urllib.parse.urljoin(self.page, href)).url)


def get(url):
    """What is at an address."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return answer.read()
    except OSError as error:
        sys.exit(f"unpack_sdist: {url}: {error}")


def archive(project, version):
    """The package's bytes."""
    page = f"{index_url()}{re.sub('[-_.]+', '-', project).lower()}/"
    name = f"{re.sub('[-_.]+', '_', project).lower()}-{version}.tar.gz"
    for url in Links(page, get(page).decode()).urls:
        if urllib.parse.unquote(url).endswith("/" + name):
            return get(url)
    sys.exit(f"unpack_sdist: {page} has no {name}")


def unpack(package, folder, destination):
    """Writes the files of a folder of the package to the destination."""
    for member in package:
        # The first part of the name is the folder that the whole package is in.
        path = pathlib.PurePosixPath(*pathlib.PurePosixPath(member.name).parts[1:])
        if not member.isfile() or not path.is_relative_to(folder) or ".." in path.parts:
            continue
        target = destination / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with package.extractfile(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        os.utime(target, (member.mtime, member.mtime))
        target.chmod(0o555 if member.mode & 0o100 else 0o444)


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    project, version, sha256, folder, destination = sys.argv[1:]
    destination = pathlib.Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".unpacking-") as scratch:
        scratch = pathlib.Path(scratch)
        package = scratch / "package.tar.gz"
        package.write_bytes(archive(project, version))
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != sha256:
            sys.exit(f"unpack_sdist: {project} {version} has the SHA-256 {found}, not {sha256}")
        tree = scratch / "tree"
        with tarfile.open(package) as opened:
            unpack(opened, folder, tree)
        if not tree.is_dir():
            sys.exit(f"unpack_sdist: {project} {version} has no folder {folder}")
        try:
            tree.rename(destination)
        except OSError:
            # Another process was faster.
            if not destination.is_dir():
                raise


if __name__ == "__main__":
    main()
