"""What an xAPI configuration is made of: each field of step 2, which is also a setting."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from ...checks import Errors, Refused
from ...i18n import N_, Words
from ..fields import Field
from .sign_in import MOST_HEADERS, more_headers
from .vocabulary import VERSION_HEADER, VERSIONS

MOST_STATEMENTS = 500

_MASK = re.compile(r"[•●∙·*＊]+")
_STATEMENTS = "/statements"


def _url(url: str) -> str:
    """The address below which ``/statements`` lies."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    # All of them: what is stored must stay as it is when the form is saved once more.
    while path.endswith(_STATEMENTS):
        path = path[: -len(_STATEMENTS)].rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _url_notes(given: str) -> Iterator[str]:
    address, has_fragment, _ = given.strip().partition("#")
    address, has_query, _ = address.partition("?")
    if has_query:
        yield Words("The part of the URL after ? was removed.")
    if has_fragment:
        yield Words("The part of the URL after # was removed.")
    path = urlsplit(address).path
    if path.endswith("/") and path != "/":
        yield Words("The / at the end of the URL was removed: it isn't needed.")
    if path.rstrip("/").endswith(_STATEMENTS):
        yield Words("/statements was removed from the URL: we add it when we send.")


def _key(key: str) -> str:
    if ":" in key:  # RFC 7617, 2
        raise Refused(Words("The key must not contain a colon."))
    return key


def _secret(secret: str) -> str:
    if _MASK.fullmatch(secret):
        raise Refused(Words("These are the dots that hide a secret. Enter the secret itself."))
    return secret


def _ca_pem(text: str) -> str:
    if "PRIVATE KEY-----" in text:
        raise Refused(
            Words("This holds a private key. Enter certificates only, and replace that key.")
        )
    try:
        x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnicodeEncodeError):
        raise Refused(
            Words(
                "This is not a certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----."
            )
        ) from None
    return text + "\n"


#: What HTTP, xAPI and we say for ourselves (RFC 9110).
_RESERVED = (
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
    "cookie", "date", "expect", "forwarded", "host", "keep-alive", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via",
)  # fmt: skip


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):  # RFC 9110, 5.1
        raise Refused(Words("A header's name has letters, digits and hyphens only."))
    if name.lower() in _RESERVED or name.lower() == VERSION_HEADER.lower():
        raise Refused(Words("%(name)s is set by this platform itself.", name=name))
    return name


def _header_value(value: str) -> str:
    value = _secret(value)
    if not re.fullmatch(r"[\x20-\x7e]*", value):
        raise Refused(Words("A header's value has plain letters, digits and signs only."))
    return value


def _token(token: str) -> str:
    token = re.sub(r"(?i)^bearer\s+", "", _secret(token))
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise Refused(Words("A token has plain letters, digits and signs only, and no spaces."))
    return token


def check_headers(settings: Mapping[str, Any]) -> None:
    """That no header is said twice.

    :raises InvalidConfiguration: one is.
    """
    errors = Errors()
    taken = {"header": str(settings.get("header_name")).lower()}.get(
        settings["auth"], "authorization"
    )
    seen = {taken}
    for setting in more_headers(settings):
        name = settings[setting]
        if name.lower() in seen:
            errors.add(setting, Words("%(name)s is sent already.", name=name))
        seen.add(name.lower())
    errors.check()


_BASIC, _OAUTH2 = ("auth", ("basic",)), ("auth", ("oauth2",))

