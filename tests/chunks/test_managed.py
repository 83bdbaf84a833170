"""A block of ours in a file of the user's: theirs stays byte for byte, ours is never guessed at."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ve import managed
from ve.errors import DocumentError

BODY = "Ours.\n\n- one\n"
BLOCK = "<!-- ve:begin agents -->\nOurs.\n\n- one\n<!-- ve:end agents -->"


def put(text: str | bytes, body: str = BODY) -> bytes:
    return managed.put_block(text if isinstance(text, bytes) else text.encode(), "agents", body, "AGENTS.md")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{BLOCK}\n"),
        ("# Mine\n", f"# Mine\n\n{BLOCK}\n"),
        ("# Mine, no end of line", f"# Mine, no end of line\n\n{BLOCK}\n"),
        ("# Mine\r\n", "# Mine\r\n\r\n" + BLOCK.replace("\n", "\r\n") + "\r\n"),
        ("\ufeff", f"\ufeff{BLOCK}\n"),
    ],
)
def test_a_file_without_a_block_gets_it_at_its_end_in_its_own_line_ends(before: str, after: str) -> None:
    assert put(before) == after.encode()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_another_version_changes_the_block_and_no_byte_outside(newline: str) -> None:
    above = "# Mïne\t \n\x0b\n".replace("\n", newline).encode() + b"\xff\xfe not UTF-8\n"
    below = b"below\r\nmixed\n\nno end"
    block = BLOCK.replace("\n", newline).encode()

    changed = put(above + block + newline.encode() + below, "Newer.")

    newer = f"<!-- ve:begin agents -->{newline}Newer.{newline}<!-- ve:end agents -->".encode()
    assert changed == above + newer + newline.encode() + below
    assert put(changed, "Newer.") == changed


def test_a_block_at_the_very_beginning_or_end_stays_where_it_is() -> None:
    assert put(f"{BLOCK}\nmine\n", "Newer.").endswith(b"-->\nmine\n")
    assert put(f"mine\n{BLOCK}", "Newer.") == put(f"mine\n{BLOCK}\n", "Newer.").removesuffix(b"\n")


def test_blanks_beside_a_marker_are_outside_of_the_block() -> None:
    text = BLOCK.replace("<!-- ve:begin", "  <!-- ve:begin").encode() + b"\t \r\r\nmine"

    changed = put(text, "Newer.")

    assert changed.startswith(b"  <!-- ve:begin") and changed.endswith(b"<!-- ve:end agents -->\t \r\r\nmine")


def test_another_block_in_the_same_file_is_left_alone() -> None:
    other = "<!-- ve:begin claude -->\nx\n<!-- ve:end claude -->\n"

    assert put(other) == f"{other}\n{BLOCK}\n".encode()


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a\n<!-- ve:begin agents -->\nb\n", 2, "has no `ve:end` after it"),
        ("a\nb\n<!-- ve:end agents -->\n", 3, "without a `ve:begin` before it"),
        (f"{BLOCK}\n{BLOCK}\n", 6, "a second `ve:begin agents`; the first is in line 1"),
        ("<!-- ve:begin agents -->\n" + BLOCK, 1, "before the next `ve:begin` in line 2"),
        ("<!-- ve:begin agents -->\n<!-- ve:end other -->\n", 2, "ends `ve:begin agents` of line 1"),
        ("<!-- ve:begin -->\n<!-- ve:end agents -->\n", 1, "no whole marker any more: '<!-- ve:begin -->'"),
        ("<!-- ve:begin agents -->\n<!-- ve:end agents\n", 2, "no whole marker any more"),
        ("<!-- ve:begin agents -->\nve:end agents -->\n", 2, "no whole marker any more"),
        ("x <!-- ve:begin agents -->\n<!-- ve:end agents -->\n", 1, "no whole marker any more"),
        ("<!--ve:begin agents-->\n", 1, "no whole marker any more"),
        (f"```md\n{BLOCK}\n```\n", 2, "stands in the code block that begins in line 1"),
        ("a\r\nb\r\n<!-- ve:end agents -->\r\n", 3, "without a `ve:begin` before it"),
    ],
)
def test_damaged_markers_are_refused_with_their_line(text: str, line: int, said: str) -> None:
    with pytest.raises(DocumentError) as refused:
        put(text)

    assert refused.value.where == f"AGENTS.md:{line}"
    assert said in refused.value.what
    assert "ve init" in refused.value.hint


def test_a_file_that_ends_inside_a_code_block_is_refused() -> None:
    with pytest.raises(DocumentError, match="never closed") as refused:
        put("# Mine\n\n```sh\nls\n")

    assert refused.value.where == "AGENTS.md:3"


def test_running_text_may_speak_of_the_markers() -> None:
    text = (
        "`ve` keeps what stands between `<!-- ve:begin agents -->` and `<!-- ve:end agents -->`; curve:end\n"
    )

    assert put(text) == f"{text}\n{BLOCK}\n".encode()


LINES = st.sampled_from(
    ["# Mine", "", " text ", "```", "~~~", "<!-- note -->", BLOCK, "<!-- ve:begin agents -->",
     "<!-- ve:end agents -->", "ve:begin", "\ufeffü"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.binary(max_size=4))
def test_whatever_the_file_it_is_refused_or_only_the_block_differs(
    lines: list[str], newline: str, ends: bool, junk: bytes
) -> None:
    before = "\n".join(lines).replace("\n", newline).encode() + (newline.encode() if ends else b"") + junk
    try:
        after = put(before)
    except DocumentError as refused:
        assert re.fullmatch(r"AGENTS.md(:\d+)?", refused.where)
        return
    outside = re.compile(rb"<!-- ve:begin agents -->.*?<!-- ve:end agents -->", re.DOTALL)
    if outside.search(before):
        assert outside.sub(b"", after) == outside.sub(b"", before)
    else:
        assert after.startswith(before)
    assert put(after) == after


def test_a_sealed_file_is_ours_until_a_word_of_it_changes() -> None:
    made = managed.seal("# Skill\n\nText.\n", "kept by ve init")

    assert managed.seal_state(made) == "ours"
    assert managed.seal_state(made.replace(b"\n", b"\r\n")) == "ours", "git may change line ends"
    assert managed.seal_state(made.replace(b"Text", b"text")) == "edited"
    assert managed.seal_state(made + b"more\n") == "edited"
    assert managed.seal_state(b"# Skill\n") == "edited"
