"""A secret shows itself to nobody who doesn't ask for it."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from flask_lms import Secret
from flask_lms.checks import Refused, text

WORD = Secret("c4nary")


@pytest.mark.parametrize("show", [str, repr, "{}".format, "%s".__mod__, lambda one: repr([one])])
def test_it_shows_nothing(show: Any) -> None:
    assert "c4nary" not in show(WORD)
    assert "c4nary" not in str(vars(type(WORD))) + str(getattr(WORD, "__dict__", ""))


@pytest.mark.parametrize("keep", [pickle.dumps, copy.deepcopy, json.dumps])
def test_it_is_kept_nowhere(keep: Any) -> None:
    with pytest.raises(TypeError):
        keep(WORD)


def test_it_is_compared_and_asked_for() -> None:
    assert WORD == Secret("c4nary") == "c4nary"
    assert WORD != "canary"
    assert WORD != 5
    assert WORD.reveal() == "c4nary"
    assert WORD
    assert not Secret("")
    with pytest.raises(TypeError):
        hash(WORD)
    with pytest.raises(TypeError, match="must be a str"):
        Secret(b"c4nary")  # type: ignore[arg-type]


def test_it_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr("hmac.compare_digest", lambda *pair: asked.append(pair) or False)
    assert WORD != "other"
    assert asked == [(b"c4nary", b"other")]


def test_a_check_makes_another_one() -> None:
    assert Secret(" c4nary ").checked(text(10)) == WORD
    with pytest.raises(Refused) as caught:
        WORD.checked(text(3))
    assert caught.value.__context__ is None  # below it stands the value
