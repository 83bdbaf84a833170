"""The two fields that a list needs, from heads whose lines each stand for themselves.

Rule: what this returns is what `typed.read` finds; a head that has anything unusual about it, in any
line, is left to that. Nothing else of the readers is loaded for it.
"""

from __future__ import annotations

import re

from ve.chunks.kinds import KINDS, Kind
from ve.chunks.names import MAX_LENGTH

# Possessive throughout: a line is either of this form or it is not, and long ones cost no more.
_KEY = r"[A-Za-z_][A-Za-z0-9_-]{0,99}:(?=[ \n])"
_TEXT = r"""(?:[^\s\-?:,\[\]{}#&*!|>'"%@`]|-(?=[^\s\-]))[^\n#:]*+(?:(?::(?=\S)|(?<=\S)#)[^\n#:]*+)*+"""
_QUOTED = r""""[^"\\\n]*+" *+|'[^'\n]*+' *+"""
_INLINE = r"""\[(?:[^\[\]{}"'\\#\n]|"[^"\\\n]*+"|'[^'\n]*+')*+\] *+"""
_PLAIN = re.compile(
    rf"(?:(?=[ \n#]|-[ \n]|{_KEY}) *+(?:-(?=[ \n]) *+)?+(?:{_KEY} *+)?+"
    rf"(?:{_TEXT}|{_QUOTED}|{_INLINE}|\{{ *\}} *+)?+(?:(?<![^ \n])#[^\n]*+)?+\n)*+",
    re.ASCII,
)
# White space and line ends of YAML that are none to people, and what YAML refuses.
_ODD = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_ASCII = bytes((*b"\n", *range(0x20, 0x7F)))
_END = rf"(?={_KEY}|\Z)"
_STATUS = re.compile(rf"status: +([A-Z]+) *(?: #[^\n]*)?\n{_END}")
_BARE = r"[A-Za-z0-9][A-Za-z0-9_-]*+"
_QUOTABLE = rf"""(?:{_BARE}|"{_BARE}"|'{_BARE}')"""
_INLINE_NAMES = rf" +\[ *((?:{_QUOTABLE}(?: *, *{_QUOTABLE})*+)?) *\] *\n"
_BLOCK_NAMES = rf"\n(( *)- +{_QUOTABLE} *\n(?:\3- +{_QUOTABLE} *\n)*+)"
_AFTER = re.compile(rf"created_after:(?:{_INLINE_NAMES}|{_BLOCK_NAMES}){_END}")
_NAME = re.compile(_BARE)


def quick(text: bytes, kind: Kind = KINDS["chunk"]) -> tuple[str, tuple[str, ...]] | None:
    """Status and created_after of a document whose head is plain; None: use `read`.

    What is returned is what `read` finds; problems in other fields are not looked for.
    """
    end = text.find(b"\n---\n", 3, 64 * 1024)
    if end < 0 or not text.startswith(b"---\n"):
        return None
    block = text[3 : end + 1]  # with the line feed before the first field
    try:
        head = block.decode()
    except UnicodeDecodeError:
        return None
    if (block.translate(None, _ASCII) and _ODD.search(head)) or not _PLAIN.fullmatch(head, 1):
        return None
    status = _STATUS.match(head, head.find("\nstatus:") + 1)
    if status is None or status[1] not in kind.statuses or head.count("\nstatus:") > 1:
        return None
    said = head.count("\ncreated_after:")
    if not said:
        return status[1], ()
    after = _AFTER.match(head, head.find("\ncreated_after:") + 1)
    if after is None or said > 1:
        return None
    names = _NAME.findall(after[1] or after[2] or "")
    if any(len(name) > MAX_LENGTH for name in names):
        return None
    return status[1], tuple(dict.fromkeys(names))
