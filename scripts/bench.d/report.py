#!/usr/bin/env python3
"""Makes plots and the tables of docs/benchmarks.md and README.md from what the benchmarks measured.

    report.py --csv FILE... --about FILE.json [--plots DIR] [--docs FILE.md...]

--csv     files that pool_bench and arena_bench wrote
--about   is read and completed: the machine, and what the CSV files say in their comments
--plots   writes SVG files there (needs matplotlib)
--docs    rewrites what stands between <!-- generated: NAME --> and <!-- end --> in those files

The same input gives the same output, byte for byte.
"""

import argparse
import csv
import json
import pathlib
import re
import sys

OURS = "bitcoin-support"
COLORS = {
    OURS: "#f7931a",
    "Bitcoin Core": "#303030",
    "OpenSSL": "#b2182b",
    "libgcrypt": "#c98b6b",
    "libsodium": "#762a83",
    "Botan": "#4d9221",
    "malloc": "#9ecae1",
    "mimalloc": "#4292c6",
    "jemalloc": "#08306b",
}
ORDINARY = ("malloc", "mimalloc", "jemalloc")
# README.md's table: these rows of the table of pairs, without ratios and without Botan, which has few of them.
SUMMARY = (
    "one of 32 bytes",
    "one of 1024 bytes",
    "one of 4096 bytes",
    "replace one of 1000",
    "replace one of 100000",
    "replace one of 1000000",
    "2048 of 1 to 2048 bytes",
    "ring by two threads",
    "handover by one thread",
    "handover by two threads",
)


class Row:
    """One workload: the peers' figures, and why some have none."""

    def __init__(self, unit):
        self.unit = unit
        self.cells = {}  # peer: (median, ratio)
        self.why_not = {}  # peer: reason


def read(paths):
    """{table: {workload: Row}} in the order of the files, and {name: text} from their comments."""
    tables, about = {}, {}
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(file)
        comments = [line for line in lines if line.startswith("#")]
        for comment in comments:
            name, _, text = comment[1:].strip().partition(": ")
            about.setdefault(name, text)
        for record in csv.DictReader(lines[len(comments):]):
            rows = tables.setdefault(record["table"], {})
            row = rows.setdefault(record["workload"], Row(record["unit"]))
            if record["median"]:
                row.cells[record["peer"]] = (float(record["median"]), float(record["ratio"]))
            else:
                row.why_not[record["peer"]] = record["why_not"]
    return tables, about


# ---- Markdown ----------------------------------------------------------------


def number(value):
    if value >= 1e6:
        return f"{value:,.0f}".replace(",", " ")
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}"


def ratio_text(ratio):
    if ratio == 0:
        return ""
    for limit, form in ((9.5e-5, ".0e"), (0.00995, ".4f"), (0.0995, ".3f"), (99.5, ".2f")):
        if ratio < limit:
            return f" ({ratio:{form}})"
    return f" ({ratio:.0f})"


def peers_of(rows):
    found = []
    for row in rows.values():
        found += [peer for peer in (*row.cells, *row.why_not) if peer not in found]
    known = [peer for peer in COLORS if peer in found]
    return known + [peer for peer in found if peer not in COLORS]


def markdown(rows, peers=None):
    peers = peers or peers_of(rows)
    units = {row.unit for row in rows.values()} - {"x"}
    lines = ["| " + " | ".join([", ".join(sorted(units)), *peers]) + " |", "|---" * (len(peers) + 1) + "|"]
    reasons = {}
    for workload, row in rows.items():
        cells = []
        for peer in peers:
            if peer not in row.cells:
                cells.append("n/a")
                if peer in row.why_not:
                    reasons.setdefault((peer, row.why_not[peer]), []).append(workload)
                continue
            median, ratio = row.cells[peer]
            if row.unit == "x":
                cells.append(f"{median:.2f}x")
            else:
                cells.append(number(median) + ("" if peer == OURS else ratio_text(ratio)))
        if any(cell != "n/a" for cell in cells):
            lines.append(f"| {workload} | " + " | ".join(cells) + " |")
    if reasons:
        lines.append("")
    for (peer, why), workloads in reasons.items():
        lines.append(f"- n/a, {peer}: {why} ({len(workloads)} row{'s' if len(workloads) > 1 else ''}).")
    return "\n".join(lines)


