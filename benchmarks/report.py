"""A run of the benchmark as a table, as raw data and as charts."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from xml.sax.saxutils import escape

#: A machine with more than this to do beside it is busy.
_QUIET_LOAD = 1.0
_PACKAGES = ("flask", "sqlalchemy", "rq", "redis", "requests", "psycopg")
_MOST_RAW = 200


@dataclass(kw_only=True)
class Measured:
    """One line of the table.

    :ivar values: of each round, or of each result; the rest is counted from them.
    :ivar figure: the one that has a goal; of rates the median, of latencies as said by ``goal``.
    :ivar is_met: None: it has no goal of its own.
    """

    name: str
    database: str
    unit: str
    values: list[float]
    figure: float
    goal: str = ""
    is_met: bool | None = None
    note: str = ""
    source: str = "measured"


def _machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}"


@dataclass(kw_only=True)
class Run:
    """What was measured, on what.

    :ivar load_before: processes that wanted a core when it began.
    """

    lines: list[Measured]
    load_before: float
    machine: str = field(default_factory=_machine)
    python: str = field(default_factory=platform.python_version)
    at: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%d}")
    versions: dict[str, str] = field(
        default_factory=lambda: {name: version(name) for name in _PACKAGES}
    )


def _number(value: float, unit: str = "") -> str:
    if value == float("inf"):
        return "never"
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}") + (unit and f" {unit}")


def text(line: Measured) -> str:
    """For a terminal."""
    met = {None: "", True: "  met", False: "  MISSED"}[line.is_met]
    values = f"{_number(line.figure, line.unit)} ({_number(line.values[0])} to "
    goal = f"  {line.goal}" if line.goal else ""
    source = "" if line.source == "measured" else line.source
    more = "".join(f"  ({one})" for one in (line.note, source) if one)
    return f"{line.database:<11}{line.name:<38}{values}{_number(line.values[-1])}){goal}{met}{more}"


def markdown(run: Run) -> str:
    """The table with everything that belongs to it."""
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    busy = (
        f" **Measured while the machine was busy** (load {run.load_before:.1f} before it began): "
        "rates are too low and times too long."
        if run.load_before > _QUIET_LOAD
        else ""
    )
    out = [
        f"Measured on {run.at}: {run.machine}, Python {run.python}, {versions}.{busy}",
        "",
        "| | database | figure | least to most | must be | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in run.lines:
        met = {None: "", True: "met", False: "**missed**"}[line.is_met]
        spread = (
            f"{_number(line.values[0])} to {_number(line.values[-1])}"
            if line.source == "measured"
            else line.source
        )
        note = f" ({line.note})" if line.note else ""
        out.append(
            f"| {line.name}{note} | {line.database} | {_number(line.figure, line.unit)} "
            f"| {spread} | {line.goal} | {met} |"
        )
    return "\n".join(out) + "\n"


def chart(run: Run, unit: str, title: str) -> str:
    """Bars of all lines with this unit, as SVG."""
    lines = [line for line in run.lines if line.unit == unit]
    most = max((line.figure for line in lines if line.figure < float("inf")), default=1.0) or 1.0
    height = 24 * len(lines) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, line in enumerate(lines):
        y, width = 32 + 24 * number, max(min(line.figure / most, 1.0) * 340, 1)
        name = f"{line.name}, {line.database}" if line.database else line.name
        ours = line.is_met is not None
        out += [
            f'<text x="8" y="{y + 14}">{escape(name)}</text>',
            f'<rect x="330" y="{y}" width="{width:.0f}" height="18" '
            f'fill="{"#0b7285" if ours else "#adb5bd"}"/>',
            f'<text x="{334 + width:.0f}" y="{y + 14}">{_number(line.figure, unit)}</text>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"


def write_docs(run: Run, docs: Path) -> None:
    """The table in speed.md, and beside it the raw data and charts."""
    page = docs / "speed.md"
    start, end = "<!-- bench:start -->\n", "<!-- bench:end -->"
    before, _, rest = page.read_text().partition(start)
    page.write_text(before + start + markdown(run) + end + rest.partition(end)[2])
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    raw = asdict(run)
    for line in raw["lines"]:  # evenly taken, as a list of thousands tells no more
        step = -(-len(line["values"]) // _MOST_RAW)
        line["rounds"] = len(line["values"])
        values = line["values"][::step]
        line["values"] = [None if one == float("inf") else one for one in values]
        line["figure"] = None if line["figure"] == float("inf") else line["figure"]
    (folder / "engine.json").write_text(json.dumps(raw, indent=1) + "\n")
    (folder / "rates.svg").write_text(chart(run, "/s", "Statements a second"))
    (folder / "latencies.svg").write_text(chart(run, "ms", "From commit to stored"))
