"""References from documents to code: their form, whether they resolve, and where they point now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ve.chunks.references import Code, Reference, back_references, parse_reference, resolve
from ve.errors import InvalidInput

FILES = {
    "src/store.py": b"class Store:\n    def get(self): ...\n    def put(self): ...\ndef open_store(): ...\n",
    "src/cache.py": b"class Cache:\n    def evict(self): ...\n",
    "src/app/__init__.py": b"",
    "src/writer.rs": b"struct Writer; impl Writer { fn fsync(&self) {} }",
    "web/board.ts": b"export class Board { draw() {} }",
    "web/view.tsx": b"export const View = () => <div />",
    "docs/notes.md": b"# Notes\n",
    "data.bin": b"\0\1\2",
    "broken.py": b"def f(:\nclass Half:\n    def there(self): ...\n",
}


@pytest.fixture
def code(tmp_path: Path) -> Code:
    root = tmp_path / "repository"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    subprocess.run(["git", "init", "-q", root], check=True)
    (tmp_path / "secret.py").write_text("def key(): ...\n")
    (root / "leaving.py").symlink_to("../secret.py")
    (root / "within.py").symlink_to("src/store.py")
    return Code(root)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("src/a.py", Reference("", "src/a.py", ())),
        ("src/a.py#A::b", Reference("", "src/a.py", ("A", "b"))),
        ("org/repo::src/a.py#A", Reference("org/repo", "src/a.py", ("A",))),
        ("a.ts#A::#hidden", Reference("", "a.ts", ("A", "#hidden"))),
    ],
)
def test_a_reference_is_a_path_with_perhaps_a_repository_and_a_symbol(text: str, parts: Reference) -> None:
    assert parse_reference(text) == parts
    assert str(parts) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("#A", "the path is empty"),
        ("a.py#", "a part of the symbol is empty"),
        ("a.py#A::", "a part of the symbol is empty"),
        ("/etc/passwd", "absolute"),
        ("C:/a.py", "absolute"),
        ("../secret.py", "`..`"),
        ("src/../../secret.py#key", "`..`"),
        ("src\\store.py", "backslash"),
        ("src//store.py", "empty part"),
        ("./src/store.py", "`.`"),
        (".git/config", "git's own folder"),
        (" src/store.py", "a space"),
        ("a\0b", "cannot be printed"),
        ("repo::a.py", "org/repo"),
    ],
)
def test_another_form_is_refused_with_the_reason_and_never_read(text: str, reason: str, code: Code) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert reason in caught.value.what
    assert "path[#symbol" in caught.value.hint
    refused = resolve(text, code)
    assert not refused.ok
    assert reason in refused.reason


@pytest.mark.parametrize(
    "reference",
    [
        *("src/store.py", "src/store.py#Store", "src/store.py#Store::get", "src/writer.rs#Writer::fsync"),
        *("src", "src/", "docs/notes.md", "data.bin", "within.py#Store", "web/view.tsx#View"),
    ],
)
def test_files_folders_and_symbols_that_are_there_resolve(reference: str, code: Code) -> None:
    assert resolve(reference, code) == (True, "", "", True)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("org/repo::src/a.py#A", "another repository"),
        ("docs/notes.md#Title", ".md"),
        ("data.bin#x", "is not text"),
    ],
)
def test_what_cannot_be_checked_is_accepted_and_says_so(reference: str, reason: str, code: Code) -> None:
    found = resolve(reference, code)
    assert (found.ok, found.checked) == (True, False)
    assert reason in found.reason


def test_a_file_above_two_megabytes_is_not_parsed(code: Code) -> None:
    (code.root / "huge.py").write_bytes(b"x = 1\n" * 400_000)
    found = resolve("huge.py#y", code)
    assert (found.ok, found.checked) == (True, False)
    assert "larger than 2 MB" in found.reason


def test_without_the_grammar_the_reason_says_what_to_install(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ve.chunks.symbols import grammars

    monkeypatch.setitem(sys.modules, "tree_sitter_rust", None)
    grammars._grammar.cache_clear()
    try:
        found = resolve("src/writer.rs#Gone", code)
    finally:
        grammars._grammar.cache_clear()
    assert (found.ok, found.checked) == (True, False)
    assert "pip install 've-orch[symbols]'" in found.reason


def test_a_link_that_leaves_the_repository_is_refused(code: Code) -> None:
    (code.root / "up").symlink_to("..")
    for reference in ("leaving.py#key", "up/secret.py", "up/secret.py#key"):
        found = resolve(reference, code)
        assert not found.ok
        assert "symbolic link" in found.reason


def test_what_is_neither_file_nor_folder_is_not_opened(code: Code) -> None:
    os.mkfifo(code.root / "pipe.py")
    assert not resolve("pipe.py#x", code).ok


@pytest.mark.parametrize(
    ("reference", "suggestion"),
    [
        # moved to another file of the same language
        ("src/store.py#Cache::evict", "src/cache.py#Cache::evict"),
        ("old/place.py#Cache", "src/cache.py#Cache"),
        ("web/old.ts#View", "web/view.tsx#View"),
        # renamed, or nested elsewhere, in the same file
        ("src/store.py#Store::gett", "src/store.py#Store::get"),
        ("src/store.py#Shop::put", "src/store.py#Store::put"),
        ("src/store.py#put", "src/store.py#Store::put"),
        ("src/store.py#openstore", "src/store.py#open_store"),
        # the file moved or was renamed
        ("lib/store.py", "src/store.py"),
        ("src/stores.py", "src/store.py"),
        ("SRC/Store.py#Store", "src/store.py#Store"),
        ("lib/app/__init__.py", "src/app/__init__.py"),
        # written in another way
        ("src/store.py#Store.get", "src/store.py#Store::get"),
        ("src/store.py#Store::get()", "src/store.py#Store::get"),
        ("src/store.py::Store::get", "src/store.py#Store::get"),
        ("./src/store.py#Store", "src/store.py#Store"),
        ("src\\store.py", "src/store.py"),
        ("src#Store", "src"),
    ],
)
def test_a_reference_that_does_not_resolve_comes_with_the_likely_new_place(
    reference: str, suggestion: str, code: Code
) -> None:
    found = resolve(reference, code)
    assert not found.ok
    assert found.reason
    assert found.suggestion == suggestion
    assert resolve(suggestion, code).ok


@pytest.mark.parametrize("reference", ["src/store.py#Utterly::different", "zzz/qqq.py#Unheard", "nowhere"])
def test_nothing_is_suggested_where_nothing_is_alike(reference: str, code: Code) -> None:
    found = resolve(reference, code)
    assert (found.ok, found.suggestion, found.checked) == (False, "", True)


def test_a_package_file_is_no_evidence_without_its_folder(code: Code) -> None:
    assert resolve("lib/other/__init__.py", code).suggestion == ""


def test_line_numbers_are_explained(code: Code) -> None:
    assert "names a symbol, not lines" in resolve("src/store.py#L10-L20", code).reason


def test_a_file_that_does_not_parse_is_told_in_either_answer(code: Code) -> None:
    there, gone = resolve("broken.py#Half::there", code), resolve("broken.py#Quux", code)
    assert there.ok
    assert not gone.ok
    assert "does not parse as Python" in there.reason
    assert "does not parse as Python" in gone.reason


def test_files_are_those_that_git_knows_or_would_add_and_without_git_all(code: Code, tmp_path: Path) -> None:
    (code.root / ".gitignore").write_text("made/\n")
    (code.root / "made").mkdir()
    (code.root / "made" / "out.py").write_text("def made_up(): ...\n")
    assert "src/store.py" in code.files
    assert "made/out.py" not in code.files
    assert resolve("src/store.py#made_up", code).suggestion == ""
    bare = tmp_path / "no-git"
    (bare / "node_modules").mkdir(parents=True)
    (bare / "a.py").write_text("")
    (bare / "node_modules" / "b.js").write_text("")
    assert Code(bare).files == ("a.py",)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.text(alphabet="a.py/#:sr\\ STORE", max_size=20))
@example(text="\ud800#\udfff")
@example(text="a" * 5000)
@example(text="src/store.py/x")
def test_no_text_makes_it_raise(text: str, code: Code) -> None:
    found = resolve(text, code)
    assert found.ok or found.reason
    assert not found.suggestion or resolve(found.suggestion, code).ok


def test_comments_that_name_a_document_are_found_with_line_kind_and_name() -> None:
    source = b"""# Chunk: docs/chunks/parser - why it is so
