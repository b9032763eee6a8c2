#!/usr/bin/env python3
"""Observes a running bitcoind: what it locks, and where its wallet's secrets are.

    node.py observe BITCOIND RESULT.json    runs it on regtest, and writes down what was seen
    node.py claims RESULT.json              a line "ok" or "FAIL", a tab and the claim, for each claim
    node.py table OURS.json [CORE.json]     what was seen on one or two builds, side by side

A wallet is encrypted, gets 500 private keys, is unlocked, signs with each key, and is locked again. The secrets that are
looked for are its passphrase and its master key: the key that encrypts the private keys, and that is in memory as long
as the wallet is unlocked. They are looked for in the memory of the process, in the core file of a node that crashed
while its wallet was unlocked, and on a swap file after the kernel has paged out all that it can of a node that runs as
a daemon. A label of the wallet is the control: it is no secret, and must be found.
"""

import argparse
import base64
import bisect
import contextlib
import ctypes
import hashlib
import http.client
import json
import mmap
import os
import pathlib
import re
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

KEYS = 500
PATIENCE = 900  # seconds for an answer of the node
SWAP = 512 << 20
WALLET = "observed"
PIPE_OF_CORES = "core files go to a program here (/proc/sys/kernel/core_pattern)"


class Unobserved(Exception):
    """Why something cannot be observed on this machine."""


# ---- A node -----------------------------------------------------------------


