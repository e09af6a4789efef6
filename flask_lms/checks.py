"""The rules of a configuration's basic information, the same for pages, commands and code."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from email_validator import EmailNotValidError, validate_email

from .errors import InvalidConfiguration
from .i18n import Words

MOST_NAME = 100
MOST_EMAILS = 10

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")


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
    if not isinstance(value, str) or len(value) > 35 or not _LANGUAGE.fullmatch(value):
        errors.add("language", Words("Choose a language, such as en or de."))
        return "en"
    return value
