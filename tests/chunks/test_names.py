"""Which names a chunk may have, and how a bad one is explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ve.chunks import check_name
from ve.errors import InvalidInput


@pytest.mark.parametrize("name", ["a", "parser", "006-segment-compaction", "A_b-9", "x" * 80])
def test_letters_digits_dash_and_underscore_make_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it is empty"),
        (".", "another folder"),
        ("..", "another folder"),
        ("../x", "character 1 is `.`"),
        ("-x", "an option"),
        ("--all", "an option"),
        ("_x", "begins with `_`"),
        ("a b", "character 2 is a space"),
        ("a\u3000b", "character 2 is U+3000"),
        ("a/b", "the name of the folder under docs/chunks"),
        ("a\n", "character 2 is U+000A"),
        ("größe", "character 3 is U+00F6"),
        ("a.lock", "character 2 is `.`"),
        ("x" * 81, "81 characters, 80 are allowed"),
        ("\ud800", "U+D800"),
    ],
)
def test_any_other_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name)
    assert reason in caught.value.what
    assert caught.value.errors == (("chunk", caught.value.what),)
    str(caught.value).encode()


@given(st.text())
def test_a_name_is_taken_or_refused_and_never_changed(name: str) -> None:
    try:
        assert check_name(name) == name
    except InvalidInput:
        return
    assert name.isascii()
    assert not name.startswith("-")
