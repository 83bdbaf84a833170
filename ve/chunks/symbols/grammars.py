"""What a file of another language defines, through the tree-sitter grammar of that language.

Rule: a language is a table of rows and no code. One walk over the tree with a cursor, in time that
grows with the file (a query does not: it can take minutes for half a megabyte of brackets), and never
up from a node to its parent, which costs the depth each time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from ve.chunks.symbols.tables import (
    ASSIGNED,
    CONSTANT,
    EXTENDS,
    FUNCTION,
    HOLDER,
    MEMBER,
    NAMES,
    PROPERTY,
    SCOPE,
    TABLES,
    VALUE,
    Role,
    Row,
)

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, TreeCursor

_NAMES = frozenset(
    (
        "identifier",
        "field_identifier",
        "type_identifier",
        "namespace_identifier",
        "package_identifier",
        "primitive_type",
        "sized_type_specifier",
    )
)
LONGEST = 2000
"""Names below a longer one are left out: their sum would grow with the square of the depth."""
SECONDS = 2.0
"""How long one file may take. Real files take milliseconds; a tree that is only depth takes minutes."""
DEEPEST = 5000
"""How many brackets may be open at once: the parser runs out of its thread's stack at some 100,000."""
TOO_DEEP = "is nested too deeply to parse"
TOO_LONG = "takes too long to parse"
_OFTEN = 5000
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"()[]{}")
_CALLABLE = frozenset(("arrow_function", "function_expression", "generator_function"))
_BINDINGS = frozenset(("identifier", "shorthand_property_identifier_pattern"))
_WRAPPERS = frozenset(("as_expression", "satisfies_expression", "parenthesized_expression"))
_OUTER_OBJECTS = frozenset(("module", "exports", "window", "globalThis", "self", "global"))
_CPP_LINE = re.compile(rb"^[ \t]*(?:class|namespace|template|using)\b", re.MULTILINE)
_GENERICS = re.compile(r"<[^<>]*>")
_SPACE = re.compile(r"\s+")


class _Grammar(NamedTuple):
    parser: Parser
    rows: dict[int, Row]  # by the number that the grammar gives a node's type


class _Frame(NamedTuple):
    end: int
    prefix: str
    in_function: bool
    holder: str  # prefix of the class around, for what its methods set on `this`
    node: int


def installed(language: str) -> bool:
    """Whether the grammar of `language` can be used here."""
    return _grammar(language) is not None


def read(language: str, source: bytes) -> tuple[frozenset[str], str] | None:
    """The names, and what kept the file from being read whole; None without the grammar. Never raises."""
    grammar = _grammar(language)
    if grammar is None:
        return None
    names, problem = _names(grammar, source)
    if language == "C" and (problem or _CPP_LINE.search(source)):
        # `.h` is the suffix of C++ too, and C's grammar takes `class X {…}` for a function named X.
        other = _grammar("C++")
        if other is not None:
            in_other, still = _names(other, source)
            names, problem = (names | in_other, problem) if still else (in_other, "")
    return names, problem


@cache
def _grammar(language: str) -> _Grammar | None:
    table = TABLES.get(language)
    if table is None:
        return None
    try:
        import tree_sitter

        module = import_module(table.module)
        tongue = tree_sitter.Language(getattr(module, table.function)())
    except (ImportError, AttributeError, ValueError):
        # ValueError: a grammar that was built for another tree-sitter than the one installed.
        return None
    numbers = {kind: tongue.id_for_node_kind(kind, True) for kind in table.rows}
    rows = {number: table.rows[kind] for kind, number in numbers.items() if number}
    return _Grammar(tree_sitter.Parser(tongue), rows)


def _names(grammar: _Grammar, source: bytes) -> tuple[frozenset[str], str]:
    """The names, and what is wrong with the file: "" for nothing."""
    if _depth(source) > DEEPEST:
        return frozenset(), TOO_DEEP
    end_time = monotonic() + SECONDS
    tree = grammar.parser.parse(source)
    cursor, rows = tree.walk(), grammar.rows
    found: set[str] = set()
    frames = [_Frame(len(source) + 1, "", False, "", -1)]
    above: list[Node] = []
    for count in itertools.count(1):
        node = cursor.node
        if node is None:
            break
        row = rows.get(node.kind_id)
        if row is not None:
            while frames[-1].end <= node.start_byte:
                frames.pop()
            frames.append(_enter(node, row, above, frames[-1], found))
        if cursor.goto_first_child():
            above.append(node)
        elif not _onwards(cursor, above):
            break
        if not count % _OFTEN and monotonic() > end_time:
            return frozenset(found), TOO_LONG
    return frozenset(found), "does not parse in places" if tree.root_node.has_error else ""


