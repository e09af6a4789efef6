"""The receiver of docs/webhook.md runs as it stands there and takes a message of ours."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from pathlib import Path

from flask_lms import Secret
from flask_lms.connectors.webhook.connector import signature
from tests.docs_support import TOP, between, imported, python_blocks

PAGE = TOP / "docs" / "webhook.md"


def test_the_receiver_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    [code] = python_blocks(between(PAGE, "receiver"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    path = tmp_path / "receiver.py"
    path.write_text(code.replace("whsec_…", secret))
    body = b'{"type": "result.recorded", "data": {"participant": {"id": "jane"}, "success": true}}'
    with imported(path) as receiver:
        client = receiver.app.test_client()
        headers = signature("msg_1", datetime.now(timezone.utc), body, [Secret(secret)])
        assert client.post("/results", data=body, headers=headers).status_code == 204
        assert client.post("/results", data=body + b" ", headers=headers).status_code == 500
