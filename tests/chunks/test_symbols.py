"""Which names a source file defines, for each language; `Outer::inner` is what stands in what."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ve.chunks.symbols import SUFFIXES, grammar_missing, outline, symbols

PYTHON = b"""
import os
VERSION: str = "1"
a, (b, *c) = 1, (2, 3)
first = second = None
async def fetch():
    local = 1
    def helper(): ...
if os.name == "posix":
    def here(): ...
else:
    try:
        class Fallback: ...
    except ImportError:
        LATE = 1
    finally:
        with open("x") as f:
            class Inside: ...
for _ in range(3):
    match VERSION:
        case "1":
            def matched(): ...
class Store(dict):
    limit = 10
    size: int
    class Entry:
        key = ""
    def __init__(self, path):
        self.path = path
        if path:
            self.found: bool = True
        other.path2 = 1
    if True:
        def conditional(self): ...
Store.added = 1
"""


def test_python_definitions_count_at_any_depth_and_assignments_outside_of_functions() -> None:
    assert symbols("store.py", PYTHON) == {
        *("VERSION", "a", "b", "c", "first", "second", "fetch", "fetch::helper", "here", "Fallback"),
        *("LATE", "Inside", "matched", "Store", "Store::limit", "Store::size", "Store::Entry"),
        *("Store::Entry::key", "Store::__init__", "Store::path", "Store::found", "Store::conditional"),
        "Store::added",
    }


def test_python_in_another_encoding_is_read_by_its_cookie_and_its_mark() -> None:
    assert symbols("a.py", "# coding: latin-1\ngröße = 1\n".encode("latin-1")) == {"größe"}
    assert symbols("a.py", b"\xef\xbb\xbfx = 1\n") == {"x"}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"def f(:\n    pass\n", "line 1"),
        (b"x = 1\0\n", "null byte"),
        (b"x = " + b"-" * 100_000 + b"1\n", "nested too deeply"),
        (b"# coding: no-such-code\n", "no-such-code"),
    ],
)
def test_python_that_does_not_parse_is_scanned_by_its_lines_and_says_so(broken: bytes, reason: str) -> None:
    lines = (
        b"class Store:\n    limit = 1\n    async def get(self):\n        local = 1\nlast = 2\nprint 'old'\n"
    )
    found = outline("store.py", broken + lines)
    assert found is not None
    assert found.names >= {"Store", "Store::limit", "Store::get", "last"}
    assert "Store::get::local" not in found.names
    assert "does not parse as Python" in found.problem
    assert reason in found.problem


def test_a_warning_about_an_escape_is_neither_printed_nor_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    found = outline("a.py", b"x = '\\d'\n")
    assert found == ({"x"}, "")
    assert capfd.readouterr().err == ""


def test_typescript_classes_interfaces_enums_types_namespaces_and_functions_in_variables() -> None:
    source = b"""
    export class Store<T> { #items = new Map(); constructor(private readonly log: Log) { this.size = 0 }
      get(key: string): T { const local = 1; function helper() {} return helper() } }
    export abstract class Base { abstract run(): void }
    interface Shape { area(): number; side: number }
    enum Color { Red, Green = 2 }
    type Id = string
    namespace Geo { export const PI = 3 }
    export const add = (a: number) => { const local = 1; const inner = () => a }
    const { a, b: c, ...rest } = load(), [d] = load()
    """
    assert symbols("store.ts", source) == {
        *("Store", "Store::#items", "Store::constructor", "Store::log", "Store::size", "Store::get"),
        *("Store::get::helper", "Base", "Base::run", "Shape", "Shape::area", "Shape::side", "Color"),
        *("Color::Red", "Color::Green", "Id", "Geo", "Geo::PI", "add", "add::inner", "a", "c", "rest", "d"),
    }


def test_tsx_and_jsx_components() -> None:
    assert symbols("view.tsx", b"export const View = ({ x }: P) => <div>{x}</div>") == {"View"}
    assert symbols("view.jsx", b"export function View() { return <div /> }") == {"View"}


def test_javascript_exports_prototypes_and_methods_of_objects() -> None:
    source = b"""
    class Queue { state = 1; handle = () => { this.last = 2 } }
    exports.parse = function () { const local = 1 }
    Queue.prototype.push = function () {}
    module.exports = { one, two() {} }
    const routes = { home: { path: "/" }, go() {}, other: call({ hidden: 1 }) }
    describe("x", () => { const local = 1 })
    """
    assert symbols("queue.js", source) == {
        *("Queue", "Queue::state", "Queue::handle", "Queue::last", "parse", "Queue::push", "one", "two"),
        *("routes", "routes::home", "routes::home::path", "routes::go", "routes::other"),
    }


def test_rust_methods_stand_under_the_type_of_their_impl_block() -> None:
    source = b"""
    pub struct Writer<W> { inner: W }
    impl<W: Write> Writer<W> { pub const MAX: usize = 1; pub fn fsync(&self) { fn nested() {} let x = 1; } }
    impl<W> Drop for Writer<W> { fn drop(&mut self) {} }
    impl fmt::Display for super::Thing { fn fmt(&self) {} }
    pub trait Sink { type Out; fn put(&self); fn flush(&self) {} }
    enum Kind { A, B }
    static S: u8 = 1; type T = u8; macro_rules! say { () => {} }
    mod tests { #[test] fn works() {} }
    """
    assert symbols("writer.rs", source) == {
        *("Writer", "Writer::inner", "Writer::MAX", "Writer::fsync", "Writer::fsync::nested", "Writer::drop"),
        *("Thing::fmt", "Sink", "Sink::Out", "Sink::put", "Sink::flush", "Kind", "Kind::A", "Kind::B"),
        *("S", "T", "say", "tests", "tests::works"),
    }


def test_go_methods_stand_under_the_type_of_their_receiver() -> None:
    source = b"""package main
    type Server struct { addr string; a, b int }
    func (s *Server) Run() error { var local int; return nil }
    func (l List[T]) Push(v T) {}
    type Reader interface { Read(p []byte) int }
    const ( A = iota; B )
    var c, d = 1, 2
    func main() {}
    """
    assert symbols("main.go", source) == {
        *("Server", "Server::addr", "Server::a", "Server::b", "Server::Run", "List::Push", "Reader"),
        *("Reader::Read", "A", "B", "c", "d", "main"),
    }


def test_java_classes_records_enums_fields_and_constructors() -> None:
    source = b"""class Outer<T> { private int n, m = 1; Outer() { int local; } void run() { }
      static class Inner { void go() {} } enum Color { RED } interface I { int C = 1; void f(); }
      record P(int x) { } @interface An { int v() default 1; } }"""
    names = ("n", "m", "Outer", "run", "Inner", "Inner::go", "Color", "Color::RED", "I", "I::C", "I::f", "P")
    assert symbols("Outer.java", source) == {
        "Outer",
        *(f"Outer::{name}" for name in (*names, "An", "An::v")),
    }


def test_c_functions_structs_enums_typedefs_macros_and_globals() -> None:
    source = b"""
    #define MAX 10
    #define SQ(x) ((x)*(x))
    struct point { int x, *y; };
    typedef struct { int w; } box_t;
    typedef int (*handler)(void);
    enum color { RED };
    static int counter = 0, table[10];
    extern int proto(int a);
    int *make(int n) { int local; struct other used; return 0; }
    """
    assert symbols("point.c", source) == {
        *("MAX", "SQ", "point", "point::x", "point::y", "box_t", "box_t::w", "handler", "color"),
        *("color::RED", "RED", "counter", "table", "proto", "make"),
    }


def test_cpp_classes_in_namespaces_and_methods_defined_outside_also_in_a_header() -> None:
    source = b"""namespace app { class Foo { public: Foo(); ~Foo(); int n = 1; }; }
    void app::Foo::run() const {}
    template <typename T> T& Box<T>::get() {}
    """
    expected = {"app", *(f"app::Foo{rest}" for rest in ("", "::Foo", "::~Foo", "::n", "::run")), "Box::get"}
    assert symbols("foo.cpp", source) == expected
    assert symbols("foo.h", source) == expected


def test_a_script_without_a_suffix_is_known_by_its_first_line() -> None:
    assert symbols("bin/tool", b"#!/usr/bin/env python3\ndef main(): ...\n") == {"main"}


def test_a_language_that_is_not_known_has_no_answer() -> None:
    assert symbols("notes.md", b"# Title") is None
    assert symbols(".py", b"x = 1") is None
    assert grammar_missing("notes.md") == ""


def test_without_the_grammar_there_is_no_answer_but_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ve.chunks.symbols import grammars

    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    grammars._grammar.cache_clear()
    try:
        assert symbols("main.go", b"package main") is None
        assert grammar_missing("main.go") == "symbols"
        assert symbols("main.rs", b"fn main() {}") == {"main"}
    finally:
        grammars._grammar.cache_clear()


@pytest.mark.parametrize("suffix", [".ts", ".go", ".c", ".rs", ".js"])
def test_brackets_by_the_hundred_thousand_are_given_up_on(suffix: str) -> None:
    found = outline(f"deep{suffix}", b"{[" * 200_000)
    assert found is not None
    assert "nested too deeply" in found.problem


_WORDS = st.sampled_from(
    (
        *("class", "def", "fn", "func", "struct", "enum", "impl", "for", "trait", "mod", "type", "const"),
        *("let", "var", "static", "int", "typedef", "#define", "interface", "namespace", "export", "a", "b"),
        *("A", "B", "1", "::", "#", "//", '"', "'", "`", "\n", "\t", "\0", "\xff", *"(){}[]<>:;,=*&."),
    )
)
_SOURCES = st.binary(max_size=200) | st.lists(_WORDS, max_size=60).map(
    lambda words: " ".join(words).encode("latin-1")
)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
@settings(max_examples=30, deadline=None)
@given(source=_SOURCES)
def test_no_bytes_make_it_raise(suffix: str, source: bytes) -> None:
    found = outline(f"file{suffix}", source)
    assert found is not None
    assert all(name and "" not in name.split("::") for name in found.names)
