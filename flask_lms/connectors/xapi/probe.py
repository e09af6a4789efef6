"""The connection test, stage by stage; nothing is stored at the other end. And the sample result
that is sent when an administrator asks for it.

address → name → connection → encryption → ``GET /about`` (a hint only) → ``POST /statements`` with
an empty list. Never ``GET /statements``: keys that may only write are refused there while sending
works.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...encryption import Secret
from ...i18n import N_, Words
from ...transport import Unreachable
from ..base import Answer, BuildContext, Sent, Verdict, example_result, pretty
from ..stages import STAGES, Stage, StageState, TestReport, connection_stages
from . import answers, client, comparison, sign_in, statement
from .sign_in import NotSignedIn

if TYPE_CHECKING:
    from ...transport import Transport

ABOUT = N_("xAPI service")
SIGN_IN = N_("Sign-in")
CREDENTIALS = N_("Key and secret")
ACCESS = N_("Access")

ACCEPTED, READ_BACK, TAKEN_BACK = N_("Accepted"), N_("Read back"), N_("Taken back")

#: An LMS that hangs there leaves the rest of the test's time to what counts.
_ABOUT_SECONDS = 4.0
#: Statuses by which an LRS says that it let us in, though an empty list is nothing to store.
_LET_IN = (400, 409, 413, 422)


def check(
    settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
) -> Iterator[Stage | TestReport]:
    """Each stage as it ends, then the report."""
    stages: list[Stage] = []
    fault: Answer | None = None
    for step in _walk(settings, secrets, transport):
        if isinstance(step, Answer):
            fault = step
        else:
            stages.append(step)
            yield step
    if fault is None:
        words = Words("Connected. Nothing was stored in your LMS.")
        yield TestReport(stages=tuple(stages), words=words)
        return
    # Those before the failing one that never came don't apply, such as a number's look-up.
    is_basic = (settings.get("auth") or "basic") == "basic"
    signing_in = [SIGN_IN] if settings.get("auth") == "oauth2" else []
    order = (*STAGES.values(), *signing_in, ABOUT, CREDENTIALS if is_basic else ACCESS)
    for name in order[order.index(stages[-1].name) + 1 if stages else 0 :]:
        stages.append(Stage(name=name, state=StageState.SKIPPED))
        yield stages[-1]
    yield TestReport(stages=tuple(stages), cause=fault.cause, facts=fault.facts, words=fault.words)


def _walk(
    settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
) -> Iterator[Stage | Answer]:
    """The stages until one fails; then the answer that says why."""
    url = settings["url"]
    name = CREDENTIALS if (settings.get("auth") or "basic") == "basic" else ACCESS
    try:
        sign_in.headers_of(settings, secrets)
        yield from connection_stages(url, transport, settings["ca_pem"])
    except Unreachable as error:
        yield client.unreachable(error, url)
        return

    if settings.get("auth") == "oauth2":
        began = time.monotonic()
        try:
            sign_in.token_of(settings, secrets, transport, is_fresh=True)
        except NotSignedIn as error:
            words = error.answer.words
            yield Stage(name=SIGN_IN, state=StageState.FAILED, words=words)
            yield error.answer
            return
        took_ms = round((time.monotonic() - began) * 1000)
        yield Stage(name=SIGN_IN, state=StageState.OK, duration_ms=took_ms)

    about = _about(settings, secrets, transport.limited_to(_ABOUT_SECONDS))
    yield about

    url = f"{url}/statements"
    try:
        reply = client.request(transport, "POST", url, settings, secrets, b"[]")
    except Unreachable as error:
        yield Stage(name=name, state=StageState.FAILED)
        yield client.unreachable(error, url)
        return
    received = answers.Received.of(reply, url)
    said = answers.read_answer(received, client.redactor(settings, secrets))
    answer = read_test_answer(received, said, is_lrs=about.state is StageState.OK)
    answer = answer and client.told(answer, settings)
    yield Stage(
        name=name,
        state=StageState.OK if answer is None else StageState.FAILED,
        duration_ms=reply.duration_ms,
        http_status=reply.status,
        words=None if answer is None else answer.words,
    )
    if answer is not None:
        yield answer


def _about(
    settings: Mapping[str, Any], secrets: Mapping[str, Secret], transport: Transport
) -> Stage:
    """The LRS's own description (Communication 2.8): OK when an LRS gave it."""
    try:
        reply = client.request(transport, "GET", f"{settings['url']}/about", settings, secrets)
    except Unreachable:
        return Stage(name=ABOUT, state=StageState.SKIPPED)
    try:
        value = json.loads(reply.body) if reply.status == 200 else None
    except (ValueError, RecursionError):
        value = None
    found = value.get("version") if isinstance(value, dict) else None
    some = found[:20] if isinstance(found, list) else []
    versions = [item for item in some if re.fullmatch(r"\d{1,3}(\.\d{1,3}){1,3}", str(item))]
    if not versions:
        words = Words("Your LMS doesn't describe itself. That is no fault.")
    elif settings["version"] in versions:
        words = Words("It offers xAPI %(versions)s.", versions=", ".join(versions))
    else:
        words = Words(
            "It offers xAPI %(versions)s, not %(version)s as set here.",
            versions=", ".join(versions),
            version=settings["version"],
        )
    return Stage(
        name=ABOUT,
        state=StageState.OK if versions else StageState.SKIPPED,
        duration_ms=reply.duration_ms,
        http_status=reply.status,
        words=words,
    )


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


