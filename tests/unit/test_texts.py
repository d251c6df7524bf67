"""Texts from outside: names are checked, and other texts are escaped before they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Malformed
from haulback.texts import check_name, is_printable, printable, sendable


@pytest.mark.parametrize("name", [None, "", "   ", "a\n", "a\x7f", "\ud800", "x" * 201])
def test_a_name_that_cannot_be_shown_is_refused_with_its_field(name: str | None):
    with pytest.raises(Malformed, match="login: give 1 to 200 printable characters") as refused:
        check_name(name, "login")
    assert refused.value.details == {"field": "login"}


@pytest.mark.parametrize("name", ["a", " a ", "x" * 200, "Größe 2", "名前"])
def test_a_name_that_can_be_shown_is_returned_as_it_is(name: str):
    assert check_name(name) == name


def test_the_limit_of_a_name_is_in_characters():
    assert is_printable("ä" * 240, 240)
    assert not is_printable("ä" * 241, 240)
    assert not is_printable("")


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_an_escaped_text_is_printable_whatever_the_text_was(text: str):
    assert printable(text).isprintable()


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_a_sendable_text_is_utf_8_without_nul(text: str):
    assert b"\0" not in sendable(text).encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_a_text_of_ordinary_characters_stays(text: str):
    assert printable(text) == sendable(text) == text


def test_lines_stay_lines_in_a_sendable_text():
    assert sendable("a\nb\udcff\0") == "a\nb\\udcff\\0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("a\tb\x1b", r"a\tb\x1b"),
        ("\u202e", r"\u202e"),
    ],
)
def test_bytes_of_a_name_and_lone_surrogates_are_shown_as_escapes(text: str, shown: str):
    assert printable(text) == shown
