"""The one validation: functions that take a value and give its clean form, or refuse it with the
sentence that tells whoever entered it what is right. What hosts hand in, what administrators
enter and the host's configuration are all checked by these.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email

from .errors import InvalidConfiguration
from .i18n import Words

T = TypeVar("T")

#: A clean value, or :class:`Refused`.
Check = Callable[[object], T]

MOST_NAME = 100
MOST_EMAILS = 10

#: Control characters, separators of lines and halves of characters: in no text of one line.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: RFC 5646, 2.1, without languages of 4 to 8 letters: none was ever registered.
_LANGUAGE = re.compile(
    r"""[a-z]{2,3}(-[a-z]{3}){0,3}      # language and extended language
    (-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))? # script, region
    (-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(-[a-wy-z0-9](-[a-z0-9]{2,8})+)* # variants, extensions
    (-x(-[a-z0-9]{1,8})+)?              # private use
    |x(-[a-z0-9]{1,8})+
    |en-GB-oed|i-(ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)
    |sgn-(BE-FR|BE-NL|CH-DE)            # the irregular ones of before 2005""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
# What would need escaping in an IRI (RFC 6068) is refused: real LRSs compare the raw text.
_ATOM = r"[A-Za-z0-9!$&'*+/=_~-]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}\.)+(?!\d+$){_LABEL}")
#: A whole number beyond it would be no number to JSON readers; NaN isn't within it either.
_LARGEST = sys.float_info.max


class Refused(ValueError):
    """A value is refused.

    :param sentences: what is wrong or what to enter, for whoever entered it.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Errors:
    """Sentences by field, collected so that all are told at once."""

    def __init__(self) -> None:
        self._sentences: dict[str, list[str]] = {}

    def add(self, field: str, *sentences: str) -> None:
        self._sentences.setdefault(field, []).extend(sentences)

    def add_all(self, errors: Mapping[str, Sequence[str]]) -> None:
        for field, sentences in errors.items():
            self.add(field, *sentences)

    def take(self, field: str, check: Check[T], value: object) -> T | None:
        """The clean value; None when it was refused, and its sentences are noted."""
        try:
            return check(value)
        except Refused as error:
            self.add(field, *error.sentences)
            return None

    def check(self) -> None:
        """:raises InvalidConfiguration: something was added."""
        if self._sentences:
            raise InvalidConfiguration(self._sentences)


# -- Any value ---------------------------------------------------------------------------------


def optional(check: Check[T]) -> Check[T | None]:
    """None is all right too."""
    return lambda value: None if value is None else check(value)


def text(most: int, *, needed: str = "", has_lines: bool = False) -> Check[str]:
    """One line without spaces around it; None is the empty one.

    :param needed: what is said when it is empty; empty: it may be.
    :param has_lines: more than one, whose ends are made alike.
    """

    def check(value: object) -> str:
        if not isinstance(value, str | None):
            raise Refused(Words("Enter a text."))
        found = (value or "").replace("\r\n", "\n").strip()
        if CONTROL.search(found.replace("\n", "") if has_lines else found):
            raise Refused(Words("It has invisible control characters. Type it again."))
        if len(found) > most:
            raise Refused(Words("It is longer than %(most)s characters.", most=most))
        if needed and not found:
            raise Refused(needed)
        return found

    return check


def choice(*choices: str) -> Check[str]:
    """One of these; None and the empty text are the first."""

    def check(value: object) -> str:
        if value is None or value == "":
            return choices[0]
        if not isinstance(value, str) or value not in choices:
            raise Refused(Words("Choose one of: %(choices)s.", choices=", ".join(choices)))
        return value

    return check


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(Words("Enter True or False."))
    return value


def whole(least: int, most: int) -> Check[int]:
    """A whole number between these, both included."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Refused(
                Words("Enter a whole number from %(least)s to %(most)s.", least=least, most=most)
            )
        return value

    return check


def number(least: float = -_LARGEST, most: float = _LARGEST) -> Check[float]:
    """A finite number between these, both included."""

    def check(value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
        ):
            limits = f"number from {least:g} to {most:g}"
            raise Refused(f"Enter a {'finite number' if most == _LARGEST else limits}.")
        return value

    return check


def language(value: object) -> str:
    """A BCP 47 language tag (RFC 5646), at most 35 characters."""
    if isinstance(value, str) and len(value) <= 35:
        if _LANGUAGE.fullmatch(value):
            return value
        hyphened = value.replace("_", "-")
        if _LANGUAGE.fullmatch(hyphened):
            raise Refused(Words("Write the language with hyphens: %(tag)s.", tag=hyphened))
    raise Refused(Words("Enter a language tag (BCP 47), such as en or de-AT."))