def summary(pairs):
    peers = [peer for peer in without_floor(pairs) if peer != "Botan"]
    lines = ["| ns for a pair | " + " | ".join(peers) + " |", "|---" * (len(peers) + 1) + "|"]
    for workload in SUMMARY:
        cells = pairs[workload].cells
        figures = [number(cells[peer][0]) if peer in cells else "n/a" for peer in peers]
        lines.append(f"| {workload} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def without_floor(rows):
    """The table of pairs has rows of a floor that is no competitor."""
    return [peer for peer in peers_of(rows) if peer != "no allocator"]


def floor(rows):
    cells = {name: row.cells["no allocator"][0] for name, row in rows.items() if "no allocator" in row.cells}
    return "Without an allocator: " + "; ".join(
        f"{name} {value:.2f}x" if rows[name].unit == "x" else f"{name} {number(value)} ns" for name, value in cells.items()) + "."


def sections(tables, about):
    """What belongs between the markers."""
    result = {"about": "\n".join(f"| {name} | {text} |" for name, text in (("what", "version or value"), ("---", "---"), *about.items()))}
    if "pairs" in tables:
        pairs = tables["pairs"]
        names = {
            "single": [name for name in pairs if name.startswith("one of")],
            "replace": [name for name in pairs if name.startswith("replace")],
            "mixed": [name for name in pairs if re.match(r"\d+ of ", name)],
            "threads": [name for name in pairs if name.startswith(("ring", "handover", "thread"))],
        }
        for section, workloads in names.items():
            rows = {name: pairs[name] for name in workloads}
            result[section] = markdown(rows, without_floor(rows))
        result["threads"] += "\n\n" + floor(pairs)
        result["summary"] = summary(pairs)
    for name in ("bookkeeping", "memory", "wipe", "arena"):
        if name in tables:
            result[name] = markdown(tables[name])
    if "startup" in tables:
        result["startup"] = markdown(tables["startup"]) + "\n\n" + markdown(tables["startup_memory"])
    return result


def rewrite(path, parts):
    text = path.read_text(encoding="utf-8")
    wanted = re.findall(r"<!-- generated: (\w+) -->", text)
    missing = set(wanted) - set(parts)
    if missing:
        sys.exit(f"{path}: nothing was measured for {', '.join(sorted(missing))}")
    for name in wanted:
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, part=parts[name]: match[1] + part + "\n" + match[2], text)
        if count != 1:
            sys.exit(f"{path}: the marker {name} must stand there once and have an end")
    path.write_text(text, encoding="utf-8")


# ---- Plots -------------------------------------------------------------------


