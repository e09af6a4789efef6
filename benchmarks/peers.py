"""What others do for the same job, each as its authors wrote it. Run by an environment of its own
(``.venv-peers``), which ``./run bench`` makes; nothing of it is needed by Flask-LMS.

``python peers.py tincan|erb http://127.0.0.1:1234/xapi SECONDS`` prints statements a second.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from collections.abc import Callable


def tincan(url: str) -> Callable[[], int]:
    """tincan 1.0.0, one statement at a time: what edX Enterprise does."""
    from tincan import Activity, ActivityDefinition, Agent, RemoteLRS, Statement, Verb

    lrs = RemoteLRS(version="1.0.3", endpoint=url + "/", username="key", password="secret")

    def send() -> int:
        statement = Statement(
            id=uuid.uuid4(),
            actor=Agent(name="Jane Doe", mbox="mailto:jane@acme.example"),
            verb=Verb(id="http://adlnet.gov/expapi/verbs/passed", display={"en": "passed"}),
            object=Activity(
                id="https://host.example/xapi/objectives/ppe",
                definition=ActivityDefinition(name={"en": "Put on PPE"}),
            ),
        )
        assert lrs.save_statement(statement).success
        return 1

    return send


def erb(url: str) -> Callable[[], int]:
    """event-routing-backends: events transformed, then sent in bulk by a hundred, synchronously."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="bench",
        USE_TZ=True,
        LMS_ROOT_URL="https://host.example",
        LMS_BASE="host.example",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "event_routing_backends",
        ],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        EVENT_TRACKING_BACKENDS={},
        EVENT_TRACKING_BACKENDS_BUSINESS_CRITICAL_EVENTS=[],
        XAPI_AGENT_IFI_TYPE="external_id",
        RUNNING_WITH_TEST_SETTINGS=True,
        EVENT_ROUTING_BACKEND_BATCHING_ENABLED=False,
    )
    from event_routing_backends.settings import common

    common.plugin_settings(settings)
    django.setup()
    logging.disable(logging.CRITICAL)
    from event_routing_backends import helpers
    from event_routing_backends.processors.xapi import transformer
    from event_routing_backends.processors.xapi.event_transformers import enrollment_events
    from event_routing_backends.processors.xapi.registry import XApiTransformersRegistry
    from event_routing_backends.utils.xapi_lrs_client import LrsClient

    for module in (helpers, transformer, enrollment_events):
        for name, answer in {
            "get_anonymous_user_id": "32e08e30-f8ae-4ce2-94a8-c2bfe38a70cb",
            "get_user_email": "jane@acme.example",
            "get_course_from_id": {"display_name": "Put on PPE", "id": "course-v1:a+b+c"},
        }.items():
            if hasattr(module, name):
                setattr(module, name, lambda *args, answer=answer: answer)
    client = LrsClient(url=url + "/", auth_scheme="Basic", username="key", password="secret")
    event = {
        "name": "edx.course.enrollment.activated",
        "timestamp": "2026-03-02T09:00:00.000000+00:00",
        "data": {"course_id": "course-v1:a+b+c", "user_id": 4, "mode": "audit"},
        "context": {
            "course_id": "course-v1:a+b+c",
            "org_id": "a",
            "user_id": 4,
            "username": "jane",
            "path": "/x",
            "session": "",
        },
    }

    def send() -> int:
        made = []
        for _ in range(100):
            one = {**json.loads(json.dumps(event)), "name": event["name"]}
            one["data"]["n"] = uuid.uuid4().hex
            made.append(XApiTransformersRegistry.get_transformer(one).transform())
        client.bulk_send(made)
        return len(made)

    return send


def main() -> None:
    name, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    send = {"tincan": tincan, "erb": erb}[name](url)
    send()
    started, sent = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        sent += send()
    print(sent / (time.monotonic() - started))


if __name__ == "__main__":
    main()
