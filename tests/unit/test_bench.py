"""The benchmark's report: what is written into the docs is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.report import Measured, Run, write_docs

LINES = [
    Measured(
        name="raw loop", database="sqlite", unit="/s", values=[900.0, 1000.0, 1100.0], figure=1000.0
    ),
    Measured(
        name="60 of 61 hang: p95",
        database="sqlite",
        unit="ms",
        values=[5.0, float("inf")],
        figure=float("inf"),
        goal="≤ 500 ms",
        is_met=False,
    ),
]


def test_the_table_in_the_docs_is_written_anew_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n<!-- bench:start -->\nold\n<!-- bench:end -->\nwords\n")
    run = Run(lines=LINES, load_before=3.0, machine="2 cores")
    for _ in range(2):
        write_docs(run, tmp_path)
    written = page.read_text()
    assert "old" not in written
    assert written.endswith("<!-- bench:end -->\nwords\n")
    assert "| raw loop | sqlite | 1,000 /s | 900 to 1,100 |  |  |" in written
    assert "| never | 5 to never | ≤ 500 ms | **missed** |" in written
    assert "the machine was busy" in written
    raw = json.loads((tmp_path / "benchmarks" / "engine.json").read_text())
    assert raw["lines"][0]["values"] == [900.0, 1000.0, 1100.0]
    assert raw["lines"][1]["values"] == [5.0, None]
    for name in ("rates.svg", "latencies.svg"):
        ElementTree.parse(tmp_path / "benchmarks" / name)
