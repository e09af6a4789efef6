from __future__ import annotations

from typing import Any

import pytest
import trustme
from cryptography import x509

from flask_lms.connectors.fields import Cleaned
from flask_lms.errors import InvalidConfiguration
from flask_lms.i18n import Words, translate
from tests.xapi_support import clean_url, connector

GIVEN = {"url": "https://lrs.example.org/xapi", "key": "k", "secret": "s"}


def clean(*, allow_http: bool = False, has_secrets: bool = False, **values: Any) -> Cleaned:
    return connector.clean({**GIVEN, **values}, allow_http=allow_http, has_secrets=has_secrets)


def errors(**values: Any) -> dict[str, tuple[str, ...]]:
    with pytest.raises(InvalidConfiguration) as caught:
        clean(**values)
    return caught.value.errors


def test_url_key_and_secret_are_enough() -> None:
    cleaned = clean()
    assert cleaned.settings == {
        "url": "https://lrs.example.org/xapi",
        "auth": "basic",
        "key": "k",
        **dict.fromkeys(("token_url", "client_id", "scope", "audience", "header_name")),
        "client_auth": "basic",
        **{f"header_{number}": None for number in range(1, 6)},
        "version": "1.0.3",
        "identify": "mbox",
        "send_name": True,
        "results": "all",
        "steps": "summary",
        "send_completed": False,
        "failed_counts_as_completed": False,
        "batch_statements": None,
        "requests_at_once": None,
        "one_by_one": False,
        "ca_pem": None,
    }
    assert cleaned.secrets == {"secret": "s"}
    assert cleaned.hints == []


@pytest.mark.parametrize(
    ("given", "kept", "hint"),
    [
        ("https://a.example/xapi", "https://a.example/xapi", None),
        ("HTTPS://A.Example/xAPI", "https://a.example/xAPI", None),
        ("https://a.example:443/x", "https://a.example/x", None),
        ("https://a.example:8443/x", "https://a.example:8443/x", None),
        ("https://a.example", "https://a.example", None),
        ("https://a.example/", "https://a.example", None),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x", None),
        ("https://münchen.example/x", "https://münchen.example/x", None),
        (" https://a.example/x\t", "https://a.example/x", "Spaces around"),
        ("https://a.example/x?a=1", "https://a.example/x", "after ?"),
        ("https://a.example/x#b", "https://a.example/x", "after #"),
        ("https://a.example/x#b?c", "https://a.example/x", "after #"),
        ("https://a.example/x/", "https://a.example/x", "The / at the end"),
        ("https://a.example/x/statements", "https://a.example/x", "/statements was removed"),
        ("https://a.example/x/statements/", "https://a.example/x", "/statements was removed"),
        ("https://a.example/statements?x", "https://a.example", "/statements was removed"),
        ("https://a.example/mystatements", "https://a.example/mystatements", None),
        ("http://a.example/x", "http://a.example/x", "This address is not encrypted"),
    ],
)
def test_the_url_is_cleaned_and_each_change_is_said(
    given: str, kept: str, hint: str | None
) -> None:
    url, hints = clean_url(given)
    assert url == kept
    assert all(isinstance(item, Words) for item in hints)
    if hint is None:
        assert hints == []
    else:
        assert any(hint in item for item in hints)
    assert clean_url(url)[0] == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "Enter the xAPI URL"),
        (None, "Enter the xAPI URL"),
        (7, "Enter a text"),
        ("lrs.example.org/xapi", "begins with https://"),
        ("ftp://a.example", "begins with https://"),
        ("javascript:alert(1)", "begins with https://"),
        ("http://a.example/x", "not encrypted"),
        ("https://user:pw@a.example/x", "user name or password"),
        ("https://@a.example/x", "user name or password"),
        ("https://", "not a valid address"),
        ("https://:443/x", "not a valid address"),
        ("https://a.example:99999/x", "not a valid address"),
        ("https://a.example:0/x", "not a valid address"),
        ("https://a.example:x/x", "not a valid address"),
        ("https://[::1/x", "not a valid address"),
        ("https://a%2eexample/x", "not a valid address"),
        ("https://./x", "not a valid address"),
        ("https://a.example/x y", "spaces"),
        ("https://a.example\\@b.example/", "backslashes"),
        ("https://a.example/<x>", "no address contains"),
        ("https://a.example/x\r\nHost: b", "control characters"),
        ("https://a.example/\x00", "control characters"),
        ("https://a.example/" + "x" * 1000, "longer than 1000"),
    ],
)
def test_what_is_no_safe_address_is_refused_in_words(url: Any, said: str) -> None:
    found = errors(url=url)
    assert list(found) == ["url"]
    assert said in found["url"][0]


