"""German is complete: every text in the code and the templates has its translation."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask

from flask_lms import i18n
from flask_lms.i18n import Words

TOP = Path(__file__).parent.parent.parent
GERMAN = TOP / "flask_lms" / "translations" / "de" / "LC_MESSAGES" / "flask_lms.po"
_ONE, _MANY = None, (1, 2)
KEYWORDS = {
    "gettext": _ONE, "N_": _ONE, "Words": _ONE, "_": _ONE, "lms_t": _ONE,
    "ngettext": _MANY, "many": _MANY, "lms_n": _MANY,
}  # fmt: skip
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.txt", "jinja2")]


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with GERMAN.open("rb") as file:
        return read_po(file, locale="de")


def texts() -> dict[str, str | None]:
    """Every message id of the package → its plural."""
    found: dict[str, str | None] = {}
    package = str(TOP / "flask_lms")
    for _, _, message, _, _ in extract_from_dir(package, METHODS, keywords=KEYWORDS):
        if isinstance(message, tuple):
            found[message[0]] = message[1]
        else:
            found[message] = None
    return found


def test_every_text_has_a_german_one(catalogue: Catalog) -> None:
    missing = []
    for text in texts():
        message = catalogue.get(text)
        strings = message.string if message else ""
        if not strings or (isinstance(strings, tuple | list) and not all(strings)):
            missing.append(text)
    assert not missing, "run `make messages` and translate"


def test_no_translation_is_left_over(catalogue: Catalog) -> None:
    known = texts()
    ids = [m.id[0] if isinstance(m.id, tuple | list) else m.id for m in catalogue if m.id]
    assert [id for id in ids if id not in known] == []


def test_translations_fill_the_same_gaps(catalogue: Catalog) -> None:
    for message in catalogue:
        ids = message.id if isinstance(message.id, tuple | list) else [message.id]
        strings = message.string if isinstance(message.string, tuple | list) else [message.string]
        if message.id:
            for string in strings:
                wanted = set(re.findall(r"%\((\w+)\)s", ids[-1]))
                assert set(re.findall(r"%\((\w+)\)s", string)) <= wanted | {"n"}, message.id
            assert set(re.findall(r"%\((\w+)\)s", strings[-1])) == wanted, message.id


def test_the_compiled_catalogue_is_of_this_text(catalogue: Catalog) -> None:
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    assert GERMAN.with_suffix(".mo").read_bytes() == buffer.getvalue(), "run `make messages`"


def test_languages_and_plural_forms() -> None:
    app = Flask("none")
    with app.app_context():
        singular, plural = "%(n)s result is waiting.", "%(n)s results are waiting."
        assert i18n.ngettext(singular, plural, 1) == "1 result is waiting."
        assert i18n.ngettext(singular, plural, 1234) == "1,234 results are waiting."
        with i18n.using("de-AT"):
            assert i18n.ngettext(singular, plural, 1) == "1 Ergebnis wartet."
            assert i18n.ngettext(singular, plural, 0) == "0 Ergebnisse warten."
            assert i18n.ngettext(singular, plural, 1234) == "1.234 Ergebnisse warten."
            assert i18n.translate(Words.many(singular, plural, 2)) == "2 Ergebnisse warten."
            assert i18n.language() == "de-AT"
        with i18n.using("tlh"):
            assert i18n.gettext("Waiting") == "Waiting"
    assert i18n.available() == ["de", "en"]
