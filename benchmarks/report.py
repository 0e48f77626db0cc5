"""The results of a run as docs/performance.md: each figure, its goal, and whether it is met.

    .venv/bin/python benchmarks/report.py docs/performance.md [benchmarks/results/NAME.json]

writes the page again, such as after a change of its template; with the results of an earlier run, from these.

What was measured stands in the page between two comments that have the block's name. So a run of a part renews
the blocks of that part, and says so below them; all others stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

TEMPLATE = Path(__file__).with_name("performance.template.md")
NOT_MEASURED = "not measured in this run"
BLOCK = re.compile(r"<!-- ([a-z_]+) -->\n(.*?)\n<!-- / -->", re.DOTALL)
PLACEHOLDER = re.compile(r"^\{\{([a-z_]+)\}\}$", re.MULTILINE)

Results = dict[str, Any]


@dataclass(frozen=True)
class Ratio:
    """Seconds of one case as a multiple of another's; the goal is a limit from above or, for a peer, from below."""

    figure: str
    measured: str
    base: str
    goal: float
    at_least: bool = False

    def row(self, results: Results) -> tuple[str, ...]:
        seconds = results["seconds"]
        goal = f"{'>=' if self.at_least else '<='} {self.goal:g} x"
        if self.measured not in seconds or self.base not in seconds:
            return self.figure, goal, NOT_MEASURED, "", ""
        ratio = median(seconds[self.measured]) / median(seconds[self.base])
        met = ratio >= self.goal if self.at_least else ratio <= self.goal
        verdict = "met" if met else f"missed by {100 * abs(ratio - self.goal) / self.goal:.0f} %"
        return self.figure, goal, f"{ratio:.2f} x", spread(seconds[self.measured]), verdict


RATIOS = (
    Ratio("first import, file in mixed order", "first shuffled", "copy shuffled", 1.3),
    Ratio("the same file again: all unchanged", "unchanged shuffled", "copy shuffled", 0.8),
    Ratio("every row changed", "changed shuffled", "copy shuffled", 2.2),
    Ratio("first import, file in the order of its skus", "first sorted", "copy sorted", 1.3),
    Ratio("the same file again: all unchanged", "unchanged sorted", "copy sorted", 0.8),
    Ratio("every row changed", "changed sorted", "copy sorted", 2.2),
)
LOOKED_AT = (
    Ratio("check: every row would change", "check shuffled", "copy shuffled", 0.9),
    Ratio("check: every row is new", "check of new shuffled", "copy shuffled", 0.9),
    Ratio("undo: 500,000 changes restored", "undo of changes shuffled", "copy shuffled", 3),
    Ratio("undo: 500,000 products removed", "undo of the first shuffled", "copy shuffled", 3),
)
PEERS = (
    Ratio("`bulk_create(update_conflicts)`", "bulk_create", "first shuffled", 5, at_least=True),
    Ratio("SQLModel objects, as the original", "sqlmodel", "first shuffled", 10, at_least=True),
    Ratio("dict + COPY + one upsert: first", "dict and copy, first", "first shuffled", 2, at_least=True),
    Ratio("dict + COPY + one upsert: again", "dict and copy, again", "unchanged shuffled", 4, at_least=True),
    Ratio("django-import-export, bulk (scaled)", "import-export bulk", "first shuffled", 40, at_least=True),
    Ratio("django-import-export, default (scaled)", "import-export default", "first shuffled", 120, at_least=True),
)
LARGE = (
    Ratio("new rows", "first in a large catalogue", "first in a small catalogue", 1.5),
    Ratio("every row changed", "changed in a large catalogue", "changed in a small catalogue", 1.5),
)
WORKER_GOAL_MB = 30
WEB_GOAL_MB = 25