def _depth(source: bytes) -> int:
    """How deep brackets are open; looked at in detail only where there are many of them."""
    if sum(map(source.count, (b"(", b"[", b"{"))) <= DEEPEST:
        return 0
    brackets = source.translate(None, _NOT_BRACKETS)
    return max(itertools.accumulate(1 if byte in b"([{" else -1 for byte in brackets))


def _onwards(cursor: TreeCursor, above: list[Node]) -> bool:
    """To the next node that does not stand in this one; False at the end of the tree."""
    while not cursor.goto_next_sibling():
        if not cursor.goto_parent():
            return False
        above.pop()
    return True


def _enter(node: Node, row: Row, above: list[Node], outer: _Frame, found: set[str]) -> _Frame:
    """Add what the node defines to `found`; the frame for what stands in it."""
    role = row.role
    inside = outer._replace(end=node.end_byte)
    if len(outer.prefix) > LONGEST:
        return inside
    if role == SCOPE or _is_function(node, role):
        inside = inside._replace(in_function=True, node=node.id)
    names = [name for name in _NAMED[row.how](node, row.field, above) if all(name.split("::"))]
    if role == SCOPE:
        return inside
    if role == EXTENDS:
        prefix = f"{outer.prefix}{names[0]}::" if names else outer.prefix
        return inside._replace(prefix=prefix, node=node.id)
    if role == ASSIGNED:
        return _assigned(node, names, inside, outer, found)
    if role == MEMBER:
        found.update(outer.holder + name for name in names if outer.holder)
        return inside
    local = role in (VALUE, NAMES) and outer.in_function and inside.node != node.id
    if not names or local or (role == PROPERTY and not _belongs(above, outer)):
        return inside
    found.update(outer.prefix + name for name in names)
    if role == CONSTANT:
        around = outer.prefix[: outer.prefix.rfind("::", 0, -2) + 2] if outer.prefix.count("::") > 1 else ""
        found.update(around + name for name in names)
    if role == NAMES:
        return inside
    prefix = f"{outer.prefix}{names[0]}::"
    holder = prefix if role == HOLDER or not outer.holder else outer.holder
    return inside._replace(prefix=prefix, holder=holder, node=node.id)


def _is_function(node: Node, role: Role) -> bool:
    if role == FUNCTION:
        return True
    value = node.child_by_field_name("value") if role == VALUE else None
    return value is not None and value.type in _CALLABLE


def _assigned(node: Node, names: list[str], inside: _Frame, outer: _Frame, found: set[str]) -> _Frame:
    """`exports.x = …`, `A.prototype.x = …`, and `this.x = …` in a method of a class."""
    parts = [part for part in names[0].split(".") if part != "prototype"] if names else []
    while parts and parts[0] in _OUTER_OBJECTS:
        parts.pop(0)
    if len(parts) == 2 and parts[0] == "this" and outer.holder:
        found.add(outer.holder + parts[1])
    elif parts and parts[0] != "this" and not outer.in_function and all(map(_plain, parts)):
        name = "::".join(parts)
        found.add(outer.prefix + name)
        return inside._replace(prefix=f"{outer.prefix}{name}::", node=node.id)
    return inside._replace(node=node.id) if names and not parts else inside


def _plain(part: str) -> bool:
    return part.replace("$", "_").isidentifier()


def _belongs(above: list[Node], outer: _Frame) -> bool:
    """Whether the object that holds this property is the very value of what is around."""
    at = len(above) - 2
    while at > 0 and above[at].type in _WRAPPERS:
        at -= 1
    return at >= 0 and above[at].id == outer.node


def _text(node: Node) -> str:
    text = (node.text or b"").decode("utf-8", "replace")
    return text[1:-1] if len(text) > 1 and text[0] in "\"'" and text[-1] == text[0] else text


