"""``flask lms …``: what operators run, by the same services as the pages."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

import click
from flask.cli import AppGroup, ScriptInfo

from ..audit import as_id
from ..connectors.stages import StageState
from ..database.models import DeliveryState, ReadBack, Task
from ..delivery import retention
from ..delivery.worker import run
from ..errors import InvalidConfiguration, LMSError
from ..services import participants, tasks
from ..services import reconcile as reconcile_service
from ..services.configurations import Configurations
from ..services.deliveries import (
    CheckedAgain,
    Deliveries,
    DeliveryFilter,
    asked_of,
    counts_by_organization,
)
from ..services.objectives import Objectives
from ..services.overview import Overview
from ..services.overview import health as health_of
from ..services.steps import MOST_AT_ONCE
from . import diagnostics
from .diagnostics import Finding, Level
from .keys import rekey
from .parts import (
    OPERATOR,
    Time,
    count,
    current_state,
    echo_json,
    find_configuration,
    iso,
    json_option,
    organization_option,
    progress,
    yes_option,
)

_READ_BACK = {
    "confirmed": "The LMS has it as it was sent.",
    "missing": "The LMS accepted it and doesn't have it: send it again.",
    "different": "The LMS has something else under its id.",
    "doubled": "The LMS has it, and once more under another id.",
    "voided": "Somebody else took it back there.",
    "unreadable": "It can't be said.",
}
#: Of each word, in JSON.
_LISTED = 10_000
_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "red", Level.SKIPPED: "cyan"}


@json_option
def check_command(as_json: bool) -> None:
    """Check the installation; exit code 1 and a remedy when something is wrong."""
    found: list[Finding] = []
    for finding in diagnostics.check(current_state()):
        found.append(finding)
        if as_json:
            continue
        level = click.style(f"{finding.level.value:8}", fg=_COLOURS[finding.level])
        click.echo(f"{level} {finding.name}: {finding.sentence}")
        if finding.remedy:
            click.echo(f"         → {finding.remedy}")
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


@organization_option
@json_option
def status(organization: str | None, as_json: bool) -> None:
    """How every configuration is doing."""
    state = current_state()
    overview = Overview(state, organization)
    rows = overview.rows()
    summary = overview.summary(rows)
    if as_json:
        listed = []
        for row in rows:
            type, health = row.configuration.type, row.configuration.health
            listed.append(
                {
                    "id": str(row.configuration.id),
                    "organization_id": row.configuration.organization_id,
                    "name": row.configuration.name,
                    "type": type,
                    "status": row.status.value,
                    "is_paused": row.configuration.is_paused,
                    "cause": health.cause,
                    "sentence": state.registry.explain(type, health.cause, health.facts)[0],
                    "since": iso(health.since),
                    "waiting": row.waiting,
                    "attention": row.attention,
                    "objectives": row.objectives,
                    "last_sent_at": iso(row.last_sent_at),
                    "next_try_at": iso(row.next_try_at),
                    "oldest_waiting_at": iso(row.oldest_waiting_at),
                }
            )
        echo_json({**asdict(health_of(state, organization)), "list": listed})
        return
    for row in rows:
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
        health = configuration.health
        sentence, remedies = state.registry.explain(configuration.type, health.cause, health.facts)
        for line in (sentence, *remedies):
            if line:
                click.echo(f"              → {line}")
        if row.next_try_at:
            click.echo(f"              Next try at {row.next_try_at:%Y-%m-%d %H:%M} UTC.")
    if rows:
        click.echo()
    click.echo(
        f"{summary.connected} of {summary.total} connected, "
        f"{count(summary.waiting, 'result')} waiting, "
        f"{count(summary.attention, 'result')} rejected or not sent."
    )
    if summary.is_worker_missing:
        click.echo("Results wait and no worker is running: start flask lms worker.", err=True)


@click.argument("name")
@organization_option
@json_option
def test(name: str, organization: str | None, as_json: bool) -> None:
    """Test the connection of a configuration (NAME or id); exit code 1 when it fails."""
    state = current_state()
    configuration = find_configuration(name, organization)
    report = Configurations(state).test(configuration.id, by=OPERATOR)
    sentence, remedies = state.registry.explain(configuration.type, report.cause, report.facts)
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


@click.option("--burst", is_flag=True, help="Send what is due, without Redis, and exit.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Processes that deliver; default: LMS_WORKER_PROCESSES.",
)
@click.option(
    "--streams",
    type=click.IntRange(4, 256),
    help="Requests under way in each of them; default: LMS_WORKER_STREAMS.",
)
@click.pass_obj
def worker(info: ScriptInfo, burst: bool, processes: int | None, streams: int | None) -> None:
    """Send results, retry, mail alerts and clean up; any number may run, on any machine."""
    try:
        done = run(info.load_app(), burst=burst, processes=processes, streams=streams)
    except LMSError as error:
        raise click.ClickException(str(error)) from None
    if done is not None:
        click.echo(
            f"{done.delivered:,} delivered and {done.rejected:,} rejected in "
            f"{count(done.requests, 'request')}; {count(done.mails, 'mail')} sent."
        )


@click.argument("name", required=False)
@organization_option
@json_option
def send_waiting(name: str | None, organization: str | None, as_json: bool) -> None:
    """Send what waits now, not at the next planned try: one configuration (NAME or id) or all."""
    service = Configurations(current_state())
    chosen = [find_configuration(name, organization)] if name else service.list(organization)
    ids = [one.id for one in chosen if not one.is_paused]
    if name and not ids:
        raise click.ClickException(f"{name} is paused: resume it on its page first.")
    waiting = 0
    with progress("configurations", len(ids)) as show:
        for done, id in enumerate(ids, 1):
            waiting += service.send_waiting(id, by=OPERATOR)
            show(done)
    if as_json:
        echo_json({"configurations": len(ids), "waiting": waiting})
    else:
        told = count(len(ids), "configuration")
        click.echo(f"{count(waiting, 'result')} of {told} will be tried now.")


@click.option(
    "--id", "ids", metavar="ID", multiple=True, help="This delivery; may be given several times."
)
@click.option("--configuration", metavar="NAME", help="Of this configuration, by name or id.")
@organization_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["rejected", "cancelled", "delivered", "not_sent"]),
    help="In this state; may be given several times. Default: rejected. For not_sent: check again.",
)
@click.option("--objective", metavar="ID", help="Of this objective.")
@click.option("--participant", metavar="ID", help="Of this participant.")
@click.option("--reason", metavar="CODE", help="With this reason.")
@click.option("--since", type=Time(), help="Recorded at this time or later (UTC).")
@click.option("--until", type=Time(), help="Recorded before this time (UTC).")
@yes_option
@json_option
def requeue(
    configuration: str | None,
    organization: str | None,
    ids: tuple[str, ...],
    states: tuple[str, ...],
    objective: str | None,
    participant: str | None,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Send rejected, cancelled or delivered results again, with the same bytes and ids."""
    state = current_state()
    wanted = [DeliveryState(one) for one in states or ("rejected",)]
    about = find_configuration(configuration, organization) if configuration else None
    which = DeliveryFilter(
        ids=ids or None,
        configuration_id=about.id if about else None,
        states=wanted,
        objective_id=objective,
        participant_id=participant,
        reason=reason,
        since=since,
        until=until,
    )
    found = {
        act: counts_by_organization(state, organization, act, which)
        for act in ("send_again", "check_again")
    }
    sendable, checkable = (sum(counts.values()) for counts in found.values())
    if not as_json:
        click.echo(f"This sends {count(sendable, 'result')} again and checks {checkable} again.")
    if sendable + checkable and not yes:
        click.confirm("Continue?", abort=True, err=True)
    service, sent, checked = Deliveries(state, organization), 0, CheckedAgain()
    if sendable > MOST_AT_ONCE:
        sent = _by_tasks("send_again", which, found["send_again"])["deliveries"]
    elif sendable:
        with progress("results", sendable) as show:
            sent = service.send_again(by=OPERATOR, on_progress=show, **which)
    if checkable > MOST_AT_ONCE:
        checked = CheckedAgain(**_by_tasks("check_again", which, found["check_again"]))
    elif checkable:
        with progress("results", checkable) as show:
            checked = service.check_again(by=OPERATOR, on_progress=show, **which)
    if as_json:
        echo_json({"sent_again": sent, "checked_again": asdict(checked)})
        return
    click.echo(f"Now waiting to be sent: {count(sent + checked.queued, 'result')}.")
    if checked.still_not_sent:
        click.echo(
            f"{checked.still_not_sent} still can't be sent: correct them in the host, as the page "
            "Deliveries says, then run this again."
        )