def spread(values: list[float]) -> str:
    """Median, and the lowest and highest in brackets."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(each) + " |" for each in (header, ("---",) * len(header), *rows)]
    return "\n".join(lines) if len(lines) > 2 else f"{NOT_MEASURED.capitalize()}."


def ratios(results: Results, goals: tuple[Ratio, ...], compared_with: str) -> str:
    header = ("figure", "goal", compared_with, "seconds: median (lowest–highest)", "")
    return table(header, (goal.row(results) for goal in goals))


def copies(results: Results) -> str:
    seconds = results["seconds"]
    header = ("file", "raw COPY, seconds: median (lowest–highest)")
    names = (("in mixed order", "copy shuffled"), ("in the order of its skus", "copy sorted"))
    return table(header, ((text, spread(seconds[name])) for text, name in names if name in seconds))


def peers(results: Results) -> str:
    """What the peers did, beyond the ratio: rows a second, memory, and how many rows they were given."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, facts in results["other"].get("peers", {}).items():
            per_second = results["rows"] / median(results["seconds"][name])
            scaled = "" if facts["rows"] == results["rows"] else ", scaled"
            yield name, f"{facts['rows']:,}{scaled}", f"{per_second:,.0f}", f"{facts['peak_mb']:,.0f} MB"

    return table(("peer", "rows", "rows a second", "memory of its process"), rows())


def memory(growths: dict[str, Any], goal: float, what: str) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, growth in growths.items():
            resident = growth["resident_mb"]
            verdict = "met" if resident <= goal else f"missed by {resident - goal:.1f} MB"
            size = f"{growth['file_bytes'] / 1e6:,.0f} MB"
            shown = f"{int(name):,}" if name.isdigit() else name
            parts = (f"{growth['idle_mb']} MB", f"{resident} MB", f"{growth['proportional_mb']} MB")
            yield shown, size, *parts, verdict

    header = (what, "file", "idle, resident", f"above idle (goal: <= {goal:g} MB)", "proportional, above idle", "")
    return table(header, rows())


def uploads(results: Results) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, facts in results["other"].get("web memory", {}).items():
            seconds = results["seconds"][name]
            speed = facts["file_bytes"] / 1e6 / median(seconds)
            yield name, f"{facts['file_bytes'] / 1e6:,.0f} MB", spread(seconds), f"{speed:,.0f} MB/s"

    return table(("upload", "size", "seconds: median (lowest–highest)", ""), rows())


def _apply(results: Results) -> str:
    seconds = results["seconds"]
    if "apply shuffled" not in seconds:
        return f"Applying: {NOT_MEASURED}."
    ratio = median(seconds["apply shuffled"]) / median(seconds["copy shuffled"])
    return f"Applying a check in which every row is new: {ratio:.2f} x raw COPY, {spread(seconds['apply shuffled'])} s."


def exports(results: Results) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, facts in results["other"].get("export memory", {}).items():
            seconds = results["seconds"][name]
            per_second = results["rows"] / median(seconds)
            yield name, f"{facts['file_bytes'] / 1e6:,.0f} MB", spread(seconds), f"{per_second:,.0f}"

    return table(("export", "size", "seconds: median (lowest–highest)", "rows a second"), rows())