class Node:
    """A bitcoind on regtest. It has ended when the `with` block is left."""

    def __init__(self, bitcoind, datadir, daemon=False, cgroup=None):
        self.datadir, self.daemon = datadir, daemon
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [bitcoind, "-regtest", f"-datadir={datadir}", "-listen=0", "-connect=0", "-dnsseed=0", "-keypool=1",
                   "-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", f"-rpcport={self.port}", "-printtoconsole=0",
                   *(["-daemonwait"] if daemon else [])]

        def prepare():
            most = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))
            if cgroup:
                (cgroup / "cgroup.procs").write_text("0", encoding="ascii")

        self.stderr = open(datadir / "stderr", "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.stderr,
                                        cwd=datadir, preexec_fn=prepare)
        self.pid = self.process.pid
        try:
            self.wait_for_start()
        except BaseException:
            self.__exit__()
            raise

    def wait_for_start(self):
        """Returns when the node answers."""
        if self.daemon:
            # The process ends when its child, the daemon, has started.
            self.status = self.process.wait(PATIENCE)
            self.pid = int((self.datadir / "regtest/bitcoind.pid").read_text(encoding="ascii"))
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.rpc("getblockcount")
                return
            except (OSError, http.client.HTTPException, RuntimeError, ValueError):
                if time.monotonic() > until or (not self.daemon and self.process.poll() is not None):
                    raise
                time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
        if not self.daemon:
            self.process.wait()
        self.stderr.close()

    def call(self, request, wallet=None):
        """What the node answers to a request, or to a list of requests."""
        cookie = (self.datadir / "regtest/.cookie").read_bytes()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("POST", f"/wallet/{wallet}" if wallet else "/", json.dumps(request),
                               {"Authorization": "Basic " + base64.b64encode(cookie).decode()})
            return json.loads(connection.getresponse().read())

    def rpc(self, method, *parameters, wallet=None):
        """The result of one call."""
        answer = self.call({"method": method, "params": parameters, "id": 1}, wallet)
        if answer["error"]:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def each(self, method, values, wallet=None):
        """The results of a call for each of the values, which are lists of parameters."""
        answers = self.call([{"method": method, "params": value, "id": i} for i, value in enumerate(values)], wallet)
        for answer in answers:
            if answer["error"]:
                raise RuntimeError(f"{method}: {answer['error']}")
        return [answer["result"] for answer in sorted(answers, key=lambda answer: answer["id"])]

    def alive(self):
        """Whether the process runs."""
        try:
            state = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state not in "ZX"

    def wait(self):
        """Waits until the process has ended."""
        until = time.monotonic() + PATIENCE
        while self.alive():
            if time.monotonic() > until:
                raise RuntimeError("the node does not end")
            time.sleep(0.05)
        if not self.daemon:
            self.status = self.process.wait()

    def stop(self):
        """Stops the node; returns its exit status and what it has written to standard error."""
        self.rpc("stop")
        self.wait()
        self.stderr.seek(0)
        return self.status, self.stderr.read().decode(errors="replace")

    def locked(self):
        """The figures of getmemoryinfo, and the bytes that the kernel says are locked."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return self.rpc("getmemoryinfo")["locked"], int(re.search(r"VmLck:\s+(\d+) kB", status)[1]) * 1024


# ---- Memory of a process, core files, swap ----------------------------------


class Mappings:
    """The mappings of a process at one time."""

    def __init__(self, pid):
        self.pid, self.rows = pid, []
        stacks = self.stack_pointers(pid)
        for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$", line)
            if head:
                begin, end = int(head[1], 16), int(head[2], 16)
                name = head[4]
                if name == "[stack]" or any(begin <= pointer < end for pointer in stacks):
                    kind = "stack"
                elif name in ("", "[heap]") or name.startswith("[anon"):
                    kind = "heap"
                else:
                    kind = "file"
                self.rows.append([begin, end, head[3], kind])
            elif line.startswith("VmFlags:") and "lo" in line.split():
                self.rows[-1][3] = "locked"

    @staticmethod
    def stack_pointers(pid):
        """The stack pointers of the threads that wait."""
        pointers = []
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                pointers.append(int((task / "syscall").read_text(encoding="ascii").split()[-2], 16))
        return pointers

    def kind(self, address):
        """What is at an address: "locked", "stack", "heap" or "file"."""
        at = bisect.bisect_right(self.rows, [address, float("inf")]) - 1
        return self.rows[at][3] if at >= 0 and address < self.rows[at][1] else "new"

    def find(self, needle):
        """{kind: how many copies} in the memory of the process as it is now."""
        found = {}
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            for begin, end, permissions, kind in self.rows:
                if permissions[0] != "r":
                    continue
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(begin)
                    # The kernel may give less than was asked for.
                    content = bytearray()
                    while len(content) < end - begin and (more := memory.read(end - begin - len(content))):
                        content += more
                    add(found, kind, content.count(needle))
        return found

    def find_in_core(self, path, needle):
        """{kind: how many copies} in a core file of the process."""
        found = {}
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core:
            if core[:5] != b"\x7fELF\x02":
                raise RuntimeError(f"{path} is no core file of 64 bits")
            number = lambda at, size: int.from_bytes(core[at:at + size], sys.byteorder)  # noqa: E731
            table, size, count = number(32, 8), number(54, 2), number(56, 2)
            for header in range(table, table + size * count, size):
                if number(header, 4) != 1:  # PT_LOAD
                    continue
                offset, address, length = number(header + 8, 8), number(header + 16, 8), number(header + 32, 8)
                at = core.find(needle, offset, offset + length)
                while at >= 0:
                    add(found, self.kind(address + at - offset), 1)
                    at = core.find(needle, at + len(needle), offset + length)
        return found


def add(found, kind, count):
    """Adds to {kind: copies}."""
    if count:
        found[kind] = found.get(kind, 0) + count


def words(found):
    """{kind: copies} as a cell of the table says it."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())) or "none"


