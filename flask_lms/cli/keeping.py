"""Commands that keep house: purge and rekey."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..delivery import retention
from ..services.rekey import rekey
from .parts import count, current_state, echo_json, json_option, progress, yes_option


@yes_option
@json_option
def purge(yes: bool, as_json: bool) -> None:
    """Forget now what is older than LMS_RETENTION_DAYS and LMS_CONTENT_RETENTION_DAYS."""
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


@json_option
def rekey_secrets(as_json: bool) -> None:
    """Encrypt all stored secrets with the newest key; may be stopped and run again."""
    with progress("secrets") as show:
        done = rekey(current_state(), on_progress=lambda seen, total: show(seen))
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
