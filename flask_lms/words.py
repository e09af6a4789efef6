"""Sentences for people: English now, translated at the page's or mail's border.

Pure modules can't know the reader's language, so they make :class:`Words`: a plain English string
that remembers the message it was made from.
"""

from __future__ import annotations

from typing import Any


class Words(str):
    """A formatted English sentence that can still be translated.

    >>> Words("%(name)s is paused", name="Corporate LMS")
    'Corporate LMS is paused'

    :param message: message id with ``%(name)s`` placeholders.
    :param values: what fills them.
    """

    __slots__ = ("message", "plural", "values")

    message: str
    plural: str | None
    values: dict[str, Any]

    def __new__(cls, message: str, /, **values: Any) -> Words:
        words = super().__new__(cls, message % values if values else message)
        words.message, words.plural, words.values = message, None, values
        return words

    @classmethod
    def many(cls, singular: str, plural: str, n: int, /, **values: Any) -> Words:
        """A sentence whose form depends on ``n``, available in it as ``%(n)s``."""
        values = {"n": n, **values}
        words = super().__new__(cls, (singular if n == 1 else plural) % values)
        words.message, words.plural, words.values = singular, plural, values
        return words


def N_(message: str) -> str:
    """Marks a message for the catalogue where it is filled in later."""
    return message