def email(value: str) -> str:
    """An address that any mail server takes, its domain in ASCII."""
    try:
        checked = validate_email(value, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise Refused(
            Words(
                "“%(address)s” is not a valid e-mail address. Write it like name@company.com.",
                address=value,
            )
        ) from None
    return checked.ascii_email or checked.normalized


def mail_address(text: str) -> str | None:
    """The address as every LRS takes it, or None: ASCII local part and a dotted domain.

    The domain becomes lower-case and an international one its ASCII form; the local part stays.
    """
    local, at, domain = text.strip().rpartition("@")
    if not at or len(local) > 64 or not _LOCAL_PART.fullmatch(local):
        return None
    if not domain.isascii():
        try:
            checked = validate_email(f"x@{domain}", check_deliverability=False)
        except (EmailNotValidError, ValueError):
            return None
        domain = checked.ascii_domain
    # Not by email-validator: names such as corp.local, which it refuses, identify people inside
    # a company very well.
    domain = domain.lower()
    if len(domain) > 253 or not _DOMAIN.fullmatch(domain):
        return None
    return f"{local}@{domain}"


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


def is_absolute_iri(value: object) -> bool:
    """Whether ``value`` is an absolute IRI that an LRS accepts (RFC 3987, at most 2,000)."""
    if not isinstance(value, str) or not 3 < len(value) <= 2000:
        return False
    if re.search(r"[\s<>\"{}|\\^`]", value) or CONTROL.search(value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", parts.scheme):
        return False
    is_web = parts.scheme in ("http", "https")
    return bool(parts.netloc or (parts.path and not is_web))


def absolute_iri(value: object) -> str:
    """An absolute IRI, or the empty text."""
    found = text(2000)(value)
    if found and not is_absolute_iri(found):
        raise Refused(
            Words("Enter the whole address without spaces, such as https://lms.example/courses/42.")
        )
    return found


def is_json(value: object, depth: int = 0) -> bool:
    if depth > 20:
        return False
    if isinstance(value, int | float):
        return abs(value) <= _LARGEST
    if isinstance(value, str):
        return not re.search(r"[\x00\ud800-\udfff]", value)
    if isinstance(value, list | tuple):
        return all(is_json(item, depth + 1) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and is_json((k, v), depth) for k, v in value.items())
    return value is None


# -- The basic information of a configuration ----------------------------------------------------


def name(value: object) -> str:
    """A configuration's name: 1 to 100 characters on one line."""
    if not isinstance(value, str) or not value.strip():
        raise Refused(Words("Enter a configuration name."))
    if CONTROL.search(value.strip(" \t")):
        raise Refused(
            Words("Write the name on one line, without line breaks or control characters.")
        )
    found = unicodedata.normalize("NFC", " ".join(value.split()))
    if len(found) > MOST_NAME:
        raise Refused(
            Words(
                "Shorten the name to %(most)s characters or fewer. It has %(length)s.",
                most=MOST_NAME,
                length=len(found),
            )
        )
    return found


def name_taken(name: str) -> Words:
    """What is said when an organization has a configuration of that name."""
    return Words('You already have a configuration named "%(name)s".', name=name)


def name_key(organization_id: str, name: str) -> str:
    """Equal for two names of an organization that people would take for the same.

    A digest, so that a database which compares without regard to case or accents agrees with it.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    return hashlib.sha256(f"{organization_id}\0{folded}".encode()).hexdigest()


def emails(value: object) -> list[str]:
    """1 to 10 contact addresses in the order given, each once; all faults at once."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, Sequence) or any(not isinstance(entry, str) for entry in entries):
        raise Refused(Words("Enter the contact e-mail addresses as a list."))
    found: dict[str, str] = {}
    sentences: list[str] = []
    for entry in entries:
        address = entry.strip(" \t")
        if not address:
            continue
        shown = CONTROL.sub(" ", address)
        try:
            if shown != address:
                raise Refused(Words("Write “%(address)s” without line breaks.", address=shown))
            shown = email(address)
        except Refused as error:
            sentences += error.sentences
        found.setdefault(shown.casefold(), shown)
    if not found:
        sentences.append(Words("Enter at least one contact e-mail address."))
    if len(found) > MOST_EMAILS:
        sentences.append(
            Words(
                "Enter at most %(most)s contact e-mail addresses. There are %(count)s.",
                most=MOST_EMAILS,
                count=len(found),
            )
        )
    if sentences:
        raise Refused(*sentences)
    return list(found.values())