def _by_field(node: Node, field: str, above: list[Node]) -> list[str]:
    return [_text(child) for child in node.children_by_field_name(field) if child.is_named]


def _whole(node: Node, field: str, above: list[Node]) -> list[str]:
    return [_SPACE.sub("", _text(node))]


def _innermost(node: Node, field: str, above: list[Node]) -> list[str]:
    """The names that declarators wrap: pointers, arrays, parentheses, arguments, first values."""
    found = []
    for child in node.children_by_field_name(field):
        inner: Node | None = child
        while inner is not None and inner.type.endswith("declarator"):
            inner = inner.child_by_field_name("declarator") or _last(inner)
        if inner is not None:
            found.append(_bare(_text(inner)).removeprefix("::"))
    return found


def _last(node: Node) -> Node | None:
    return node.named_child(node.named_child_count - 1) if node.named_child_count else None


def _bare(text: str) -> str:
    """`Box<T>::get` as `Box::get`; an operator keeps its signs."""
    if "operator" not in text:
        while (shorter := _GENERICS.sub("", text)) != text:
            text = shorter
    return _SPACE.sub("", text)


def _tagged(node: Node, field: str, above: list[Node]) -> list[str]:
    """A struct's own name, else the name that the typedef or the variable around gives it."""
    if node.child_by_field_name("body") is None:
        return []  # used here, not defined
    named = _by_field(node, field, above)
    if named or not above:
        return [_bare(name) for name in named]
    return _innermost(above[-1], "declarator", above)


def _type_of(node: Node, field: str, above: list[Node]) -> list[str]:
    """The name of the type in `field`, without its arguments, pointers and modules."""
    for child in node.children_by_field_name(field):
        name = _type_name(child)
        if name:
            return [name]
    return []


def _type_name(node: Node) -> str:
    for _ in range(20):
        if node.type in _NAMES:
            return _text(node)
        inner = node.child_by_field_name("type") or node.child_by_field_name("name")
        if inner is None:
            inner = next((child for child in node.named_children if child.type != "lifetime"), None)
        if inner is None:
            return ""
        node = inner
    return ""


def _method(node: Node, field: str, above: list[Node]) -> list[str]:
    """Go: a method stands under the type of its receiver."""
    names = _by_field(node, field, above)
    receiver = node.child_by_field_name("receiver")
    parameters = receiver.named_children if receiver is not None else []
    types = [name for parameter in parameters for name in _type_of(parameter, "type", above)]
    return ["::".join((*types[:1], *names))] if names else []


def _pattern(node: Node, field: str, above: list[Node]) -> list[str]:
    """The names that a destructuring binds: `{a, b: c, ...rest}`, `[d, e]`; one level deep and more."""
    found: list[str] = []
    pending = node.children_by_field_name(field)
    while pending:
        at = pending.pop()
        if at.type in _BINDINGS:
            found.append(_text(at))
        elif at.type == "pair_pattern":
            pending += at.children_by_field_name("value")
        elif at.type.endswith("assignment_pattern"):
            pending += at.children_by_field_name("left")
        elif at.type.endswith("pattern"):
            pending += at.named_children
    return found


def _path(node: Node, field: str, above: list[Node]) -> list[str]:
    left = node.child_by_field_name(field)
    return [_text(left)] if left is not None and left.type == "member_expression" else []


def _modified(node: Node, field: str, above: list[Node]) -> list[str]:
    """TypeScript: `constructor(private x: X)` makes a member of the class."""
    if not any(child.type in ("accessibility_modifier", "readonly") for child in node.children):
        return []
    return _by_field(node, field, above)


def _members(node: Node, field: str, above: list[Node]) -> list[str]:
    return [_text(child) for child in node.named_children if child.type in ("property_identifier", "string")]


_NAMED: dict[str, Callable[[Node, str, list[Node]], list[str]]] = {
    "field": _by_field,
    "whole": _whole,
    "innermost": _innermost,
    "tagged": _tagged,
    "type": _type_of,
    "method": _method,
    "pattern": _pattern,
    "path": _path,
    "modified": _modified,
    "members": _members,
}
