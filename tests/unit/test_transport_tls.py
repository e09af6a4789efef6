"""TLS is verified, always, and what is wrong with it has a name."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
import warnings
from pathlib import Path

import pytest

from flask_lms.transport import Unreachable

from ..transport_support import Authority, answering, self_signed, serving, transport

_OK = answering(b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _cause(url: str, ca_pem: str | None = None, **settings: object) -> Unreachable:
    """The same fault from a request and from a connection test."""
    sender = transport(**settings)
    with pytest.raises(Unreachable) as sending:
        sender.request("POST", url, headers={}, body=b"[]", auth=("k", "s"), ca_pem=ca_pem)
    with pytest.raises(Unreachable) as testing:
        list(sender.connect_stages(url, ca_pem=ca_pem))
    assert not sending.value.was_sent
    assert sending.value.cause == testing.value.cause
    assert sending.value.facts == testing.value.facts
    return sending.value


def test_a_certificate_of_the_configurations_own_authority_is_accepted(
    authority: Authority,
) -> None:
    with serving(_OK, authority.server_context("localhost")) as server:
        sender = transport()
        url = server.url("localhost")
        assert sender.request("POST", url, headers={}, ca_pem=authority.pem).status == 204
        stages = [stage for stage, _ in sender.connect_stages(url, ca_pem=authority.pem)]
        assert stages == ["address", "dns", "connect", "tls"]


def test_the_authorities_of_one_configuration_are_not_trusted_for_another(
    authority: Authority,
) -> None:
    with serving(_OK, authority.server_context("localhost")) as server:
        sender = transport()
        sender.request("POST", server.url("localhost"), headers={}, ca_pem=authority.pem)
        with pytest.raises(Unreachable) as caught:
            sender.request("POST", server.url("localhost"), headers={})
        assert caught.value.cause == "tls_untrusted"


def test_a_bundle_for_the_whole_platform_is_trusted(authority: Authority, tmp_path: Path) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(authority.pem)
    with serving(_OK, authority.server_context("localhost")) as server:
        sender = transport(ca_bundle=str(bundle))
        assert sender.request("POST", server.url("localhost"), headers={}).status == 204


def test_a_bundle_for_the_whole_platform_is_trusted_alone(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual, own = tmp_path / "usual.pem", tmp_path / "own.pem"
    usual.write_text(authority.pem)
    own.write_text(Authority().pem)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(usual))
    with serving(_OK, authority.server_context("localhost")) as server:
        assert _cause(server.url("localhost"), ca_bundle=str(own)).cause == "tls_untrusted"


def test_an_address_is_verified_too(authority: Authority) -> None:
    with serving(_OK, authority.server_context("127.0.0.1")) as server:
        assert (
            transport().request("GET", server.url(), headers={}, ca_pem=authority.pem).status == 204
        )
    with serving(_OK, authority.server_context("127.0.0.9")) as server:
        assert _cause(server.url(), authority.pem).cause == "tls_name"


def test_an_expired_certificate_is_named_with_its_date(authority: Authority) -> None:
    context, ended = authority.expired_context("localhost")
    with serving(_OK, context) as server:
        fault = _cause(server.url("localhost"), authority.pem)
    assert fault.cause == "tls_expired"
    assert dt.datetime.fromisoformat(fault.facts["expired_at"]) == ended
    assert fault.facts["host"] == "localhost"


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    with serving(_OK, authority.server_context("lms.example.com")) as server:
        assert _cause(server.url("localhost"), authority.pem).cause == "tls_name"


def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    with serving(_OK, authority.server_context("localhost")) as server:
        assert _cause(server.url("localhost")).cause == "tls_untrusted"
        assert _cause(server.url("localhost"), Authority().pem).cause == "tls_untrusted"


def test_a_self_signed_certificate_is_refused_until_it_is_entered(tmp_path: Path) -> None:
    context, pem = self_signed(tmp_path, "localhost")
    with serving(_OK, context) as server:
        url = server.url("localhost")
        assert _cause(url).cause == "tls_untrusted"
        assert transport().request("GET", url, headers={}, ca_pem=pem).status == 204


def test_an_old_protocol_is_refused(authority: Authority) -> None:
    context = authority.server_context("localhost")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(_OK, context) as server:
        assert _cause(server.url("localhost"), authority.pem).cause == "tls"


def test_a_server_without_tls_is_no_secure_connection() -> None:
    def answer_in_the_clear(caller: socket.socket) -> None:
        caller.recv(9000)
        caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(answer_in_the_clear) as server:
        url = server.url("localhost").replace("http://", "https://")
        assert _cause(url).cause == "tls"


def test_a_server_that_is_silent_in_the_handshake_is_left_in_time(authority: Authority) -> None:
    def stay_silent(caller: socket.socket) -> None:
        while caller.recv(9000):
            pass

    with serving(stay_silent) as server:
        url = server.url("localhost").replace("http://", "https://")
        fault = _cause(url, connect_timeout_seconds=0.2)
    assert fault.cause == "timeout"
    assert fault.facts["seconds"] == 0.2


def test_a_handshake_has_the_whole_limit_however_many_addresses_a_name_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stay_silent(caller: socket.socket) -> None:
        while caller.recv(9000):
            pass

    with serving(stay_silent) as server:
        rows = [(socket.AF_INET, 1, 6, "", (f"127.0.0.{n}", server.port)) for n in range(1, 5)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a: rows)
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            transport(connect_timeout_seconds=0.4).request(
                "GET", f"https://lms.intranet:{server.port}/", headers={}
            )
        assert time.monotonic() - started >= 0.4
    assert (caught.value.cause, caught.value.facts["seconds"]) == ("timeout", 0.4)


def test_the_environment_can_not_switch_verification_off(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(authority.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(bundle))
    with serving(_OK, authority.server_context("localhost")) as server:
        assert _cause(server.url("localhost")).cause == "tls_untrusted"


def test_nonsense_in_place_of_authorities_is_a_cause(authority: Authority) -> None:
    with serving(_OK, authority.server_context("localhost")) as server:
        fault = _cause(server.url("localhost"), "-----BEGIN CERTIFICATE-----\nnonsense")
    assert fault.cause == "tls"
    assert fault.facts["reason"] == "ca_pem"


def test_a_missing_bundle_is_a_cause_and_logged(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(_OK, authority.server_context("localhost")) as server:
        fault = _cause(server.url("localhost"), ca_bundle=str(tmp_path / "gone.pem"))
    assert (fault.cause, fault.facts["reason"]) == ("tls", "ca_bundle")
    assert "LMS_CA_BUNDLE" in caplog.text