def test_http_needs_the_operators_leave_and_is_hinted_at() -> None:
    cleaned = clean(url="http://a.example/x", allow_http=True)
    assert cleaned.settings["url"] == "http://a.example/x"
    assert any("not encrypted" in hint for hint in cleaned.hints)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"key": ""}, "Enter the xAPI key"),
        ({"key": "  "}, "Enter the xAPI key"),
        ({"key": "a:b"}, "colon"),
        ({"key": "a\nb"}, "control characters"),
        ({"key": "k" * 256}, "longer than 255"),
        ({"key": 5}, "Enter a text"),
        ({"secret": ""}, "Enter the xAPI key secret"),
        ({"secret": None}, "Enter the xAPI key secret"),
        ({"secret": 5}, "Enter a text"),
        ({"secret": "••••••••"}, "dots that hide"),
        ({"secret": "********"}, "dots that hide"),
        ({"secret": "a\x00b"}, "control characters"),
        ({"secret": "s" * 1001}, "longer than 1000"),
        ({"version": "1.0.0"}, "Choose one of: 1.0.3, 2.0.0"),
        ({"identify": "openid"}, "Choose one of"),
        ({"results": "none"}, "Choose one of"),
        ({"steps": 3}, "Choose one of"),
        ({"send_name": "yes"}, "True or False"),
        ({"send_completed": 1}, "True or False"),
        ({"one_by_one": "on"}, "True or False"),
        ({"batch_statements": 0}, "from 1 to 500"),
        ({"batch_statements": 501}, "from 1 to 500"),
        ({"batch_statements": True}, "from 1 to 500"),
        ({"batch_statements": "50"}, "from 1 to 500"),
        ({"requests_at_once": 9}, "from 1 to 8"),
        ({"ca_pem": "nonsense"}, "not a certificate in PEM form"),
        ({"ca_pem": 1}, "Enter a text"),
        ({"ca_pem": "x" * 200_001}, "longer than 200000"),
        ({"ca_pem": "-----BEGIN PRIVATE KEY-----"}, "private key"),
        (
            {"ca_pem": "-----BEGIN CERTIFICATE-----\nä\n-----END CERTIFICATE-----"},
            "not a certificate in PEM form",
        ),
        ({"secert": "s"}, "Is it secret?"),
    ],
)
def test_each_field_says_what_is_wrong_with_it(values: dict[str, Any], said: str) -> None:
    found = errors(**values)
    assert list(found) == list(values)
    [sentence] = found[next(iter(values))]
    assert said in sentence
    assert isinstance(sentence, Words)


def test_all_faults_are_told_at_once() -> None:
    found = errors(url="", key="", secret="", version="9")
    assert set(found) == {"url", "key", "secret", "version"}


def test_a_blank_secret_keeps_the_stored_one() -> None:
    assert clean(secret="", has_secrets=True).secrets == {}
    assert clean(secret="new", has_secrets=True).secrets == {"secret": "new"}


def test_spaces_around_pasted_values_are_removed_and_told() -> None:
    cleaned = clean(key=" k ", secret="s\n")
    assert (cleaned.settings["key"], cleaned.secrets["secret"]) == ("k", "s")
    assert cleaned.hints == [
        "Spaces around “xAPI Key” were removed.",
        "Spaces around “xAPI Key Secret” were removed.",
    ]


def test_fields_of_the_form_itself_are_no_settings() -> None:
    assert "csrf_token" not in clean(csrf_token="x", submit=True).settings


def test_certificates_of_an_authority_are_kept() -> None:
    authority = trustme.CA()
    pem = authority.cert_pem.bytes().decode()
    both = pem + trustme.CA().cert_pem.bytes().decode().replace("\n", "\r\n")
    kept = clean(ca_pem=f"\n{both}").settings["ca_pem"]
    assert len(x509.load_pem_x509_certificates(kept.encode())) == 2
    assert clean(ca_pem=kept).settings["ca_pem"] == kept
    assert clean(ca_pem="  \n").settings["ca_pem"] is None


def test_where_results_go_and_what_a_secret_belongs_to() -> None:
    one = clean().settings
    port = clean(url="https://lrs.example.org:8443/other").settings
    assert connector.destination(one) == "lrs.example.org"
    assert connector.destination(port) == "lrs.example.org:8443"
    assert connector.origin(one) == "https://lrs.example.org:443"
    assert connector.origin(one) == connector.origin(clean(url=GIVEN["url"] + "/b").settings)
    http = clean(url="http://lrs.example.org/xapi", allow_http=True).settings
    assert connector.origin(http) == "http://lrs.example.org:80"
    assert len({connector.origin(item) for item in (one, port, http)}) == 3


def test_the_fingerprint_tells_place_and_sender_only() -> None:
    one = clean().settings
    assert connector.fingerprint(one) == connector.fingerprint(
        clean(
            url="https://LRS.example.org/xapi/statements", secret="other", steps="statements"
        ).settings
    )
    assert connector.fingerprint(one) != connector.fingerprint(clean(key="k2").settings)
    assert connector.fingerprint(one) != connector.fingerprint(
        clean(url="https://b.example").settings
    )


@pytest.mark.parametrize(
    ("values", "most"),
    [({}, None), ({"batch_statements": 7}, 7), ({"one_by_one": True, "batch_statements": 7}, 1)],
)
def test_the_most_statements_in_a_request(values: dict[str, Any], most: int | None) -> None:
    assert connector.limits(clean(**values).settings) == (most, None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Basic [hidden]"),  # of before there were others
        ({"auth": "basic"}, "Basic [hidden]"),
        ({"auth": "oauth2"}, "Token by OAuth 2 [hidden]"),
        ({"auth": "bearer"}, "Token [hidden]"),
        ({"auth": "header", "header_name": "X-Api-Key"}, "X-Api-Key: [hidden]"),
    ],
)
def test_what_shows_who_sends_is_told_without_the_secret(
    settings: dict[str, Any], said: str
) -> None:
    assert translate(connector.signs_in_with(settings) or "") == said