class A:
    # Subsystem: docs/subsystems/0001-validation - the rules
    x = 1  # Chunk: docs/chunks/behind - code does not count
    #Chunk: docs/chunks/close
    # Chunk: elsewhere/parser
    # Narrative: docs/narratives/story/OVERVIEW.md
"""
    assert back_references("a.sh", source) == [
        (1, "chunk", "parser"),
        (3, "subsystem", "0001-validation"),
        (5, "chunk", "close"),
        (7, "narrative", "story"),
    ]
    other = b"\r\n\t// Chunk: docs/chunks/one\r\n/* Chunk: docs/chunks/two */\n * Chunk: docs/chunks/c.\n"
    assert back_references("a.c", other) == [(2, "chunk", "one"), (3, "chunk", "two"), (4, "chunk", "c")]


def test_a_comment_within_a_text_of_several_lines_is_none_in_python() -> None:
    source = b"""TEXT = '''
# Chunk: docs/chunks/within
'''  # it's
# Chunk: docs/chunks/real
"""
    assert back_references("a.py", source) == [(4, "chunk", "real")]


@settings(max_examples=100, deadline=None)
@given(source=st.binary())
def test_no_bytes_make_back_references_raise(source: bytes) -> None:
    assert isinstance(back_references("a.py", source + b"\n# Chunk: docs/chunks/x"), list)


def test_nothing_is_imported_before_a_file_of_its_language_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    script = """
import sys
from pathlib import Path
from ve.chunks.references import Code, resolve
assert not {"ast", "tree_sitter", "difflib", "yaml"} & set(sys.modules), "at import"
assert resolve("a.py#x", Code(Path(sys.argv[1]))).ok
assert "ast" in sys.modules and not {"tree_sitter", "difflib"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
