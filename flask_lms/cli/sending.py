"""Commands that send: worker, send-waiting, requeue and backfill."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from flask.cli import ScriptInfo

from ..errors import LMSError
from ..models import State
from ..services.configurations import Configurations
from ..services.deliveries import Deliveries, Filters
from ..services.objectives import Objectives
from .parts import (
    OPERATOR,
    Time,
    count,
    current_state,
    echo_json,
    find_configuration,
    json_option,
    organization_option,
    progress,
    yes_option,
)


@click.option("--burst", is_flag=True, help="Send what is due, then end; without Redis.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    help="Sender processes; default LMS_WORKER_PROCESSES.",
)
@click.pass_obj
def worker(info: ScriptInfo, burst: bool, processes: int | None) -> None:
    """Send results, retry, mail alerts and clean up; run any number, anywhere."""
    from ..worker import run

    try:
        done = run(info.load_app(), burst=burst, processes=processes)
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
    """Try now instead of at the next planned time: one configuration (its NAME or id), or all."""
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


@click.option("--id", "ids", metavar="ID", multiple=True, help="One delivery; may be repeated.")
@click.option("--configuration", metavar="NAME", help="Of one configuration, by name or id.")
@organization_option
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(["rejected", "cancelled", "delivered", "not_sent"]),
    help="In this state; may be repeated. Default: rejected. not_sent ones are checked again.",
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
    states: tuple[str, ...],
    yes: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Send again what was rejected, cancelled or sent before; the same bytes, the same ids."""
    service = Deliveries(current_state(), organization)
    wanted = [State(one) for one in states or ("rejected",)]
    about = find_configuration(configuration, organization) if configuration else None
    filters = Filters(
        configuration_id=about.id if about else None,
        states=wanted,
        objective_id=chosen.pop("objective"),
        **chosen,
    )
    sendable, checkable = service.count_sendable(filters), service.count_checkable(filters)
    if not as_json:
        click.echo(f"This sends {count(sendable, 'result')} again and checks {checkable} again.")
    if sendable + checkable and not yes:
        click.confirm("Continue?", abort=True, err=True)
    with progress("results", sendable) as show:
        sent = service.send_again(filters, by=OPERATOR, on_progress=show)
    with progress("results", checkable) as show:
        checked = service.check_again(filters, by=OPERATOR, on_progress=show)
    if as_json:
        echo_json({"sent_again": sent, "checked_again": asdict(checked)})
        return
    click.echo(f"Now waiting to be sent: {count(sent + checked.queued, 'result')}.")
    if checked.still_not_sent:
        click.echo(
            f"{checked.still_not_sent} still can't be sent: correct them in the host, as the page "
            "Deliveries says, then run this again."
        )


@click.argument("name")
@click.argument("objective")
@click.option("--since", type=Time(), help="Only results since then (UTC).")
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
    """Send past results of an attached OBJECTIVE (its id) to a configuration (its NAME or id)."""
    configuration = find_configuration(name, organization)
    service = Objectives(current_state(), configuration.organization_id)
    id, total = configuration.id, service.count_past(objective, since)
    if not as_json:
        click.echo(f"This sends {count(total, 'result')} to {configuration.name}.")
    if total and not yes:
        click.confirm("Continue?", abort=True, err=True)
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
    if done.not_sent:
        click.echo("The page Deliveries tells for each why it isn't sent, and what to do.")