def webhooks(results: Results) -> str:
    """Each figure, its goal, and whether it is met."""
    found = results["other"].get("webhooks")
    if not found:
        return f"{NOT_MEASURED.capitalize()}."
    one, two, slow, slower = (found[name] for name in ("one", "two", "one, waiting", "two, waiting"))
    apart = found["isolation"]
    figures = (
        ("deliveries a second of one dispatcher", ">= 1,000", one["per_second"], one["per_second"] >= 1000),
        ("the same over TLS", "", found["one, TLS"]["per_second"], None),
        (
            "two dispatchers, receivers at once, x",
            ">= 1.8",
            round(two["per_second"] / one["per_second"], 2),
            two["per_second"] >= 1.8 * one["per_second"],
        ),
        (
            "two dispatchers, receivers that take 0.3 s, x",
            "",
            round(slower["per_second"] / slow["per_second"], 2),
            None,
        ),
        ("processor time of one delivery, ms", "", one["cpu_ms_each"], None),
        ("the same over TLS, ms", "", found["one, TLS"]["cpu_ms_each"], None),
        ("connections used again, %", ">= 95", round(100 * one["reused"], 1), one["reused"] >= 0.95),
        ("commit to arrival, idle, p95, ms", "<= 1,000", found["idle"]["p95_ms"], found["idle"]["p95_ms"] <= 1000),
        ("commit to arrival, 500/s, p95, ms", "<= 5,000", found["busy"]["p95_ms"], found["busy"]["p95_ms"] <= 5000),
        (
            f"resident memory, {found['memory']['most_open']} in flight, MB",
            "<= 300",
            found["memory"]["resident_mb"],
            found["memory"]["resident_mb"] <= 300,
        ),
        ("p95 of others beside one that hangs, x", "<= 1.2", apart["ratio"], apart["ratio"] <= 1.2),
    )
    return verdicts(figures)


def watchers(results: Results) -> str:
    found = results["other"].get("watchers")
    if not found:
        return f"{NOT_MEASURED.capitalize()}."
    joining, memory = found["joining"], found["peak_mb"]
    growth = round(memory[-1] - memory[0], 1)
    return verdicts(
        (
            (f"{found['watchers']:,} watchers: lag, median, ms", "", found["p50_ms"], None),
            ("lag, p99, ms", "< 1,000", found["p99_ms"], found["p99_ms"] < 1000),
            ("the end, p99, ms", "< 1,000", found["end_p99_ms"], found["end_p99_ms"] < 1000),
            ("sockets that missed the end", "0", found["missed_the_end"], not found["missed_the_end"]),
            ("half of them join while it runs: lag of those, p99, ms", "", joining["p99_ms"], None),
            ("sockets that missed the end then", "0", joining["missed_the_end"], not joining["missed_the_end"]),
            ("processor time of the live process, one snapshot to one socket, ms", "", found["cpu_ms_each"], None),
            ("live process: idle, MB", "", found["idle_mb"], None),
            ("at the first import, the most, MB", "", memory[0], None),
            ("more at the last than at the first, MB", "<= 5", growth, growth <= 5),
        )
    )


def verdicts(figures: Iterable[tuple[str, str, float, bool | None]]) -> str:
    """What it is, the goal, what was measured, and whether that is met; None where there is no goal."""
    words = {True: "met", False: "missed", None: ""}
    rows = ((what, goal, f"{value:,}", words[met]) for what, goal, value, met in figures)
    return table(("figure", "goal", "measured", ""), rows)


def reads(results: Results) -> str:
    """Each figure, its goal, and whether it is met."""
    found = results["other"].get("reads")
    if not found:
        return f"Reads: {NOT_MEASURED}."
    rates, compared = found["rates"], table(("", "requests a second: median (lowest–highest)"), _rates(found))
    figures: list[tuple[str, str, str, bool]] = []
    for goal, other, words in ((1.5, "peer", "the peer's"), (3, "plain", "plain serializers'")):
        for target in ("list of 50", "detail") if other == "peer" else ("list of 50",):
            for who, limit in (("ours", ""), ("ours, limited", ", rate limit on")):
                ratio = median(rates[target][who]) / median(rates[target][other])
                figures.append((f"{target}{limit}, x {words}", f">= {goal:g}", f"{ratio:.2f}", ratio >= goal))
    for order, each in found["deep"].items():
        ratio = each["deep_ms"] / each["first_ms"]
        what = f"page 10,000 in the order of {order}, x page 1"
        figures.append((what, "<= 1.2", f"{ratio:.2f} ({each['first_ms']:.1f} ms)", ratio <= 1.2))
    for target, each in found["crowd"].items():
        what = f"1,000 connections, {target}"
        figures.append((f"{what}: p99, s", "<= 3", f"{each['p99_seconds']:.2f}", each["p99_seconds"] <= 3))
        wrong = each["failed"] or f"none of {each['answered']:,}"
        figures.append((f"{what}: not answered, or by an error", "none", wrong, not each["failed"]))
    rows = ((what, goal, value, "met" if met else "missed") for what, goal, value, met in figures)
    return f"{table(('figure', 'goal', 'measured', ''), rows)}\n\n{compared}"


