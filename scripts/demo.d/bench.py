#!/usr/bin/env python3
"""Runs Core's benchmarks of what this library replaces on two builds of the same tree, in turn, and compares them.

    bench.py OURS CORE RESULTS.json [--passes N] [--filter REGEX] [--min-time MS]

OURS and CORE are two bench_bitcoin. Each pass runs both, every other pass in the other order. The least time of a
benchmark over all passes counts: what disturbs a run makes it longer, never shorter. RESULTS.json gets the medians of all
passes in seconds: {"ours" or "core": {benchmark: [seconds, ...]}}. Printed is a table in Markdown; its last column is the
ratio of the least times, ours to Core's. The last line has the number of benchmarks, and of those that take more than
1.02 of the time on Core's own code. Exit status: 0; 1 if a program fails, or if the two have run no benchmark, or not the
same ones.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

# What goes through secure_allocator, LockedPool, memory_cleanse or zero_after_free_allocator: the pool, wallets and their
# keys, streams that (de)serialize, encrypted transport, signatures.
REPLACED = ("BenchLockedPool|Wallet.*|ReadBlockBench|ReadRawBlockBench|WriteBlockBench|DeserializeBlockTest|CheckBlockTest|"
            "FSCHACHA20POLY1305_.*|BIP324_ECDH|EllSwiftCreate|Sign.*|FindByte|PrevectorDeserialize.*|ExpandDescriptor|"
            "AddAndRemoveDisconnectedBlockTransactionsAll|LoadExternalBlockFile|RpcMempool")
SLOWER = 1.02


def run(program, arguments, folder):
    """{benchmark: seconds} of one pass."""
    report = pathlib.Path(folder) / "report.json"
    command = [program, f"-filter={arguments.filter}", f"-min-time={arguments.min_time}", f"-output-json={report}",
               f"-testdatadir={folder}/data"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    return {result["name"]: result["median(elapsed)"] for result in results}


def text(seconds):
    """Seconds as people read them."""
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=pathlib.Path)
    parser.add_argument("core", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--filter", default=REPLACED)
    parser.add_argument("--min-time", type=int, default=50)
    arguments = parser.parse_args()
    programs = [("ours", arguments.ours), ("core", arguments.core)]
    times = {code: {} for code, _ in programs}
    for number in range(arguments.passes):
        for code, program in programs if number % 2 == 0 else reversed(programs):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                try:
                    for name, seconds in run(program, arguments, folder).items():
                        times[code].setdefault(name, []).append(seconds)
                except (OSError, subprocess.CalledProcessError) as error:
                    sys.exit(f"{program}: {error}")
        # What there is so far, should the run be stopped.
        arguments.results.write_text(json.dumps(times), encoding="utf-8")

    if not times["ours"] or times["ours"].keys() != times["core"].keys():
        sys.exit(f"the two programs have run no benchmark, or not the same ones: {sorted(times['ours'])} and {sorted(times['core'])}")
    print("| benchmark | on this library | on Core's own code | ratio |\n|---|---|---|---|")
    slower = 0
    for name in sorted(times["ours"]):
        ours, core = min(times["ours"][name]), min(times["core"][name])
        slower += ours > SLOWER * core
        print(f"| {name} | {text(ours)} | {text(core)} | {ours / core:.2f} |")
    print(f"{len(times['ours'])} benchmarks, {slower} of them above {SLOWER} of the time; {arguments.passes} passes")


if __name__ == "__main__":
    main()