def plots(tables, directory):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "svg.hashsalt": OURS,
        "svg.fonttype": "none",  # text stays text: small files
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "#dddddd",
        "legend.frameon": False,
        "figure.facecolor": "white",
    })
    pairs = tables["pairs"]

    def save(figure, name):
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        plt.close(figure)

    def plain(axis):
        axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"))

    def legend(axes, count):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=count)

    # One secret, by size.
    workloads = {int(re.search(r"\d+", name)[0]): row for name, row in pairs.items() if name.startswith("one of")}
    peers = peers_of({size: row for size, row in workloads.items()})
    figure, axes = plt.subplots(figsize=(11, 4.6))
    width = 0.86 / len(peers)
    for i, peer in enumerate(peers):
        bars = [(x, row.cells[peer][0]) for x, row in enumerate(workloads.values()) if peer in row.cells]
        axes.bar([x + (i - (len(peers) - 1) / 2) * width for x, _ in bars], [y for _, y in bars], width,
                 color=COLORS.get(peer), label=peer, hatch="///" if peer in ORDINARY else None, edgecolor="white", linewidth=0.3)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1)
    plain(axes.yaxis)
    axes.set_xticks(range(len(workloads)), [str(size) for size in workloads])
    axes.set_xlabel("bytes")
    axes.set_ylabel("ns, logarithmic")
    axes.set_title("Allocate, wipe and free one secret (hatched: ordinary heaps; no bar: cannot)", fontsize=11)
    legend(axes, 5)
    save(figure, "pairs")

    # Replacement among many.
    workloads = {int(re.search(r"\d+$", name)[0]): row for name, row in pairs.items() if name.startswith("replace")}
    peers = peers_of(workloads)
    figure, axes = plt.subplots(figsize=(8, 4.8))
    for peer in peers:
        points = [(live, row.cells[peer][0]) for live, row in workloads.items() if peer in row.cells]
        axes.plot(*zip(*points), marker="o", markersize=4, color=COLORS.get(peer), label=peer,
                  linewidth=2.6 if peer == OURS else 1.4, linestyle="--" if peer in ORDINARY else "-", zorder=3 if peer == OURS else 2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes.yaxis)
    plain(axes.xaxis)
    axes.set_xticks(list(workloads))
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.set_xlabel("live objects of 32 bytes")
    axes.set_ylabel("ns, logarithmic")
    axes.set_title("Replace a random one of many secrets (dashed: ordinary heaps)", fontsize=11)
    legend(axes, 5)
    save(figure, "replace")

    # Two threads.
    kinds = {"ring scaling": "each thread its own", "handover scaling": "one allocates, one frees"}
    peers = [peer for peer in peers_of(pairs) if peer in pairs["ring scaling"].cells]
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for i, (name, label) in enumerate(kinds.items()):
        heights = [pairs[name].cells[peer][0] for peer in peers]
        positions = [x + (i - 0.5) * 0.4 for x in range(len(peers))]
        bars = axes.bar(positions, heights, 0.38, color=[COLORS.get(peer) for peer in peers], alpha=1 if i == 0 else 0.45)
        axes.bar_label(bars, [f"{height:.2f}" for height in heights], fontsize=8, padding=2,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})
    axes.axhline(1, color="#555555", linewidth=1, zorder=1)
    axes.axhline(2, color="#555555", linewidth=1, zorder=1, linestyle=":")
    limit = pairs["handover scaling"].cells.get("no allocator")
    if limit:
        axes.axhline(limit[0], color="#c04000", linewidth=1, zorder=1, linestyle="--")
        axes.annotate("handover without\nany allocator", (1.005, limit[0]), xycoords=("axes fraction", "data"), fontsize=8,
                      va="center", color="#c04000")
    tallest = max(pairs[name].cells[peer][0] for name in kinds for peer in peers)
    axes.set_ylim(top=max(2.25, 1.1 * tallest))
    axes.set_xticks(range(len(peers)), [re.sub("[- ]", lambda gap: gap[0].strip() + "\n", peer) for peer in peers])
    axes.set_ylabel("throughput, one thread = 1")
    axes.set_title("What a second thread adds (full: " + kinds["ring scaling"] + "; pale: " + kinds["handover scaling"] + ")", fontsize=11)
    axes.grid(False)
    save(figure, "threads")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", nargs="+", required=True)
    parser.add_argument("--about", type=pathlib.Path, required=True)
    parser.add_argument("--plots", type=pathlib.Path)
    parser.add_argument("--docs", nargs="+", type=pathlib.Path, default=[])
    arguments = parser.parse_args()

    tables, comments = read(arguments.csv)
    about = json.loads(arguments.about.read_text(encoding="utf-8"))
    about = {**{name: comments[name] for name in ("machine", "kernel") if name in comments}, **about, **comments}
    arguments.about.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        plots(tables, arguments.plots)
    for path in arguments.docs:
        rewrite(path, sections(tables, about))


if __name__ == "__main__":
    main()