def send_sample(
    settings: Mapping[str, Any],
    secrets: Mapping[str, Secret],
    transport: Transport,
    context: BuildContext,
) -> TestReport:
    """A result of an invented person, marked as a test: accepted, read back, voided."""
    plain = {**settings, "results": "all", "steps": "summary", "send_completed": False}
    result = replace(example_result(context), id=f"sample {uuid.uuid4()}", is_test=True)
    [sample] = statement.build(result, plain, context).statements
    answer = client.send([sample], settings, secrets, transport)
    if answer.verdict is not Verdict.ACCEPTED:
        failed = Stage(name=ACCEPTED, state=StageState.FAILED, http_status=answer.http_status)
        rest = [Stage(name=name, state=StageState.SKIPPED) for name in (READ_BACK, TAKEN_BACK)]
        return TestReport(
            stages=[failed, *rest], cause=answer.cause, facts=answer.facts, words=answer.words
        )
    stages = [Stage(name=ACCEPTED, state=StageState.OK, http_status=answer.http_status)]

    found = client.read(sample.id, settings, secrets, transport)
    is_read = isinstance(found, dict)
    is_stored = is_read and comparison.is_same(json.loads(sample.text), found)
    words = None
    if not is_read:
        words = Words(
            "It can't be read: the key may only write, or your LMS needs a moment. Look there for "
            "a result of Jane Doe."
        )
    elif not is_stored:
        words = Words("Your LMS stored something else than what was sent. Compare it below.")
    state = StageState.OK if is_stored else StageState.SKIPPED
    stages.append(Stage(name=READ_BACK, state=state, words=words))

    was = Sent(id=sample.id, kind=sample.kind, revision=result.revision)
    gone = replace(result, revision=result.revision + 1, completed=False)
    [void] = statement.build(gone, plain, replace(context, sent=[was])).statements
    answer = client.send([void], settings, secrets, transport)
    is_gone = answer.verdict is Verdict.ACCEPTED
    if is_gone and is_read:  # some take a void and go on to show what it voids
        is_gone = not isinstance(client.read(sample.id, settings, secrets, transport), dict)
    words = None
    if not is_gone:
        words = Words("Your LMS doesn't take results back. Delete that of Jane Doe there.")
    stages.append(
        Stage(
            name=TAKEN_BACK,
            state=StageState.OK if is_gone else StageState.SKIPPED,
            http_status=answer.http_status,
            words=words,
        )
    )
    lines = pretty(json.dumps(found)).splitlines()[:300] if is_read else []
    redactor = client.redactor(settings, secrets)
    shown = [
        " " * (len(line) - len(line.lstrip())) + (redactor.clean(line) or "…") for line in lines
    ]
    return TestReport(stages=stages, stored="\n".join(shown) or None)