def _by_tasks(act: str, which: DeliveryFilter, counts: Mapping[str, int]) -> Counter[str]:
    """Many, in steps that survive a kill; all organizations' tasks are asked for before the first
    is begun.
    """
    state, about = current_state(), which.get("configuration_id")
    return _finish(
        [
            tasks.ask(
                state,
                owner,
                act,
                asked_of(state, owner, act, which),
                by=OPERATOR,
                configuration_id=as_id(about) if about else None,
                total=total,
            )
            for owner, total in sorted(counts.items())
        ]
    )


def _finish(asked: Sequence[Task]) -> Counter[str]:
    """Carry them out here and show their progress; if this is ended, a worker goes on with them.

    :returns: what came of all.
    """
    these = [(task.id, task.organization_id) for task in asked]
    counts: Counter[str] = Counter()
    faults, before = [], 0
    with progress("results", sum(task.total or 0 for task in asked)) as show:

        def show_all(done: int) -> None:
            show(before + done)

        for id, owner in these:
            done = tasks.follow(current_state(), id, owner, show_all)
            before += done.done
            counts.update(done.counts)
            if done.failure or done.stopped_by is not None:
                faults.append(f"{owner}: {done.failure or f'{done.stopped_by} stopped it.'}")
    if faults:
        raise click.ClickException("\n".join(faults))
    return counts


