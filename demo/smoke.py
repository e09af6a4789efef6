"""One objective from end to end, without a terminal or a browser."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests
import sqlalchemy as sa

from example_app.lms_adapter import lms
from example_app.models import Objective, Organization, User, db

from .demo import Demo

LIMIT_SECONDS = 60


class SmokeError(Exception):
    """What went wrong, in one sentence."""


def smoke() -> int:
    """Play, print the statement as the LMS received it, and how long that took. 0 or 1."""
    with (
        tempfile.TemporaryDirectory(prefix="harbor-") as folder,
        Demo(Path(folder), port=0) as demo,
    ):
        deadline = time.monotonic() + LIMIT_SECONDS
        try:
            took = _play(demo, deadline)
        except SmokeError as error:
            print(f"FAILED: {error}\nThe worker's last words:")
            print("\n".join(demo.log.read_text(errors="replace").splitlines()[-25:]))
            return 1
        statement = next(iter(demo.lms.newest(1)))
        print(json.dumps(statement, indent=2, ensure_ascii=False))
        print(f"Result committed → statement stored by the LMS: {took * 1000:.0f} ms")
    return 0


def _play(demo: Demo, deadline: float) -> float:
    objective_id, user_id = _connect(demo)
    browser = requests.Session()
    browser.trust_env = False
    _submit(browser, f"{demo.url}/sign-in", f"/sign-in/{user_id}")
    page = _submit(
        browser, f"{demo.url}/objectives/{objective_id}", f"/objectives/{objective_id}/start"
    )
    committed: list[float] = []
    sa.event.listen(db.session, "after_commit", lambda session: committed.append(time.monotonic()))
    while "Succeed</button>" in page.text:
        page = _submit(browser, page.url, page.url.removeprefix(demo.url), did="succeed")
    _until(lambda: demo.lms.count > 0, deadline, "the LMS received nothing")
    took = time.monotonic() - committed[-1]
    _until(lambda: _is_delivered(demo), deadline, "the delivery was not marked as delivered")
    return took


def _connect(demo: Demo) -> tuple[int, int]:
    """What an administrator does on the pages: create, test, attach."""
    with demo.app.app_context():
        organization = db.session.scalars(sa.select(Organization).order_by(Organization.id)).first()
        objective = db.session.scalars(sa.select(Objective).order_by(Objective.id)).first()
        user = db.session.scalars(
            sa.select(User).where(User.is_admin.is_(False)).order_by(User.id)
        ).first()
        assert organization is not None
        assert objective is not None
        assert user is not None
        configuration = lms.configurations.create(
            str(organization.id),
            "Demo LMS",
            ["ana.ruiz@meridian.example"],
            settings=demo.lms.settings,
        )
        report = lms.configurations.test(configuration.id)
        if not report.is_connected:
            raise SmokeError(f"the connection test failed: {report}")
        lms.configurations.attach(configuration.id, str(objective.id))
        return objective.id, user.id


def _submit(browser: requests.Session, page: str, path: str, **fields: str) -> requests.Response:
    """Open a page and send one of its forms, as a browser does."""
    opened = browser.get(page, timeout=10)
    token = re.search(r'name="csrf_token" value="([^"]+)"', opened.text)
    if not opened.ok or token is None:
        raise SmokeError(f"{page} answered {opened.status_code} without a form")
    fields["csrf_token"] = token[1]
    origin = "/".join(page.split("/")[:3])
    answer = browser.post(f"{origin}{path}", data=fields, timeout=10)
    if not answer.ok:
        raise SmokeError(f"{path} answered {answer.status_code}")
    return answer


def _is_delivered(demo: Demo) -> bool:
    with demo.app.app_context():
        return [one.state.value for one in lms.deliveries.list().items] == ["delivered"]


def _until(is_true: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not is_true():
        if time.monotonic() > deadline:
            raise SmokeError(f"{otherwise} within {LIMIT_SECONDS} seconds")
        time.sleep(0.005)