def _rates(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for target, each in found["rates"].items():
        for who, rates in each.items():
            yield f"{target}: {who}", f"{median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def about(results: Results) -> str:
    """When, where, and on what the whole was measured."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    settings = ", ".join(f"`{name} = {value}`" for name, value in machine["database"].items())
    size = f"{results['file_bytes'] / 1e6:,.0f} MB"
    return f"""\
Written by `{results["command"]}` on {results["date"]}; it took {results["minutes"]:.0f} minutes. What stands outside
of the tables is in `benchmarks/performance.template.md`. A table with a date below it was measured by itself.

- Machine: {machine["cpu"]}, {machine["cores"]} cores, {machine["memory_gb"]:g} GB, {machine["kernel"]}. \
Load before the run: {machine["load_before"]:g}.
- Versions: {versions}.
- PostgreSQL as `manage.py up` sets it up: {settings}.
- The file: {results["rows"]:,} products, {size}, four columns, the names in quotation marks.

Seconds depend on the machine; ratios, made within one run, hardly do. Every case is measured
{results["repeats"]} times, in turns with all the others, and the median counts."""


def blocks(results: Results) -> dict[str, str]:
    """All that was measured, by the name that it has in the template."""
    other = results["other"]
    return {
        "copies": copies(results),
        "imports": ratios(results, RATIOS, "raw COPY"),
        "looked_at": ratios(results, LOOKED_AT, "raw COPY"),
        "apply": _apply(results),
        "peers": ratios(results, PEERS, "slower than our import"),
        "peer_facts": peers(results),
        "large": ratios(results, LARGE, "the small catalogue"),
        "worker_memory": memory(other.get("worker memory", {}), WORKER_GOAL_MB, "rows"),
        "web_memory": memory(other.get("web memory", {}), WEB_GOAL_MB, "upload"),
        "uploads": uploads(results),
        "exports": exports(results),
        "export_memory": memory(other.get("export memory", {}), WEB_GOAL_MB, "export"),
        "webhooks": webhooks(results),
        "reads": reads(results),
        "watchers": watchers(results),
    }


def page(results: Results) -> str:
    """The whole of docs/performance.md, from a run of everything."""
    return filled({"about": about(results), **blocks(results)})


def renewed(text: str, results: Results) -> str:
    """The page with those blocks anew that this run of a part has measured, dated; the words are the template's."""
    machine = results["machine"]
    note = f"Measured on {results['date']} by `{results['command']}`; load before: {machine['load_before']:g}."
    new = {name: f"{block}\n\n{note}" for name, block in measured_blocks(results).items()}
    return filled({**blocks_of(text), **new})


def measured_blocks(results: Results) -> dict[str, str]:
    return {name: block for name, block in blocks(results).items() if NOT_MEASURED not in block.lower()}


def measured(results: Results) -> str:
    """All tables of a run, for a terminal."""
    return "\n\n".join(measured_blocks(results).values())


def blocks_of(text: str) -> dict[str, str]:
    return dict(BLOCK.findall(text))


def filled(values: dict[str, str]) -> str:
    """The template with these blocks; one that has none was not measured yet."""

    def block(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{values.get(found[1], 'Not measured yet.')}\n<!-- / -->"

    return PLACEHOLDER.sub(block, TEMPLATE.read_text(encoding="utf-8"))


def main() -> None:
    target = Path(sys.argv[1])
    if len(sys.argv) > 2:
        results = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        text = page(results) if results["whole"] else renewed(target.read_text(encoding="utf-8"), results)
    else:
        text = filled(blocks_of(target.read_text(encoding="utf-8")))
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
