"""Commands that look: check, status and test."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ..connectors import StageState
from ..models import Configuration
from ..services import checks
from ..services.configurations import Configurations
from ..services.findings import Finding, Level
from ..services.overview import ConfigurationRow, Overview, health
from ..state import State
from .parts import (
    OPERATOR,
    count,
    current_state,
    echo_json,
    find_configuration,
    iso,
    json_option,
    organization_option,
)

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red", Level.SKIPPED: "cyan"}


@json_option
def check(as_json: bool) -> None:
    """Look for faults of the installation; exit code 1 when there is one."""
    found: list[Finding] = []
    for finding in checks.check(current_state()):
        found.append(finding)
        if not as_json:
            _show_finding(finding)
    faults = sum(one.level is Level.FAULT for one in found)
    warnings = sum(one.level is Level.WARNING for one in found)
    if as_json:
        echo_json({"ok": not faults, "findings": [asdict(one) for one in found]})
    elif faults:
        click.echo(
            f"\n{count(faults, 'fault')}, {count(warnings, 'warning')}. Do what the arrows say."
        )
    else:
        click.echo(f"\nNo fault, {count(warnings, 'warning')}.")
    if faults:
        raise SystemExit(1)


def _show_finding(finding: Finding) -> None:
    level = click.style(f"{finding.level.value:8}", fg=_COLOURS[finding.level])
    click.echo(f"{level} {finding.name}: {finding.sentence}")
    if finding.remedy:
        click.echo(f"         → {finding.remedy}")


@organization_option
@json_option
def status(organization: str | None, as_json: bool) -> None:
    """How every configuration is doing."""
    state = current_state()
    overview = Overview(state, organization)
    rows = overview.rows()
    summary = overview.summary(rows)
    if as_json:
        whole = asdict(health(state, organization))
        echo_json({**whole, "list": [_row_as_json(state, row) for row in rows]})
        return
    for row in rows:
        _show_row(state, row)
    if rows:
        click.echo()
    click.echo(
        f"{summary.connected} of {summary.total} connected, "
        f"{count(summary.waiting, 'result')} waiting, "
        f"{count(summary.attention, 'result')} rejected or not sent."
    )
    if summary.is_worker_missing:
        click.echo("Results wait and no worker is running: start flask lms worker.", err=True)


def _row_as_json(state: State, row: ConfigurationRow) -> dict[str, Any]:
    health = row.configuration.health
    return {
        "id": str(row.configuration.id),
        "organization_id": row.configuration.organization_id,
        "name": row.configuration.name,
        "type": row.configuration.type,
        "status": row.status.value,
        "is_paused": row.configuration.is_paused,
        "cause": health.cause,
        "sentence": _cause(state, row.configuration)[0],
        "since": iso(health.since),
        "waiting": row.waiting,
        "attention": row.attention,
        "objectives": row.objectives,
        "last_sent_at": iso(row.last_sent_at),
        "next_try_at": iso(row.next_try_at),
        "oldest_waiting_at": iso(row.oldest_waiting_at),
    }


def _show_row(state: State, row: ConfigurationRow) -> None:
    configuration = row.configuration
    label = "paused" if configuration.is_paused else row.status.value.replace("_", " ")
    colour = {"connected": "green", "paused": "cyan"}.get(label)
    if row.status.is_error and not configuration.is_paused:
        colour = "red"
    click.echo(
        click.style(f"{label:13}", fg=colour)
        + f" {configuration.name} ({configuration.organization_id}): "
        + f"{row.waiting} waiting, {row.attention} rejected or not sent"
    )
    sentence, remedies = _cause(state, configuration)
    for line in (sentence, *remedies):
        if line:
            click.echo(f"              → {line}")
    if row.next_try_at:
        click.echo(f"              Next try at {row.next_try_at:%Y-%m-%d %H:%M} UTC.")


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "…"


def _cause(state: State, configuration: Configuration) -> tuple[str | None, list[str]]:
    """What is wrong and what to do."""
    health = configuration.health
    return _sentences(state, configuration.type, health.cause, health.facts)


def _sentences(
    state: State, type: str, code: str | None, facts: Any
) -> tuple[str | None, list[str]]:
    cause = state.registry.cause(type, code)
    if code is None or cause is None:
        return code, []
    known = _Facts(facts or {})
    return cause.sentence % known, [step % known for step in cause.remedy]


@click.argument("name")
@organization_option
@json_option
def test(name: str, organization: str | None, as_json: bool) -> None:
    """Test the connection of a configuration (its NAME or id); exit code 1 when it fails."""
    state = current_state()
    configuration = find_configuration(name, organization)
    type = configuration.type
    report = Configurations(state).test(configuration.id, by=OPERATOR)
    sentence, remedies = _sentences(state, type, report.cause, report.facts)
    if as_json:
        echo_json(
            {
                "ok": report.is_connected,
                "cause": report.cause,
                "sentence": sentence,
                "remedy": remedies,
                "stages": [asdict(stage) for stage in report.stages],
            }
        )
    else:
        marks = {StageState.OK: "✓", StageState.FAILED: "✗", StageState.SKIPPED: "–"}
        for stage in report.stages:
            took = "" if stage.duration_ms is None else f" ({stage.duration_ms} ms)"
            words = f": {stage.words}" if stage.words else ""
            click.echo(f"{marks[stage.state]} {stage.name}{took}{words}")
        click.echo(sentence or "Connected. Nothing was stored in the LMS.")
        for line in remedies:
            click.echo(f"→ {line}")
    if not report.is_connected:
        raise SystemExit(1)