@click.argument("name")
@click.argument("objective")
@click.option("--since", type=Time(), help="Only results since this time (UTC).")
@organization_option
@yes_option
@json_option
def backfill(
    name: str,
    objective: str,
    since: datetime | None,
    organization: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Send past results of an attached OBJECTIVE (id) to a configuration (NAME or id)."""
    configuration = find_configuration(name, organization)
    service = Objectives(current_state(), configuration.organization_id)
    id, total = configuration.id, service.count_past(objective, since)
    if not as_json:
        click.echo(f"This sends {count(total, 'result')} to {configuration.name}.")
    if total and not yes:
        click.confirm("Continue?", abort=True, err=True)
    service.check_attached(id, objective)
    if total > MOST_AT_ONCE:
        asked = tasks.ask(
            current_state(),
            configuration.organization_id,
            "backfill",
            {"objectives": [objective], "since": iso(since)},
            by=OPERATOR,
            configuration_id=id,
            total=total,
        )
        counts = dict(_finish([asked]))
    else:
        with progress("results", total) as show:
            done = service.backfill(id, objective, since, by=OPERATOR, on_progress=show)
        counts = {
            "queued": done.queued,
            "not_sent": len(done.not_sent),
            "duplicates": done.duplicates,
        }
    if as_json:
        echo_json(counts)
        return
    click.echo(
        "{queued} queued, {not_sent} not sent, {duplicates} were there already.".format(**counts)
    )
    if counts["not_sent"]:
        click.echo("The page Deliveries tells for each why it isn't sent, and what to do.")


@click.argument("name")
@click.option("--since", type=Time(), required=True, help="What was sent since this time (UTC).")
@organization_option
@json_option
def reconcile(name: str, since: datetime, organization: str | None, as_json: bool) -> None:
    """Read back what a configuration (NAME or id) sent, and compare; exit code 1 when it differs.

    Nothing is changed in the LMS, and nothing is sent again.
    """
    state = current_state()
    configuration = find_configuration(name, organization)
    asked = reconcile_service.asked_of(state, since)
    task = tasks.ask(
        state,
        configuration.organization_id,
        "reconcile",
        asked,
        by=OPERATOR,
        configuration_id=configuration.id,
        total=reconcile_service.count(state, configuration.id, asked),
    )
    done = _finish([task])
    counts = {one.value: done[one.value] for one in ReadBack}
    task = tasks.get(state, configuration.organization_id, task.id)
    too_new, fault = done["too_new"], task.position.get("fault")
    is_well = not any(n for word, n in counts.items() if word != "confirmed")
    type, found = configuration.type, fault or {"cause": None, "facts": {}}
    sentence, remedies = state.registry.explain(type, found["cause"], found["facts"])
    if as_json:
        listed = [
            {
                "delivery_id": str(one.id),
                "result_id": one.result_id,
                "statement_id": str(one.statement_id),
                "read_back": word,
                "facts": one.read_back_facts or {},
            }
            for word in counts
            if word != "confirmed" and counts[word]
            for one in Deliveries(state, configuration.organization_id)
            .list(configuration_id=configuration.id, read_back=word, limit=_LISTED)
            .items
        ]
        echo_json(
            {
                "ok": is_well,
                "counts": {**counts, "too_new": too_new},
                "cause": found["cause"],
                "sentence": sentence,
                "remedy": remedies,
                "list": listed,
            }
        )
    else:
        for word, n in counts.items():
            if n or word == "confirmed":
                click.echo(f"{word.capitalize():11} {n:>9,}  {_READ_BACK[word]}")
        if too_new:
            click.echo(f"{'Too new':11} {too_new:>9,}  Sent in the last minutes.")
        for line in filter(None, (sentence, *(f"→ {step}" for step in remedies))):
            click.echo(line)
        if not is_well:
            click.echo("Each is on the page Deliveries, under “In the LMS”, with what to do.")
    if not is_well:
        raise SystemExit(1)


@yes_option
@json_option
def purge(yes: bool, as_json: bool) -> None:
    """Delete now what is older than LMS_RETENTION_DAYS or LMS_CONTENT_RETENTION_DAYS."""
    state = current_state()
    days, content = state.settings.retention_days, state.settings.content_retention_days
    if not yes:
        click.confirm(
            f"This deletes what was sent or cancelled more than {days} days ago, and contents of "
            f"more than {content} days ago. Continue?",
            abort=True,
            err=True,
        )
    seen = 0
    with progress("rows") as show:

        def add(rows: int) -> None:
            nonlocal seen
            seen += rows
            show(seen)

        done = retention.purge(state, state.clock.now(state.session()), add)
    if as_json:
        echo_json(asdict(done))
    else:
        click.echo(
            f"Deleted {count(done.deliveries, 'delivery', 'deliveries')}, "
            f"{count(done.attempts, 'attempt')}, {count(done.incidents, 'incident')} and "
            f"{count(done.mails, 'mail')}; erased "
            f"{count(done.contents, 'content')}; cancelled {done.cancelled} of configurations "
            "deleted long ago."
        )


@click.argument("organization")
@click.argument("participant")
@yes_option
@json_option
def forget_participant(organization: str, participant: str, yes: bool, as_json: bool) -> None:
    """Erase a participant of an organization, by the ids that the host gave them."""
    if not yes:
        click.confirm("This can't be undone. Continue?", abort=True, err=True)
    done = participants.forget(current_state(), organization, participant, OPERATOR)
    if as_json:
        echo_json(asdict(done))
        return
    click.echo(
        f"Erased from {count(done.deliveries, 'delivery', 'deliveries')}; "
        f"{done.cancelled} of them waited and were cancelled."
    )
    for name in done.copies:
        click.echo(f"“{name}” may hold copies: ask for their erasure there.")


@click.argument("organization")
@click.argument("participant")
def export_participant(organization: str, participant: str) -> None:
    """Print all that is kept of a participant of an organization, as JSON."""
    echo_json(participants.export(current_state(), organization, participant))


@json_option
def rekey_secrets(as_json: bool) -> None:
    """Encrypt all stored secrets with the newest key; can be stopped and run again."""
    with progress("secrets") as show:
        done = rekey(current_state(), on_progress=lambda seen, total: show(seen), by=OPERATOR)
    if as_json:
        echo_json(asdict(done))
    else:
        click.echo(f"{done.done} encrypted anew, {done.already} were under the newest key.")
        for name in done.unreadable:
            click.echo(f"No key reads the secret of {name}.", err=True)
        if done.unreadable:
            click.echo(
                "→ Put the old key after the new one in LMS_ENCRYPTION_KEYS (or "
                "SECRET_KEY_FALLBACKS) and run this again, or have these secrets entered again.",
                err=True,
            )
        else:
            click.echo("Older keys can be removed now, once all processes were restarted.")
    if done.unreadable:
        raise SystemExit(1)


F = TypeVar("F", bound=Callable[..., Any])


def make_cli() -> AppGroup:
    """The command group ``lms``."""
    group = AppGroup("lms", help="Send objective results to Learning Management Systems.")
    group.command("worker", with_appcontext=False)(_told(worker))
    for name, command in (
        ("check", check_command),
        ("status", status),
        ("test", test),
        ("send-waiting", send_waiting),
        ("requeue", requeue),
        ("backfill", backfill),
        ("reconcile", reconcile),
        ("purge", purge),
        ("rekey", rekey_secrets),
        ("forget-participant", forget_participant),
        ("export-participant", export_participant),
    ):
        group.command(name)(_told(command))
    return group


def _told(command: F) -> F:
    """An error of ours is a sentence and exit code 1, not a traceback."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InvalidConfiguration as error:
            said = [str(one) for sentences in error.errors.values() for one in sentences]
            raise click.ClickException("\n".join(said)) from None
        except LMSError as error:
            raise click.ClickException(str(error)) from None

    return run  # type: ignore[return-value]
