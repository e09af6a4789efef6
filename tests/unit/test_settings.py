"""Configuration keys: all faults at once, each with what to write."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from cryptography.fernet import Fernet

from flask_lms import ConfigurationError
from flask_lms.settings import Settings

GOOD = {"SECRET_KEY": "x" * 32, "LMS_ACTIVITY_BASE_URL": "https://training.example/xapi/"}


def test_one_url_and_flasks_secret_key_are_enough() -> None:
    settings = Settings.from_config(GOOD, "harbor")
    assert settings.activity_base_url == "https://training.example/xapi"
    assert settings.public_url == "https://training.example"
    assert settings.platform_name == "harbor"
    assert settings.url_prefix == "/lms"


def test_a_server_name_is_enough_too() -> None:
    config = {"SECRET_KEY": "x" * 32, "SERVER_NAME": "t.example", "PREFERRED_URL_SCHEME": "https"}
    settings = Settings.from_config(config)
    assert settings.activity_base_url == "https://t.example/xapi"
    assert settings.public_url == "https://t.example"


def test_all_faults_are_listed_at_once() -> None:
    config = {
        "LMS_URL_PREFIX": "lms/",
        "LMS_BATCH_STATEMENTS": 0,
        "LMS_ALLOWED_NETWORKS": ["10.0.0.1/8"],
        "LMS_OPERATOR_EMAILS": ["nobody"],
    }
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_config(config)
    named = [fault.split()[0].strip(":") for fault in caught.value.faults]
    assert sorted(named) == [
        "LMS_ACTIVITY_BASE_URL",
        "LMS_ALLOWED_NETWORKS",
        "LMS_BATCH_STATEMENTS",
        "LMS_OPERATOR_EMAILS",
        "LMS_URL_PREFIX",
        "SECRET_KEY",
    ]
    assert str(caught.value).count("\n  - ") == 6


FAULTS: list[tuple[str, Any, str]] = [
    ("LMS_ACTIVITY_BASE_URL", "training.example", "absolute http(s) URL"),
    ("LMS_ACTIVITY_BASE_URL", "https://a.example/?q", "without user name, query and fragment"),
    ("LMS_PUBLIC_URL", 5, "absolute http(s) URL"),
    ("LMS_URL_PREFIX", "/lms/", "begins with a slash"),
    ("LMS_PLATFORM_NAME", 5, "Enter a text."),
    ("LMS_SUPPORT_URL", "http://training.example", "mailto:support@training.example"),
    ("LMS_SUPPORT_URL", "javascript:alert(1)", "mailto:support@training.example"),
    ("LMS_TIME_ZONE", "Berlin", "Europe/Berlin"),
    ("LMS_TIME_ZONE", "../../etc/passwd", "Europe/Berlin"),
    ("LMS_REDIS_URL", "localhost:6379", "redis://"),
    ("LMS_ENCRYPTION_KEYS", ["short"], "Fernet.generate_key()"),
    ("LMS_BIND_KEY", 1, "Enter a text."),
    ("LMS_FRAME_ANCESTORS", ["portal.example"], "'self', 'none' or origins"),
    ("LMS_FRAME_ANCESTORS", "https://a.example; script-src", "'self', 'none' or origins"),
    ("LMS_ALLOWED_NETWORKS", ["intra net/24"], "10.1.0.0/16"),
    ("LMS_ALLOWED_NETWORKS", ["lms.intranet:0"], "no port from 1 to 65535"),
    ("LMS_ALLOWED_NETWORKS", ["lms.intranet:x"], "10.1.0.0/16"),
    ("LMS_SHOW_PRIVATE_ANSWERS", "yes", "True or False"),
    ("LMS_ALLOWED_NETWORKS", ["?"], "neither a network nor a host name"),
    ("LMS_ALLOW_HTTP", "yes", "True or False"),
    ("LMS_PROXY_URL", "proxy:3128", "absolute http(s) URL"),
    ("LMS_CA_BUNDLE", 1, "Enter a text."),
    ("LMS_CONNECT_TIMEOUT_SECONDS", 0, "number from 0.1 to 60"),
    ("LMS_CONNECT_TIMEOUT_SECONDS", "5", "number"),
    ("LMS_READ_TIMEOUT_SECONDS", True, "number"),
    ("LMS_TOTAL_TIMEOUT_SECONDS", 1000, "number"),
    ("LMS_BATCH_STATEMENTS", 501, "whole number from 1 to 500"),
    ("LMS_BATCH_BYTES", 1.5, "whole number"),
    ("LMS_MAX_CONFIGURATIONS", 0, "whole number"),
    ("LMS_MAX_ATTACHED", 0, "whole number"),
    ("LMS_RETENTION_DAYS", 0, "whole number"),
    ("LMS_UNDELIVERED_RETENTION_DAYS", 0, "whole number"),
    ("LMS_AUDIT_RETENTION_DAYS", 0, "whole number"),
    ("LMS_CONTENT_RETENTION_DAYS", -1, "whole number"),
    ("LMS_MAIL_SENDER", "a@b\r\nBcc: c@d", "Enter an address"),
    ("LMS_MAIL_TIMEOUT_SECONDS", 0, "number"),
    ("LMS_OPERATOR_EMAILS", 7, "list of e-mail addresses"),
    ("LMS_HEALTH_TOKEN", b"x", "Enter a text."),
    ("LMS_TESTS_AT_ONCE", 0, "whole number from 1 to 64"),
    ("LMS_WORKER_PROCESSES", 0, "whole number from 1 to 64"),
    ("LMS_WORKER_STREAMS", 3, "whole number from 4 to 256"),
    ("LMS_REQUESTS_AT_ONCE", 0, "whole number from 1 to 64"),
    ("LMS_REDIS_NAMESPACE", "a b", "Enter up to 40 letters"),
]


@pytest.mark.parametrize(("key", "value", "says"), FAULTS)
def test_a_malformed_key_says_what_to_write(key: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_config({**GOOD, key: value})
    [fault] = caught.value.faults
    assert fault.startswith(f"{key}: ")
    assert says in fault


def test_every_key_has_a_malformed_case() -> None:
    assert {key for key, *_ in FAULTS} == {f"LMS_{f.name.upper()}" for f in fields(Settings)}


def test_an_unknown_key_warns_with_the_nearest_name() -> None:
    with pytest.warns(UserWarning, match="LMS_REDIS_ULR. Did you mean LMS_REDIS_URL?"):
        Settings.from_config({**GOOD, "LMS_REDIS_ULR": "redis://x"})


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_URL": "redis://c/0"}, "redis://c/0"),
        ({"REDIS_URL": "redis://c/0", "RQ_REDIS_URL": "redis://b/0"}, "redis://b/0"),
        ({"RQ_REDIS_URL": "redis://b/0", "LMS_REDIS_URL": "unix:///a"}, "unix:///a"),
    ],
)
def test_redis_falls_back_to_the_hosts_own(config: dict[str, str], url: str) -> None:
    assert Settings.from_config({**GOOD, **config}).redis_url == url


def test_encryption_keys_stand_in_for_the_secret_key() -> None:
    config = {**GOOD, "SECRET_KEY": None, "LMS_ENCRYPTION_KEYS": [Fernet.generate_key().decode()]}
    assert len(Settings.from_config(config).encryption_keys) == 1


def test_every_key_says_what_it_is_for() -> None:
    assert all(field.metadata["about"].endswith(".") for field in fields(Settings))