FIELDS = (
    Field(
        name="url",
        label=N_("xAPI URL"),
        kind="url",
        hint=N_("The address of your LMS's xAPI service, such as https://lms.example/xapi"),
        required=N_("Enter the xAPI URL of your LMS."),
        check=_url,
        notes=_url_notes,
    ),
    Field(
        name="auth",
        label=N_("How this platform signs in"),
        kind="choice",
        choices={
            "basic": N_("With a key and a secret"),
            "oauth2": N_("With OAuth 2: a client ID and a secret"),
            "bearer": N_("With a token"),
            "header": N_("With a header, such as an API key"),
        },
        default="basic",
    ),
    Field(
        name="key",
        label=N_("xAPI Key"),
        hint=N_("Also called user name or client ID. It must be allowed to write."),
        required=N_("Enter the xAPI key."),
        most=255,
        check=_key,
        when=_BASIC,
    ),
    Field(
        name="secret",
        label=N_("xAPI Key Secret"),
        hint=N_("Also called password. It is stored encrypted and never shown again."),
        required=N_("Enter the xAPI key secret."),
        check=_secret,
        is_secret=True,
        when=_BASIC,
    ),
    Field(
        name="token_url",
        label=N_("Token URL"),
        kind="url",
        hint=N_("The address of the token server, such as https://login.example/oauth2/token"),
        required=N_("Enter the address of the token server."),
        when=_OAUTH2,
    ),
    Field(
        name="client_id",
        label=N_("Client ID"),
        required=N_("Enter the client ID."),
        most=500,
        check=_key,
        when=_OAUTH2,
    ),
    Field(
        name="client_secret",
        label=N_("Client secret"),
        hint=N_("It is stored encrypted and never shown again."),
        required=N_("Enter the client secret."),
        check=_secret,
        is_secret=True,
        when=_OAUTH2,
    ),
    Field(
        name="scope",
        label=N_("Scope"),
        hint=N_("What the token must allow, such as xapi:write. Often empty."),
        when=_OAUTH2,
    ),
    Field(
        name="audience",
        label=N_("Audience"),
        hint=N_("For whom the token is. Nearly always empty."),
        when=_OAUTH2,
    ),
    Field(
        name="client_auth",
        label=N_("How the client ID and secret are sent"),
        kind="choice",
        hint=N_("If the token server refuses a client ID that is right, try another one."),
        choices={
            "basic": N_("In a header (HTTP Basic)"),
            "body": N_("In the form"),
            "json": N_("As JSON, as Cornerstone wants it"),
        },
        default="basic",
        when=_OAUTH2,
    ),
    Field(
        name="token",
        label=N_("Token"),
        hint=N_("It is stored encrypted and never shown again."),
        required=N_("Enter the token."),
        most=10_000,
        check=_token,
        is_secret=True,
        when=("auth", ("bearer",)),
    ),
    Field(
        name="header_name",
        label=N_("Name of the header"),
        hint=N_("Such as X-API-Key or Ocp-Apim-Subscription-Key."),
        required=N_("Enter the name of the header."),
        check=_header_name,
        when=("auth", ("header",)),
    ),
    Field(
        name="header_value",
        label=N_("Value of the header"),
        hint=N_("It is stored encrypted and never shown again."),
        required=N_("Enter the value of the header."),
        most=10_000,
        check=_header_value,
        is_secret=True,
        when=("auth", ("header",)),
    ),
    Field(
        name="version",
        label=N_("xAPI version"),
        kind="choice",
        hint=N_("Nearly every LMS takes 1.0.3. Choose 2.0.0 only if yours asks for it."),
        choices={version: version for version in VERSIONS},
        default=VERSIONS[0],
        is_advanced=True,
    ),
    Field(
        name="identify",
        label=N_("Identify participants by"),
        kind="choice",
        hint=N_(
            "Keep it once results were sent: your LMS would take the same people for new ones."
        ),
        choices={
            "mbox": N_("E-mail address"),
            "mbox_sha1sum": N_("Hash of the e-mail address, without a name"),
            "account": N_("Account on this platform"),
        },
        default="mbox",
        is_advanced=True,
    ),
    Field(
        name="send_name",
        label=N_("Send the participant's name"),
        kind="flag",
        default=True,
        is_advanced=True,
    ),
    Field(
        name="results",
        label=N_("Results to send"),
        kind="choice",
        choices={"all": N_("All results"), "passed": N_("Passed results only")},
        default="all",
        is_advanced=True,
    ),
    Field(
        name="steps",
        label=N_("Steps of an objective"),
        kind="choice",
        choices={
            "summary": N_("As a summary in the result"),
            "statements": N_("As one statement for each step"),
        },
        default="summary",
        is_advanced=True,
    ),
    Field(
        name="send_completed",
        label=N_("Also send “completed”"),
        kind="flag",
        hint=N_("For an LMS that takes no notice of “passed” and “failed”."),
        default=False,
        is_advanced=True,
    ),
    Field(
        name="failed_counts_as_completed",
        label=N_("A failed result counts as completed in your LMS"),
        kind="flag",
        hint=N_("With Yes, an LMS that goes by completion credits participants who failed."),
        choices={"": N_("No"), "y": N_("Yes, my LMS counts attempts")},
        default=False,
        is_advanced=True,
    ),
    Field(
        name="batch_statements",
        label=N_("Statements in one request"),
        kind="number",
        hint=N_("1 to 500. Leave it empty for the usual number."),
        least=1,
        most=MOST_STATEMENTS,
        is_advanced=True,
    ),
    Field(
        name="requests_at_once",
        label=N_("Requests at the same time"),
        kind="number",
        hint=N_("1 to 8. Choose 1 if your LMS takes one after the other only."),
        least=1,
        most=8,
        is_advanced=True,
    ),
    Field(
        name="one_by_one",
        label=N_("Send each statement in a request of its own"),
        kind="flag",
        hint=N_("For an LMS that takes no lists of statements."),
        default=False,
        is_advanced=True,
    ),
    Field(
        name="ca_pem",
        label=N_("Certificate of your own authority"),
        kind="long_text",
        hint=N_("In PEM form. Only for an LMS whose certificate isn't publicly trusted."),
        most=200_000,
        check=_ca_pem,
        is_advanced=True,
    ),
    *(
        field
        for number in range(1, MOST_HEADERS + 1)
        for field in (
            Field(
                name=f"header_{number}",
                label=N_("Name of a further header"),
                hint=N_("Only if a gateway before your LMS asks for one."),
                check=_header_name,
                is_advanced=True,
            ),
            Field(
                name=f"header_{number}_value",
                label=N_("Its value"),
                hint=N_("It is stored encrypted and never shown again."),
                required=N_("Enter the value of the header."),
                most=10_000,
                check=_header_value,
                is_secret=True,
                is_advanced=True,
                when=(f"header_{number}", ()),
            ),
        )
    ),
)