class Squeeze:
    """A memory cgroup and a swap file. Both are gone when the `with` block is left, or the process has ended."""

    def __init__(self, folder):
        if os.geteuid():
            raise Unobserved("a swap file wants root")
        if pathlib.Path("/sys/module/zswap/parameters/enabled").exists() and \
                pathlib.Path("/sys/module/zswap/parameters/enabled").read_text(encoding="ascii").strip() == "Y":
            raise Unobserved("zswap keeps in memory what would be on the swap file")
        old, new = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        if (old / "memory.limit_in_bytes").exists():
            self.groups, self.reclaim, self.amount = old, "memory.force_empty", "0"
        elif (new / "cgroup.subtree_control").exists() and \
                "memory" in (new / "cgroup.subtree_control").read_text(encoding="ascii").split():
            self.groups, self.reclaim, self.amount = new, "memory.reclaim", "4G"
        else:
            raise Unobserved("no memory cgroup can be made here")
        self.group, self.swap = self.groups / f"bitcoin-support-node-{os.getpid()}", folder / "swap"

    def __enter__(self):
        # Cleans up, also when this process is killed: it reads from a pipe that ends with this process.
        self.watch = subprocess.Popen(
            ["sh", "-c", 'read -r line; while read -r pid; do kill -9 "$pid"; done <"$1/cgroup.procs"; swapoff "$2"; '
             'rm -f "$2"; for i in 1 2 3 4 5 6 7 8 9 10; do rmdir "$1" && break; sleep 0.2; done',
             "sh", self.group, self.swap],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self.group.mkdir()
            with self.swap.open("wb") as file:
                self.swap.chmod(0o600)
                for _ in range(SWAP >> 20):
                    file.write(bytes(1 << 20))
            for command in (["mkswap", self.swap], ["swapon", "--priority", "32767", self.swap]):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Unobserved(f"no swap file can be used here: {done.stderr.strip()}")
        except (OSError, Unobserved) as error:
            self.__exit__()
            raise Unobserved(str(error)) from error
        return self

    def __exit__(self, *_):
        self.watch.stdin.close()
        self.watch.wait()

    def page_out(self):
        """Has the kernel page out all that it can of the processes in the group, and write it to the disk."""
        for _ in range(10):
            # Fails if less could be paged out than was asked for.
            with contextlib.suppress(OSError):
                (self.group / self.reclaim).write_text(self.amount, encoding="ascii")
        os.sync()

    def find(self, needles):
        """How often each of the needles is on the swap file, as it is on the disk."""
        block = 4 << 20
        found = [0] * len(needles)
        tails = [b""] * len(needles)
        file = os.open(self.swap, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, block) as buffer:
                while (length := os.readv(file, [buffer])) > 0:
                    for i, needle in enumerate(needles):
                        # Also across the border of two blocks.
                        content = tails[i] + buffer[:length]
                        found[i] += content.count(needle)
                        tails[i] = content[-(len(needle) - 1):]
        finally:
            os.close(file)
        return found


# ---- The wallet -------------------------------------------------------------


def private_key_text(key):
    """A private key of regtest in Core's import format."""
    data = b"\xef" + key + b"\x01"
    data += hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return text


def master_key(wallet, passphrase):
    """The key that encrypts the private keys, from a copy of the wallet's file and the passphrase."""
    with contextlib.closing(sqlite3.connect(wallet)) as database:
        (record,) = next(database.execute("SELECT value FROM main WHERE key >= x'046d6b6579' AND key < x'046d6b657a'"))
    # The encrypted key, the salt (each behind its length), the method and the number of rounds.
    encrypted, record = record[1:1 + record[0]], record[1 + record[0]:]
    salt, record = record[1:1 + record[0]], record[1 + record[0]:]
    method, rounds = int.from_bytes(record[:4], "little"), int.from_bytes(record[4:8], "little")
    if method != 0:
        raise RuntimeError(f"the wallet derives its key by method {method}, which this program does not know")
    derived = passphrase + salt
    for _ in range(rounds):
        derived = hashlib.sha512(derived).digest()
    key = subprocess.run(["openssl", "enc", "-d", "-aes-256-cbc", "-K", derived[:32].hex(), "-iv", derived[32:48].hex()],
                         input=encrypted, capture_output=True, check=True).stdout
    if len(key) != 32:
        raise RuntimeError("the wallet's master key is not 32 bytes long")
    return key


class Secrets:
    """What is looked for."""

    def __init__(self):
        self.passphrase = "the passphrase " + secrets.token_hex(16)
        self.label = "a label that is no secret " + secrets.token_hex(16)
        self.master_key = b""


# ---- Observations -----------------------------------------------------------


class Seen:
    """What has been seen: rows of the table, and claims."""

    def __init__(self):
        self.rows, self.claims, self.skips = {}, [], []

    def row(self, what, value):
        """Adds a row."""
        self.rows[what] = str(value)

    def claim(self, what, holds):
        """Adds a claim."""
        self.claims.append([what, bool(holds)])


def claim_locked(seen, node, when):
    """getmemoryinfo and the kernel agree. Returns getmemoryinfo's figures."""
    info, kernel = node.locked()
    seen.row(f"{when}: locked bytes, getmemoryinfo / kernel", f"{info['locked']} / {kernel}")
    seen.claim(f"{when}: getmemoryinfo and the kernel agree on the bytes locked, {kernel}",
               info["locked"] == kernel > 0 and info["used"] + info["free"] == info["total"] and info["used"] > 0)
    return info


def claim_quiet(seen, node, when):
    """The node ends as it should."""
    status, stderr = node.stop()
    seen.claim(f"{when}: ends with status 0 and nothing on standard error", status == 0 and not stderr)


def make_wallet(bitcoind, datadir, wanted, seen):
    """A node in the foreground; makes the wallet."""
    with Node(bitcoind, datadir) as node:
        claim_locked(seen, node, "foreground")
        node.rpc("createwallet", WALLET, False, False, wanted.passphrase)
        node.rpc("walletpassphrase", wanted.passphrase, 3600, wallet=WALLET)
        # A number below the order of the curve, which begins with 0xffffffff.
        descriptors = [f"pkh({private_key_text(b'k' + secrets.token_bytes(31))})" for _ in range(KEYS)]
        checksums = node.each("getdescriptorinfo", [[descriptor] for descriptor in descriptors])
        imported = node.rpc("importdescriptors", [
            {"desc": f"{descriptor}#{info['checksum']}", "timestamp": "now", "label": wanted.label}
            for descriptor, info in zip(descriptors, checksums)], wallet=WALLET)
        if not all(one["success"] for one in imported):
            raise RuntimeError("the keys cannot be imported")
        node.rpc("walletlock", wallet=WALLET)
        copy = datadir / "copy.dat"
        node.rpc("backupwallet", str(copy), wallet=WALLET)
        claim_quiet(seen, node, "foreground")
    wanted.master_key = master_key(copy, wanted.passphrase.encode())


def unlock(node, wanted):
    """Loads the wallet, which other processes than this one have not got from a request yet, and unlocks it."""
    node.rpc("loadwallet", WALLET)
    node.rpc("walletpassphrase", wanted.passphrase, 3600, wallet=WALLET)


def observe_daemon(bitcoind, datadir, wanted, seen):
    """A daemon: the wallet is unlocked, signs with each key, and is locked again."""
    with Node(bitcoind, datadir, daemon=True) as node:
        claim_locked(seen, node, "-daemonwait")
        node.rpc("loadwallet", WALLET)
        before = claim_locked(seen, node, f"wallet with {KEYS} keys, locked")
        began = time.monotonic()
        node.rpc("walletpassphrase", wanted.passphrase, 3600, wallet=WALLET)
        unlocked = time.monotonic() - began
        addresses = list(node.rpc("getaddressesbylabel", wanted.label, wallet=WALLET))
        node.each("signmessage", [[address, "a message"] for address in addresses], wallet=WALLET)
        during = claim_locked(seen, node, "unlocked")
        live = Mappings(node.pid).find(wanted.master_key)
        node.rpc("walletlock", wallet=WALLET)
        after = claim_locked(seen, node, "locked again")
        left = Mappings(node.pid).find(wanted.master_key)

        seen.row("keys that signed", len(addresses))
        seen.row("seconds for the unlock", f"{unlocked:.1f}")
        seen.row("bytes of secrets, locked / unlocked / locked again", f"{before['used']} / {during['used']} / {after['used']}")
        seen.row("master key in memory, unlocked", words(live))
        seen.row("master key in memory, locked again", words(left))
        seen.claim(f"{len(addresses)} keys sign", len(addresses) == KEYS)
        # Core wipes the buffer of the master key, and keeps it.
        seen.claim("the locked pool holds more when the wallet is unlocked, and no more than that when it is locked again",
                   before["used"] < during["used"] >= after["used"])
        seen.claim(f"the master key of the unlocked wallet is in locked memory only ({words(live)})", set(live) == {"locked"})
        seen.claim("the master key of the wallet that is locked again is nowhere in memory", not left)
        claim_quiet(seen, node, "-daemonwait")


def observe_crash(bitcoind, datadir, wanted, seen):
    """A node that crashes while its wallet is unlocked, and its core file."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").strip()
    if pattern.startswith("|") or "/" in pattern:
        raise Unobserved(PIPE_OF_CORES)
    with Node(bitcoind, datadir) as node:
        unlock(node, wanted)
        node.rpc("getaddressesbylabel", wanted.label, wallet=WALLET)
        mappings = Mappings(node.pid)
        live = mappings.find(wanted.master_key)
        os.kill(node.pid, signal.SIGSEGV)
        node.wait()
    cores = list(datadir.glob("core*"))
    if len(cores) != 1:
        raise Unobserved("the system has written no core file")
    found = {name: mappings.find_in_core(cores[0], needle) for name, needle in (
        ("master key", wanted.master_key), ("passphrase", wanted.passphrase.encode()), ("label", wanted.label.encode()))}
    cores[0].unlink()
    for name, places in found.items():
        seen.row(f"core file of a crash, unlocked: {name}", words(places))
    seen.claim(f"the core file has the label, which is no secret ({words(found['label'])})", found["label"])
    seen.claim(f"the core file does not have the master key, which was in memory ({words(live)})",
               live and not found["master key"])


def observe_swap(bitcoind, datadir, wanted, seen):
    """A daemon whose wallet is unlocked, paged out as far as the kernel can."""
    with Squeeze(datadir) as squeeze, Node(bitcoind, datadir, daemon=True, cgroup=squeeze.group) as node:
        unlock(node, wanted)
        node.rpc("getaddressesbylabel", wanted.label, wallet=WALLET)
        needles = {"master key": wanted.master_key, "passphrase": wanted.passphrase.encode(), "label": wanted.label.encode()}
        squeeze.page_out()
        found = dict(zip(needles, squeeze.find(list(needles.values()))))
        live = Mappings(node.pid).find(wanted.master_key)
        for name, copies in found.items():
            seen.row(f"swap file, -daemonwait, unlocked: {name}", f"{copies} copies" if copies else "none")
        seen.claim(f"the swap file has the label, which is no secret ({found['label']} copies)", found["label"])
        seen.claim(f"the swap file does not have the master key, which is in memory ({words(live)})",
                   live and not found["master key"])
        claim_quiet(seen, node, "-daemonwait, paged out")


def observe(arguments):
    """`node.py observe`"""
    bitcoind, seen, wanted = arguments.bitcoind.resolve(), Seen(), Secrets()
    # Shorter than the longest name that a socket or a lock file may have.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="node-", dir=arguments.result.parent))
    try:
        make_wallet(bitcoind, folder, wanted, seen)
        observe_daemon(bitcoind, folder, wanted, seen)
        for title, part in (("core file", observe_crash), ("swap file", observe_swap)):
            try:
                part(bitcoind, folder, wanted, seen)
            except Unobserved as reason:
                seen.row(title, f"skipped: {reason}")
                seen.skips.append(f"{title}: {reason}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    arguments.result.write_text(json.dumps({"rows": seen.rows, "claims": seen.claims, "skips": seen.skips}, indent=1),
                                encoding="utf-8")


def claims(arguments):
    """`node.py claims`"""
    seen = json.loads(arguments.result.read_text(encoding="utf-8"))
    for what, holds in seen["claims"]:
        print("ok" if holds else "FAIL", what, sep="\t")
    for reason in seen["skips"]:
        print("skipped", reason, sep="\t")


def table(arguments):
    """`node.py table`"""
    columns = [json.loads(path.read_text(encoding="utf-8"))["rows"] for path in arguments.results]
    heads = ["", "on this library", "on Core's own code"][:len(columns) + 1]
    rows = [heads] + [[what, *(column.get(what, "") for column in columns)] for what in columns[0]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    observing = commands.add_parser("observe")
    observing.add_argument("bitcoind", type=pathlib.Path)
    observing.add_argument("result", type=pathlib.Path)
    observing.set_defaults(do=observe)
    claiming = commands.add_parser("claims")
    claiming.add_argument("result", type=pathlib.Path)
    claiming.set_defaults(do=claims)
    tabling = commands.add_parser("table")
    tabling.add_argument("results", type=pathlib.Path, nargs="+")
    tabling.set_defaults(do=table)
    arguments = parser.parse_args()
    # Daemons are this program's children, and not init's. Yama lets a program without privileges read the memory of its
    # children only.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    # The node ends with this program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments.do(arguments)


if __name__ == "__main__":
    main()
