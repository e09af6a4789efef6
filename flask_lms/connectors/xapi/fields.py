"""Clean-up and check of what an administrator entered, and what an LRS is identified by."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    IntegerField,
    PasswordField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import Optional

from ...errors import InvalidConfiguration
from ...i18n import N_, Words
from ..base import Cleaned
from .vocabulary import VERSIONS

MOST_STATEMENTS = 500
_MOST_URL, _MOST_KEY, _MOST_SECRET, _MOST_PEM = 1000, 255, 1000, 200_000

_CHOICES = {
    "version": VERSIONS,
    "identify": ("mbox", "mbox_sha1sum", "account"),
    "results": ("all", "passed"),
    "steps": ("summary", "statements"),
}
_FLAGS = {"send_name": True, "send_completed": False, "one_by_one": False}
FIELDS = ("url", "key", "secret", *_CHOICES, *_FLAGS, "batch_statements", "ca_pem")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MASK = re.compile(r"[•●∙·*＊]+")
_STATEMENTS = "/statements"


class _Refused(ValueError):
    """A field's value is refused; its only argument is the sentence for the administrator."""


def clean(values: Mapping[str, Any], *, allow_http: bool, has_secrets: bool) -> Cleaned:
    """Checked settings, with a hint on everything that was changed.

    :raises InvalidConfiguration: field by field, all at once.
    """
    errors: dict[str, list[str]] = {}
    hints: list[str] = []
    settings: dict[str, Any] = {}

    def check(name: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except _Refused as error:
            errors.setdefault(name, []).append(error.args[0])
            return None

    for name in values:
        near = difflib.get_close_matches(str(name), FIELDS, n=1, cutoff=0.75)
        if name not in FIELDS and near:
            errors[str(name)] = [Words("There is no such setting. Is it %(name)s?", name=near[0])]
    settings["url"] = check("url", partial(_url, values.get("url"), allow_http, hints))
    settings["key"] = check("key", partial(_key, values.get("key"), hints))
    secret = check("secret", partial(_secret, values.get("secret"), has_secrets, hints))
    for name, choices in _CHOICES.items():
        settings[name] = check(name, partial(_choice, values.get(name), choices))
    for name, default in _FLAGS.items():
        settings[name] = check(name, partial(_flag, values.get(name), default))
    batch = partial(_batch, values.get("batch_statements"))
    settings["batch_statements"] = check("batch_statements", batch)
    settings["ca_pem"] = check("ca_pem", partial(_ca_pem, values.get("ca_pem")))
    if errors:
        raise InvalidConfiguration(errors)
    return Cleaned(settings=settings, secrets={"secret": secret} if secret else {}, hints=hints)


def clean_url(text: str, *, allow_http: bool = True) -> tuple[str, list[str]]:
    """The address below which ``/statements`` lies, and hints on what was changed.

    :raises InvalidConfiguration: it can't be an LRS's address.
    """
    hints: list[str] = []
    try:
        return _url(text, allow_http, hints), hints
    except _Refused as error:
        raise InvalidConfiguration({"url": [error.args[0]]}) from None


def destination(settings: Mapping[str, Any]) -> str:
    """Host, and port when it isn't the usual one."""
    try:
        return urlsplit(str(settings["url"])).netloc
    except ValueError:  # somebody wrote it into the database past :func:`clean`
        return ""


def origin(settings: Mapping[str, Any]) -> str:
    """Scheme, host and port: what a secret was given for (RFC 6454)."""
    try:
        parts = urlsplit(settings["url"])
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # as above: like no other
        return str(settings["url"])
    return f"{parts.scheme}://{parts.hostname}:{port}"


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Equal for the same URL and key."""
    both = json.dumps([settings["url"], settings["key"]])
    return hashlib.sha256(both.encode()).hexdigest()


def _text(value: Any, most: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Refused(Words("Enter a text."))
    text = value.strip()
    if _CONTROL.search(text):
        raise _Refused(Words("It has invisible control characters. Type it again."))
    if len(text) > most:
        raise _Refused(Words("It is longer than %(most)s characters.", most=most))
    return text


def _url(value: Any, allow_http: bool, hints: list[str]) -> str:
    text = _text(value, _MOST_URL)
    if not text:
        raise _Refused(Words("Enter the xAPI URL of your LMS."))
    parts = _parts(text)
    if parts.scheme == "http" and not allow_http:
        raise _Refused(Words("This address is not encrypted. Use one that begins with https://."))
    if text != value:
        hints.append(Words("Spaces around the URL were removed."))
    if "?" in text.partition("#")[0]:
        hints.append(Words("The part of the URL after ? was removed."))
    if "#" in text:
        hints.append(Words("The part of the URL after # was removed."))
    path = parts.path
    if path.endswith("/") and path != "/":
        hints.append(Words("The / at the end of the URL was removed: it isn't needed."))
    path = path.rstrip("/")
    if path.endswith(_STATEMENTS):
        hints.append(Words("/statements was removed from the URL: we add it when we send."))
    # All of them: what is stored must stay as it is when the form is saved once more.
    while path.endswith(_STATEMENTS):
        path = path[: -len(_STATEMENTS)].rstrip("/")
    if parts.scheme == "http":
        hints.append(
            Words("This address is not encrypted: others may read the key and the results.")
        )
    return f"{parts.scheme}://{_place(parts)}{path}"


def _parts(text: str) -> SplitResult:
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise _Refused(
            Words(
                "Enter the whole address, such as https://lms.example/xapi: it begins with https://."
            )
        )
    if re.search(r"[\s\\]", text):
        raise _Refused(Words("The URL must not contain spaces or backslashes."))
    if re.search(r"[<>\"{}|^`]", text):
        raise _Refused(Words("The URL has characters that no address contains."))
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _Refused(Words("This is not a valid address. Check it for a typing error.")) from None
    if "@" in parts.netloc:
        raise _Refused(
            Words("The URL must not contain a user name or password: enter them as key and secret.")
        )
    host = parts.hostname or ""
    if not host or port == 0 or "%" in host or not host.strip("."):
        raise _Refused(Words("This is not a valid address. Check it for a typing error."))
    return parts


def _place(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    usual = 80 if parts.scheme == "http" else 443
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _key(value: Any, hints: list[str]) -> str:
    key = _text(value, _MOST_KEY)
    if not key:
        raise _Refused(Words("Enter the xAPI key."))
    if ":" in key:  # RFC 7617, 2
        raise _Refused(Words("The key must not contain a colon."))
    if key != value:
        hints.append(Words("Spaces around the key were removed."))
    return key


def _secret(value: Any, has_secrets: bool, hints: list[str]) -> str:
    secret = _text(value, _MOST_SECRET)
    if not secret and not has_secrets:
        raise _Refused(Words("Enter the xAPI key secret."))
    if secret and _MASK.fullmatch(secret):
        raise _Refused(Words("These are the dots that hide a secret. Enter the secret itself."))
    if secret and secret != value:
        hints.append(Words("Spaces around the secret were removed."))
    return secret


def _choice(value: Any, choices: tuple[str, ...]) -> str:
    if value is None or value == "":
        return choices[0]
    if value not in choices:
        raise _Refused(Words("Choose one of: %(choices)s.", choices=", ".join(choices)))
    return str(value)


def _flag(value: Any, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _Refused(Words("Enter True or False."))
    return value


def _batch(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_STATEMENTS:
        raise _Refused(Words("Enter a whole number from 1 to %(most)s.", most=MOST_STATEMENTS))
    return value


def _ca_pem(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Refused(Words("Enter a text."))
    text = value.replace("\r\n", "\n").strip()
    if not text:
        return None
    if len(text) > _MOST_PEM:
        raise _Refused(Words("It is longer than %(most)s characters.", most=_MOST_PEM))
    if "PRIVATE KEY-----" in text:
        raise _Refused(
            Words("This holds a private key. Enter certificates only, and replace that key.")
        )
    try:
        x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnicodeEncodeError):
        raise _Refused(
            Words(
                "This is not a certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----."
            )
        ) from None
    return text + "\n"


# -- Step 2 of an xAPI configuration. Labels and texts are message ids; ``settings`` checks
# values.

try:
    from wtforms.fields import SelectChoice
except ImportError:  # before WTForms 3.3 choices were plain tuples

    def SelectChoice(value: str, label: str) -> tuple[str, str]:
        return value, label


ADVANCED = (
    "version",
    "identify",
    "send_name",
    "results",
    "steps",
    "send_completed",
    "batch_statements",
    "one_by_one",
    "ca_pem",
)
SECRET_FIELDS = ("secret",)

# Browsers must neither correct an address nor offer the reader's own password.
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class XapiForm(FlaskForm):  # type: ignore[misc]  # flask_wtf has no types
    """URL, key and secret; the rest is advanced."""

    url = StringField(
        N_("xAPI URL"),
        description=N_("The address of your LMS's xAPI service, such as https://lms.example/xapi"),
        render_kw={**_PLAIN, "inputmode": "url"},
    )
    key = StringField(
        N_("xAPI Key"),
        description=N_("Also called user name or client ID. It must be allowed to write."),
        render_kw=_PLAIN,
    )
    secret = PasswordField(
        N_("xAPI Key Secret"),
        description=N_("Also called password. It is stored encrypted and never shown again."),
        render_kw={**_PLAIN, "autocomplete": "new-password"},
    )
    version = SelectField(
        N_("xAPI version"),
        choices=[SelectChoice(version, version) for version in VERSIONS],
        default=VERSIONS[0],
        description=N_("Nearly every LMS takes 1.0.3. Choose 2.0.0 only if yours asks for it."),
    )
    identify = SelectField(
        N_("Identify participants by"),
        choices=[
            SelectChoice("mbox", N_("E-mail address")),
            SelectChoice("mbox_sha1sum", N_("Hash of the e-mail address, without a name")),
            SelectChoice("account", N_("Account on this platform")),
        ],
        default="mbox",
        description=N_(
            "Keep it once results were sent: your LMS would take the same people for new ones."
        ),
    )
    send_name = BooleanField(N_("Send the participant's name"), default=True)
    results = SelectField(
        N_("Results to send"),
        choices=[
            SelectChoice("all", N_("All results")),
            SelectChoice("passed", N_("Passed results only")),
        ],
        default="all",
    )
    steps = SelectField(
        N_("Steps of an objective"),
        choices=[
            SelectChoice("summary", N_("As a summary in the result")),
            SelectChoice("statements", N_("As one statement for each step")),
        ],
        default="summary",
    )
    send_completed = BooleanField(
        N_("Also send “completed”"),
        default=False,
        description=N_("For an LMS that takes no notice of “passed” and “failed”."),
    )
    batch_statements = IntegerField(
        N_("Statements in one request"),
        validators=[Optional()],
        description=N_("1 to 500. Leave it empty for the usual number."),
        render_kw={"inputmode": "numeric"},
    )
    one_by_one = BooleanField(
        N_("Send each statement in a request of its own"),
        default=False,
        description=N_("For an LMS that takes no lists of statements."),
    )
    ca_pem = TextAreaField(
        N_("Certificate of your own authority"),
        description=N_("In PEM form. Only for an LMS whose certificate isn't publicly trusted."),
        render_kw={**_PLAIN, "rows": 4},
    )
