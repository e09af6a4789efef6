"""The connection test, stage by stage; nothing is stored at the other end.

address → name → connection → encryption → ``GET /about`` (a hint only) → ``POST /statements`` with
an empty list. Never ``GET /statements``: keys that may only write are refused there while sending
works.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...i18n import N_, Words
from ...transport import Unreachable
from ..base import Answer, Stage, StageState, TestReport, Verdict
from . import answers, client

if TYPE_CHECKING:
    from ...transport import Reply, Transport


#: The transport's stages with what people call them.
STAGES = {
    "address": N_("Address"),
    "dns": N_("Name look-up"),
    "connect": N_("Connection"),
    "tls": N_("Encryption"),
}
ABOUT = N_("xAPI service")
CREDENTIALS = N_("Key and secret")

#: Statuses by which an LRS says that it let us in, though an empty list is nothing to store.
_LET_IN = (400, 409, 413, 422)


def check(
    settings: Mapping[str, Any], secrets: Mapping[str, str], transport: Transport
) -> Iterator[Stage | TestReport]:
    """Each stage as it ends, then the report."""
    stages: list[Stage] = []
    report: TestReport | None = None
    for step in _walk(settings, secrets, transport):
        if isinstance(step, Answer):
            report = TestReport(stages=(), cause=step.cause, facts=step.facts, words=step.words)
            continue
        stages.append(step)
        yield step
    if report is None:
        words = Words("Connected. Nothing was stored in your LMS.")
        yield TestReport(stages=tuple(stages), words=words)
        return
    # Those before the failing one that never came don't apply, such as a number's look-up.
    order = (*STAGES.values(), ABOUT, CREDENTIALS)
    after = order.index(stages[-1].name) + 1 if stages else 0
    for name in order[after:]:
        skipped = Stage(name=name, state=StageState.SKIPPED)
        stages.append(skipped)
        yield skipped
    yield TestReport(
        stages=tuple(stages), cause=report.cause, facts=report.facts, words=report.words
    )


def _walk(
    settings: Mapping[str, Any], secrets: Mapping[str, str], transport: Transport
) -> Iterator[Stage | Answer]:
    """The stages until one fails; then the answer that says why."""
    url = settings["url"]
    if not secrets.get("secret"):
        yield Answer(verdict=Verdict.FAILED, cause="secret_unreadable", facts=answers.place(url))
        return
    waiting = [name for name in STAGES if name != "tls" or url.startswith("https:")]
    try:
        for name, duration_ms in transport.connect_stages(url, ca_pem=settings["ca_pem"]):
            waiting = [other for other in waiting if other != name]
            yield Stage(name=STAGES[name], state=StageState.OK, duration_ms=duration_ms)
    except Unreachable as error:
        yield Stage(name=STAGES[_failed_stage(error.cause, waiting)], state=StageState.FAILED)
        yield client.unreachable(error, url)
        return
    if not url.startswith("https:"):
        yield Stage(
            name=STAGES["tls"],
            state=StageState.SKIPPED,
            words=Words("This address is not encrypted."),
        )
    about, is_lrs = _about(settings, secrets, transport)
    yield about
    yield from _credentials(settings, secrets, transport, is_lrs)


def _failed_stage(cause: str, waiting: list[str]) -> str:
    """A literal address has no look-up and a proxy shows less, so the cause decides."""
    if cause.startswith("tls"):
        return "tls"
    if cause in ("dns", "blocked"):
        return "address" if "address" in waiting else "dns"
    return "connect" if "connect" in waiting else "tls"


def _about(
    settings: Mapping[str, Any], secrets: Mapping[str, str], transport: Transport
) -> tuple[Stage, bool]:
    """The LRS's own description (Communication 2.8), and whether an LRS gave it."""
    try:
        reply = client.request(transport, "GET", f"{settings['url']}/about", settings, secrets)
    except Unreachable:
        return Stage(name=ABOUT, state=StageState.SKIPPED), False
    versions = _versions(reply)
    if versions:
        words = Words("It offers xAPI %(versions)s.", versions=", ".join(versions))
        if settings["version"] not in versions:
            words = Words(
                "It offers xAPI %(versions)s, not %(version)s as set here.",
                versions=", ".join(versions),
                version=settings["version"],
            )
    else:
        words = Words("Your LMS doesn't describe itself. That is no fault.")
    stage = Stage(
        name=ABOUT,
        state=StageState.OK if versions else StageState.SKIPPED,
        duration_ms=reply.duration_ms,
        http_status=reply.status,
        words=words,
    )
    return stage, bool(versions)


def _versions(reply: Reply) -> list[str]:
    if reply.status != 200:
        return []
    try:
        value = json.loads(reply.body)
    except (ValueError, RecursionError):
        return []
    found = value.get("version") if isinstance(value, dict) else None
    if not isinstance(found, list):
        return []
    return [item[:20] for item in found[:20] if isinstance(item, str)]


def _credentials(
    settings: Mapping[str, Any],
    secrets: Mapping[str, str],
    transport: Transport,
    is_lrs: bool,
) -> Iterator[Stage | Answer]:
    url = f"{settings['url']}/statements"
    try:
        reply = client.request(transport, "POST", url, settings, secrets, b"[]")
    except Unreachable as error:
        yield Stage(name=CREDENTIALS, state=StageState.FAILED)
        yield client.unreachable(error, url)
        return
    received = client.received(reply, url)
    redactor = client.redactor(settings, secrets)
    answer = read_test_answer(received, answers.read_answer(received, redactor), is_lrs=is_lrs)
    yield Stage(
        name=CREDENTIALS,
        state=StageState.OK if answer is None else StageState.FAILED,
        duration_ms=reply.duration_ms,
        http_status=reply.status,
        words=None if answer is None else answer.words,
    )
    if answer is not None:
        yield answer


def read_test_answer(received: answers.Received, answer: Answer, *, is_lrs: bool) -> Answer | None:
    """What the answer to an empty list says; None: an LRS is there and lets us in.

    :param is_lrs: the address has described itself as an LRS.
    """
    if answer.verdict in (Verdict.ACCEPTED, Verdict.PARTIAL):
        return None
    if answer.cause in ("not_lrs", "settings"):
        is_empty_list = received.status == 200 and received.text.replace(" ", "") == "[]"
        return None if is_lrs and is_empty_list else answer
    if received.status in _LET_IN and not answers.is_web_page(received):
        return None
    return answer
