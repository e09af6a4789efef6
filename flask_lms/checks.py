"""The rules of what administrators enter, the same for pages, commands and code.

A check takes a value and returns it clean, or raises :class:`Refused` with the sentence for people.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from .errors import InvalidConfiguration
from .i18n import Words
from .values import is_language_tag

MOST_NAME = 100
MOST_EMAILS = 10

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Refused(ValueError):
    """A value is refused; its only argument is the sentence for the administrator."""

    @property
    def sentence(self) -> str:
        found: str = self.args[0]
        return found


class Errors:
    """Sentences by field, collected so that all are told at once."""

    def __init__(self) -> None:
        self._sentences: dict[str, list[str]] = {}

    def add(self, field: str, *sentences: str) -> None:
        self._sentences.setdefault(field, []).extend(sentences)

    def add_all(self, errors: Mapping[str, Sequence[str]]) -> None:
        for field, sentences in errors.items():
            self.add(field, *sentences)

    def check(self) -> None:
        """:raises InvalidConfiguration: something was added."""
        if self._sentences:
            raise InvalidConfiguration(self._sentences)


def clean_name(value: object, errors: Errors) -> str:
    """A configuration's name: 1 to 100 characters on one line."""
    if not isinstance(value, str) or not value.strip():
        errors.add("name", Words("Enter a configuration name."))
        return ""
    if _CONTROL.search(value.strip(" \t")):
        errors.add(
            "name", Words("Write the name on one line, without line breaks or control characters.")
        )
        return ""
    name = unicodedata.normalize("NFC", " ".join(value.split()))
    if len(name) > MOST_NAME:
        errors.add(
            "name",
            Words(
                "Shorten the name to %(most)s characters or fewer. It has %(length)s.",
                most=MOST_NAME,
                length=len(name),
            ),
        )
    return name


def name_taken(name: str) -> Words:
    """What is said when an organization has a configuration of that name."""
    return Words('You already have a configuration named "%(name)s".', name=name)


def name_key(organization_id: str, name: str) -> str:
    """Equal for two names of an organization that people would take for the same.

    A digest, so that a database which compares without regard to case or accents agrees with it.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return hashlib.sha256(f"{organization_id}\0{folded}".encode()).hexdigest()


def clean_emails(values: object, errors: Errors) -> list[str]:
    """1 to 10 e-mail addresses in the order given, each once."""
    entries = [values] if isinstance(values, str) else values
    if not isinstance(entries, Sequence) or any(not isinstance(entry, str) for entry in entries):
        errors.add("contact_emails", Words("Enter the contact e-mail addresses as a list."))
        return []
    found: dict[str, str] = {}
    for entry in entries:
        address = entry.strip(" \t")
        if address:
            clean = _clean_email(address, errors)
            found.setdefault(clean.casefold(), clean)
    if not found:
        errors.add("contact_emails", Words("Enter at least one contact e-mail address."))
    if len(found) > MOST_EMAILS:
        errors.add(
            "contact_emails",
            Words(
                "Enter at most %(most)s contact e-mail addresses. There are %(count)s.",
                most=MOST_EMAILS,
                count=len(found),
            ),
        )
    return list(found.values())


def _clean_email(address: str, errors: Errors) -> str:
    shown = _CONTROL.sub(" ", address)
    if _CONTROL.search(address):
        errors.add(
            "contact_emails", Words("Write “%(address)s” without line breaks.", address=shown)
        )
        return shown
    try:
        checked = validate_email(address, check_deliverability=False, allow_smtputf8=False)
        return checked.ascii_email or checked.normalized
    except EmailNotValidError:
        errors.add(
            "contact_emails",
            Words(
                "“%(address)s” is not a valid e-mail address. Write it like name@company.com.",
                address=shown,
            ),
        )
        return shown


def clean_language(value: object, errors: Errors) -> str:
    """The language of mails, a BCP 47 tag."""
    if not isinstance(value, str) or len(value) > 35 or not is_language_tag(value):
        errors.add("language", Words("Choose a language, such as en or de."))
        return "en"
    return value


def text(value: object, *, most: int, has_lines: bool = False) -> str:
    """A text without spaces around it; None is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(Words("Enter a text."))
    found = value.replace("\r\n", "\n").strip()
    if _CONTROL.search(found.replace("\n", "") if has_lines else found):
        raise Refused(Words("It has invisible control characters. Type it again."))
    if len(found) > most:
        raise Refused(Words("It is longer than %(most)s characters.", most=most))
    return found


def choice(value: object, choices: Collection[str]) -> str:
    if value not in choices:
        raise Refused(Words("Choose one of: %(choices)s.", choices=", ".join(choices)))
    return str(value)


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(Words("Enter True or False."))
    return value


def whole(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(
            Words("Enter a whole number from %(least)s to %(most)s.", least=least, most=most)
        )
    return value


def url(value: str) -> str:
    """An absolute http(s) address, its host in small letters and without the usual port."""
    if not re.match(r"https?://", value, re.IGNORECASE):
        raise Refused(
            Words(
                "Enter the whole address, such as https://lms.example/xapi: it begins with https://."
            )
        )
    if re.search(r"[\s\\]", value):
        raise Refused(Words("The URL must not contain spaces or backslashes."))
    if re.search(r"[<>\"{}|^`]", value):
        raise Refused(Words("The URL has characters that no address contains."))
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise Refused(Words("This is not a valid address. Check it for a typing error.")) from None
    if "@" in parts.netloc:
        raise Refused(
            Words("The URL must not contain a user name or password: enter them as key and secret.")
        )
    host = (parts.hostname or "").lower()
    if not host.strip(".") or port == 0 or "%" in host:
        raise Refused(Words("This is not a valid address. Check it for a typing error."))
    if ":" in host:
        host = f"[{host}]"
    if port not in (None, 80 if parts.scheme == "http" else 443):
        host = f"{host}:{port}"
    return parts._replace(netloc=host).geturl()
