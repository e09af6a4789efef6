"""A token server that isn't ours (Authlib), a gateway before an LRS that asks for its tokens, and a
process that asks for tokens as a worker does.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from flask import Flask, Response, request
from werkzeug.serving import make_server

from flask_lms.connectors.xapi import sign_in
from flask_lms.database.models import Configuration
from flask_lms.encryption import binding
from tests.world import START, World, build_world

CLIENT_ID, CLIENT_SECRET = "harbor", "cl1ent/s3cret+canary ü="
LIFETIME_SECONDS = 3600


class _Client(ClientMixin):
    def __init__(self, id: str) -> None:
        self.id = id

    def check_client_secret(self, client_secret: str) -> bool:
        return bool(client_secret == CLIENT_SECRET)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str) -> str:
        return scope if scope == "xapi:write" else ""


class _Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class TokenServer:
    """Gives tokens, and lets requests with one of them through to an LRS.

    :ivar asked: client id → how often it asked for a token.
    :ivar tokens: those that are good.
    :ivar passed: requests to the LRS that were let through, and those that were not.
    """

    def __init__(self, lrs_url: str = "", auth: tuple[str, str] = ("", "")) -> None:
        self.asked: Counter[str] = Counter()
        self.tokens: set[str] = set()
        self.passed: Counter[bool] = Counter()
        self.after: Callable[[], None] = lambda: None
        app = Flask("token server")
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": LIFETIME_SECONDS}
        server = AuthorizationServer(
            app,
            query_client=lambda id: _Client(id) if id.startswith(CLIENT_ID) else None,
            save_token=lambda token, asked: self.tokens.add(token["access_token"]),
        )
        server.register_grant(_Grant)

        @app.post("/token")
        def token() -> Any:
            if not request.is_json:
                user = request.authorization and request.authorization.username
                self.asked[user or request.form["client_id"]] += 1
                return server.create_token_response()
            told = request.get_json()  # Cornerstone's way, which Authlib doesn't know
            names = {"grant_type": "grantType", "client_id": "clientId"}
            names["client_secret"] = "clientSecret"
            form = {name: told.get(other) for name, other in names.items()}
            self.asked[told["clientId"]] += 1
            with app.test_request_context("/token", method="POST", data=form):
                return server.create_token_response()

        @app.route("/xapi/<path:path>", methods=["GET", "POST", "PUT"])
        def gateway(path: str) -> Response:
            kind, _, given = request.headers.get("Authorization", "").partition(" ")
            is_good = kind == "Bearer" and given in self.tokens
            self.passed[is_good] += request.method == "POST"
            if not is_good:
                body = json.dumps({"error": f"token {given} is not known"})
                return Response(body, 401, {"WWW-Authenticate": "Bearer", "X-Was": given})
            names = ("Content-Type", "X-Experience-API-Version")
            answer = requests.request(
                request.method,
                f"{lrs_url}/{path}",
                params=request.args.to_dict(),
                headers={name: request.headers[name] for name in names if name in request.headers},
                data=request.get_data(),
                auth=auth,
                timeout=10,
            )
            self.after()
            kept = {name: answer.headers[name] for name in names if name in answer.headers}
            return Response(answer.content, answer.status_code, kept)

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[TokenServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    @property
    def settings(self) -> dict[str, Any]:
        """Of a configuration that signs in here."""
        return {
            "url": f"{self.url}/xapi",
            "auth": "oauth2",
            "token_url": f"{self.url}/token",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        }


def ask_for_two_hours(world: World) -> None:
    """All configurations, every 20 minutes of a fake clock, as a worker that sends to them."""
    state = world.state
    rows = [
        (one.id, dict(one.settings), one.secrets)
        for one in world.session.query(Configuration).order_by(Configuration.id)
    ]
    world.session.rollback()
    connector = state.registry.get("xapi")
    assert connector is not None
    for minutes in range(0, 121, 20):
        world.freeze(START + timedelta(minutes=minutes))
        for id, settings, token in rows:
            bound_to = binding(id, connector.origin(settings))
            secrets = state.encryption.decrypt(token, bound_to)
            transport = state.transport.with_store(state.store_of(id, "xapi", settings))
            assert sign_in.token_of(settings, secrets, transport)


if __name__ == "__main__":
    found = build_world(sys.argv[1])
    with found.app.app_context():
        print("READY", flush=True)
        sys.stdin.readline()
        ask_for_two_hours(found)
