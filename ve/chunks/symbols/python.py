"""What a Python file defines, through `ast`.

Rule: a definition counts at any depth of `if`, `try`, `with`, `for`, `while` and `match`; an assignment
counts at module and class level, and as an attribute when a method sets it on its first argument. A
file that does not parse is scanned by lines, and that is said.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import NamedTuple

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
LONGEST = 2000
"""Names below a longer one are left out: their sum would grow with the square of the depth."""

_LINE = re.compile(
    r"(?P<indent>[ \t\f]*)(?:"
    r"(?:async[ \t]+)?(?P<function>def)[ \t]+(?P<f>\w+)|class[ \t]+(?P<c>\w+)|type[ \t]+(?P<t>\w+)[ \t]*[\[=]"
    r"|(?P<v>\w+)[ \t]*(?::[^=\n]+)?=(?!=))"
)
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


class _Scope(NamedTuple):
    prefix: str
    in_function: bool
    owner: str  # prefix of the class whose method this is, "" elsewhere
    first: str  # the method's first argument


def read(source: bytes) -> tuple[frozenset[str], str]:
    """The names, and why `ast` could not read the file ("" when it could). Never raises."""
    try:
        # A warning about an escape would be printed amid our output, or be an error under -W error.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError) as error:
        return _scan(source), f"does not parse as Python ({_reason(error)}): only its lines were scanned"
    return _walk(tree), ""


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        place = f", line {error.lineno}" if error.lineno else ""
        return f"{error.msg}{place}"
    return "nested too deeply" if isinstance(error, RecursionError | MemoryError) else str(error)


def _walk(tree: ast.Module) -> frozenset[str]:
    """Over a stack of its own: a chain of `elif` nests deeper than calls may."""
    found: set[str] = set()
    stack: list[tuple[list[ast.stmt], _Scope]] = [(tree.body, _Scope("", False, "", ""))]
    while stack:
        body, scope = stack.pop()
        for node in body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    _assign(target, scope, found)
            elif isinstance(node, ast.AnnAssign):
                _assign(node.target, scope, found)
            elif len(scope.prefix) > LONGEST:
                continue
            elif isinstance(node, _FUNCTIONS):
                found.add(scope.prefix + node.name)
                stack.append((node.body, _inside(node, scope)))
            elif isinstance(node, ast.ClassDef):
                found.add(scope.prefix + node.name)
                stack.append((node.body, _Scope(f"{scope.prefix}{node.name}::", False, "", "")))
            elif isinstance(node, ast.stmt) and hasattr(node, "type_params"):  # `type X = …`
                _assign(node.name, scope, found)  # type: ignore[attr-defined]
            else:
                _blocks(node, scope, stack)
    return frozenset(found)


def _blocks(node: ast.AST, scope: _Scope, stack: list[tuple[list[ast.stmt], _Scope]]) -> None:
    for field in _BLOCKS:
        inner = getattr(node, field, None)
        if isinstance(inner, list) and inner:
            stack.append((inner, scope))


def _inside(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope) -> _Scope:
    arguments = [*node.args.posonlyargs, *node.args.args]
    is_method = bool(scope.prefix) and not scope.in_function
    owner = scope.prefix if is_method and arguments else ""
    return _Scope(f"{scope.prefix}{node.name}::", True, owner, arguments[0].arg if owner else "")


def _assign(target: ast.expr, scope: _Scope, found: set[str]) -> None:
    if isinstance(target, ast.Name):
        if not scope.in_function:
            found.add(scope.prefix + target.id)
    elif isinstance(target, ast.Attribute):
        _attribute(target, scope, found)
    elif isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            _assign(element, scope, found)
    elif isinstance(target, ast.Starred):
        _assign(target.value, scope, found)


def _attribute(target: ast.Attribute, scope: _Scope, found: set[str]) -> None:
    if not isinstance(target.value, ast.Name):
        return
    if scope.owner and target.value.id == scope.first:
        found.add(scope.owner + target.attr)
    elif not scope.in_function:
        found.add(f"{scope.prefix}{target.value.id}::{target.attr}")


def _scan(source: bytes) -> frozenset[str]:
    """The names on lines with `def`, `class`, `type` or an assignment, nested by their indentation."""
    encoding = next((name for bom, name in _BOMS.items() if source.startswith(bom)), "utf-8")
    found: set[str] = set()
    outer: list[tuple[int, str, bool]] = []  # indentation, prefix, is a function
    for line in source.decode(encoding, "replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        indent = len(match["indent"].expandtabs())
        while outer and outer[-1][0] >= indent:
            outer.pop()
        _, prefix, in_function = outer[-1] if outer else (0, "", False)
        if value := match["v"] or match["t"]:
            if not in_function:
                found.add(prefix + value)
            continue
        name = prefix + (match["f"] or match["c"])
        found.add(name)
        if len(name) > LONGEST:
            continue
        outer.append((indent, f"{name}::", match["function"] is not None))
    return frozenset(found)
