"""``health.json``: counts and ages for a monitoring system that has the token."""

from __future__ import annotations

import hmac

from flask import Response, abort, jsonify, request
from flask.typing import ResponseReturnValue

from ..services.overview import health as health_of
from . import access


def health() -> ResponseReturnValue:
    """Of the whole installation, or of ``?organization=…``. 503 while something is wrong.

    Without ``LMS_HEALTH_TOKEN``, or with another one than that, there is nothing here (404).
    """
    state = access.state()
    expected = state.settings.health_token
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        abort(404)
    found = health_of(state, request.args.get("organization") or None)
    response: Response = jsonify(found.as_dict())
    response.status_code = 200 if found.is_ok else 503
    response.headers["Cache-Control"] = "no-store"
    return response
