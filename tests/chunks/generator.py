"""Makes repositories of chunk documents: of any size, of every era of the format, with defects planted.

    python tests/chunks/generator.py DIR [--chunks 500] [--seed 0] [--defects all|none|KIND[=N],…] [--git]

The same arguments make the same bytes. Without defects a repository is valid: what its documents name is
there, links go both ways, references resolve. Every defect has documents of its own, and its place (path
and line) is returned, or printed by the program; the program ends by saying how to look at the result.

Eras, as they were met in repositories of this kind:
    0  numbered folders, references as files with ranges of lines, no created_after
    1  references by symbol, narratives, investigations, created_after
    2  bug_type, depends_on, friction entries, compliance
    3  COMPOSITE, background, keys that nobody knows
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ERAS = (0, 1, 2, 3)
WORDS = (
    "writer", "reader", "queue", "parser", "index", "cache", "board", "token", "lease", "socket", "editor",
    "filter", "router", "window", "lock", "journal", "digest", "header", "folder", "worker", "stream",
)  # fmt: skip
VERBS = (
    "add",
    "fix",
    "split",
    "move",
    "guard",
    "trace",
    "bound",
    "share",
    "retire",
    "order",
    "check",
    "drop",
)
STATUSES = (("ACTIVE", 55), ("HISTORICAL", 12), ("SUPERSEDED", 8), ("FUTURE", 25))
COMMENT = """<!--
╔══════════════════════════════════════════════════════════════════════════════╗
║  DO NOT DELETE THIS COMMENT BLOCK until the chunk complete command is run.   ║
╚══════════════════════════════════════════════════════════════════════════════╝

STATUS VALUES:
- FUTURE: This chunk is queued for future work and not yet being implemented
- IMPLEMENTING: This chunk is in the process of being implemented.

CODE_REFERENCES:
- Example:
  code_references:
    - ref: src/segment/writer.rs#SegmentWriter
      implements: "Core write loop and buffer management"

CREATED_AFTER:
- Lists the "tips" of the chunk DAG at creation time
- Example: created_after: ["auth_refactor", "api_cleanup"]
-->
"""
PYTHON = '''"""Module {n}."""

import os

LIMIT_{n} = {n}
try:
    import fast_{n} as engine_{n}
except ImportError:
    engine_{n} = None


class Service{n}:
    """Serves."""

    default: int = 1

    class Options:
        depth = 2

    def __init__(self) -> None:
        self.state = 0

    def run(self, count: int) -> int:
        # Chunk: docs/chunks/{chunk} - why it counts twice
        return count * 2

    async def stop(self) -> None:
        self.state = 1


if os.name == "posix":

    def helper_{n}(text: str) -> str:
        return text.strip()
'''
TYPESCRIPT = """// Chunk: docs/chunks/{chunk} - shown at once
export interface Shape{n} {{ size: number }}

export class Panel{n} {{
  private size = {n};
  draw(at: number): number {{ return this.size + at; }}
  static make(): Panel{n} {{ return new Panel{n}(); }}
}}

export function layout{n}(shapes: Shape{n}[]): number {{
  return shapes.length;
}}

export const GAP_{n} = 8;
"""


class Defect(NamedTuple):
    """What was planted, and where it has to be reported: by one of these rules."""

    kind: str
    path: str
    line: int
    rules: tuple[str, ...]


class Made(NamedTuple):
    """A repository that was made."""

    root: Path
    chunks: tuple[str, ...]
    documents: tuple[str, ...]
    defects: tuple[Defect, ...]
    references: int


class Draft:
    """A document on its way to the disk: its fields as lines, and how it is written."""

    def __init__(self, path: str, source: random.Random) -> None:
        self.path = path
        self.source = source
        self.fields: dict[str, list[str]] = {}
        self.body = "\n# Chunk Goal\n\n## Minor Goal\n\nSay it once, and say it well.\n"
        self.raw: bytes | None = None
        self.crlf = source.random() < 0.05
        self.bom = source.random() < 0.03
        self.commented = source.random() < 0.1

    def plain(self, name: str, value: str | None) -> None:
        """A field with one value, in quotes now and then."""
        quotes = self.source.choice(("", "", "", '"', "'")) if value else ""
        self.fields[name] = [f"{name}: {quotes}{value or 'null'}{quotes}"]

    def word(self, name: str, value: str) -> None:
        self.fields[name] = [f"{name}: {value}"]

    def texts(self, name: str, values: Sequence[str]) -> None:
        """A list, in brackets or as a block."""
        style = self.source.choice(("flow", "quoted", "block", "indented"))
        if not values:
            self.fields[name] = [f"{name}: []"]
        elif style in ("flow", "quoted"):
            mark = '"' if style == "quoted" else ""
            self.fields[name] = [f"{name}: [{', '.join(mark + value + mark for value in values)}]"]
        else:
            indent = "  " if style == "indented" else ""
            self.fields[name] = [f"{name}:", *(f"{indent}- {value}" for value in values)]

    def items(self, name: str, values: Sequence[Mapping[str, str]]) -> None:
        """A list of items with fields of their own."""
        if not values:
            self.fields[name] = [f"{name}: []"]
            return
        indent = self.source.choice(("", "  ", "    "))
        lines = [f"{name}:"]
        for value in values:
            for number, (key, text) in enumerate(value.items()):
                lines.append(f"{indent}{'  ' if number else '- '}{key}: {text}")
        self.fields[name] = lines

    def render(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = ["---"]
        for name, field in self.fields.items():
            if self.commented and name == "code_paths":
                lines.append("# filled in while planning — später geprüft")
            lines += field
        text = "\n".join([*lines, "---", ""]) + self.body
        if self.commented:
            text = text.rstrip("\n")
        if self.crlf:
            text = text.replace("\n", "\r\n")
        return ("\ufeff" if self.bom else "").encode() + text.encode("utf-8", "surrogateescape")

    def line(self, needle: str) -> int:
        """Where a text stands first; the first line for no text."""
        if not needle:
            return 1
        return 1 + self.render().split(needle.encode("utf-8", "surrogateescape"), 1)[0].count(b"\n")


class Maker:
    """One repository; `chunk` and its like draft documents, `write` puts them on disk."""

    def __init__(self, root: Path, seed: int, chunks: int, eras: Sequence[int]) -> None:
        self.root = root
        self.source = random.Random(seed)
        self.eras = eras
        self.drafts: dict[str, Draft] = {}
        self.files: dict[str, bytes] = {}
        self.plans: set[str] = set()
        self.status: dict[str, str] = {}
        self.number = 0
        self.references = 0
        self.defects: list[tuple[str, Draft | str, str, tuple[str, ...]]] = []
        self.symbols: list[str] = []
        self.parts: dict[str, list[tuple[str, str]]] = {}
        """Of each narrative, investigation and subsystem (by path): the chunks that it names."""
        self.friction = max(3, chunks // 10)
        self._others(chunks)
        self.code_files = max(4, chunks // 5)
        for number in range(self.code_files):
            self._symbols_of(number)

    def _others(self, chunks: int) -> None:
        for number in range(max(2, chunks // 25)):
            self.parts[f"docs/narratives/story_{number}/OVERVIEW.md"] = []
            self.parts[f"docs/investigations/question_{number}/OVERVIEW.md"] = []
        for number in range(max(2, chunks // 40)):
            name = f"{number:04}-area_{number}" if number % 2 else f"area_{number}"
            self.parts[f"docs/subsystems/{name}/OVERVIEW.md"] = []

    def _symbols_of(self, number: int) -> None:
        if number % 2:
            path = f"web/views/part_{number}.ts"
            names = (f"Panel{number}", f"Panel{number}::draw", f"layout{number}", f"Shape{number}")
        else:
            path = f"src/pkg_{number % 7}/mod_{number}.py"
            names = (
                f"Service{number}", f"Service{number}::run", f"Service{number}::Options::depth",
                f"helper_{number}", f"LIMIT_{number}",
            )  # fmt: skip
        self.symbols += [path, *(f"{path}#{name}" for name in names)]

    # ── Chunks ─────────────────────────────────────────────────────────────────────────────────────

    def name(self, era: int) -> str:
        """A name that nobody has; numbered in the first era."""
        self.number += 1
        words = f"{self.source.choice(VERBS)}_{self.source.choice(WORDS)}_{self.number}"
        return f"{self.number:04}-{words}" if era == 0 else words

    def chunk(self, status: str, after: Sequence[str], *, era: int | None = None, name: str = "") -> Draft:
        """A chunk as its era wrote it, and its plan; what it names is there."""
        source = self.source
        era = source.choice(self.eras) if era is None else era
        name = name or self.name(era)
        draft = Draft(f"docs/chunks/{name}/GOAL.md", source)
        self.drafts[draft.path] = draft
        self.status[name] = status
        self.plans.add(name)
        done = status not in ("FUTURE", "IMPLEMENTING")
        draft.word("status", status)
        draft.plain("ticket", source.choice((None, "VE-12", "0123", "no")))
        draft.plain("parent_chunk", source.choice(after) if after and source.random() < 0.2 else None)
        chosen = source.sample(self.symbols, source.randint(1, 4)) if done else []
        draft.texts("code_paths", list(dict.fromkeys(one.partition("#")[0] for one in chosen)))
        self._references(draft, era, chosen)
        if era:
            self._links(draft, era, name, status)
            draft.texts("created_after", after)
        if not done:
            draft.body = "\n" + COMMENT + draft.body
        if era == 3 and source.random() < 0.2:
            draft.word("background", "true" if status == "FUTURE" else "false")
        return draft

    def _references(self, draft: Draft, era: int, chosen: Sequence[str]) -> None:
        if era == 0 and chosen:
            draft.fields["code_references"] = ["code_references:"]
            for one in chosen:
                path = one.partition("#")[0]
                draft.fields["code_references"] += [
                    f"  - file: {path}", "    ranges:", "      - lines: 4-9", "        implements: a part",
                ]  # fmt: skip
            return
        self.references += len(chosen)
        extra = {"compliance": "COMPLIANT"} if era >= 2 and self.source.random() < 0.2 else {}
        draft.items(
            "code_references",
            [{"ref": one, "implements": '"What it does — kurz gesagt"'} | extra for one in chosen],
        )

    def _links(self, draft: Draft, era: int, name: str, status: str) -> None:
        source = self.source
        for kind in ("narrative", "investigation"):
            owner = self._owner(f"docs/{kind}s/", 0.3)
            draft.plain(kind, owner and owner.split("/")[2])
            if owner:
                self.parts[owner].append((name, ""))
        owner = self._owner("docs/subsystems/", 0.3)
        relationship = source.choice(("implements", "uses"))
        listed = []
        if owner:
            listed = [{"subsystem_id": f'"{owner.split("/")[2]}"', "relationship": relationship}]
            self.parts[owner].append((name, relationship))
        draft.items("subsystems", listed)
        if era >= 2:
            entries = source.sample(range(1, self.friction + 1), source.choice((0, 0, 1, 2)))
            draft.items(
                "friction_entries",
                [{"entry_id": f"F{n:03}", "scope": source.choice(("full", "partial"))} for n in entries],
            )
            fix = source.random() < 0.2
            draft.plain(
                "bug_type",
                {"ACTIVE": "semantic", "HISTORICAL": "implementation"}.get(status) if fix else None,
            )
            if source.random() < 0.5:
                draft.texts("depends_on", [])

    def _owner(self, folder: str, share: float) -> str | None:
        if self.source.random() >= share:
            return None
        return self.source.choice([path for path in self.parts if path.startswith(folder)])

    def history(self, count: int) -> None:
        """Chunks on the main line and on branches, which are merged with what was made on them.

        What a branch knows is which chunks it has and which of them have a successor on it.
        """
        branches: list[tuple[set[str], set[str]]] = [(set(), set())]
        for number in range(count):
            act = self.source.random()
            if act < 0.08 and len(branches) < 6:
                there, covered = self.source.choice(branches)
                branches.append((set(there), set(covered)))
            elif act < 0.16 and len(branches) > 1:
                there, covered = branches.pop(self.source.randrange(1, len(branches)))
                branches[0][0].update(there)
                branches[0][1].update(covered)
            there, covered = self.source.choice(branches)
            tips = sorted(name for name in there - covered if self.status[name] == "ACTIVE")
            era = self.eras[number * len(self.eras) // count]
            status = self.source.choices([one for one, _ in STATUSES], [weight for _, weight in STATUSES])[0]
            if era == 3 and self.source.random() < 0.05:
                status = "COMPOSITE"
            draft = self.chunk(status, tips, era=era)
            name = draft.path.split("/")[2]
            there.add(name)
            if status != "FUTURE" and era:
                covered.update(tips)

    # ── Everything else, and the disk ──────────────────────────────────────────────────────────────

    def plant(self, kind: str, where: Draft | str, needle: str, *rules: str) -> None:
        """Remember a defect: it has to be reported where `needle` stands first."""
        self.defects.append((kind, where, needle, rules))

    def write(self) -> Made:
        for path, named in self.parts.items():
            self.overview(path, named)
        entries = "".join(
            f"\n### F{n:03}: something in the way {n}\n\nIt took an hour.\n"
            for n in range(1, self.friction + 1)
        )
        head = "---\nthemes:\n  - id: speed\n    name: Speed\nproposed_chunks: []\n---\n\n# Friction\n"
        self.files["docs/trunk/FRICTION.md"] = (head + entries).encode()
        names = [name for name in self.status if f"docs/chunks/{name}/GOAL.md" in self.drafts]
        for number in range(self.code_files):
            chunk = names[number % len(names)]
            template, path = (
                (TYPESCRIPT, f"web/views/part_{number}.ts")
                if number % 2
                else (PYTHON, f"src/pkg_{number % 7}/mod_{number}.py")
            )
            self.files.setdefault(path, template.format(n=number, chunk=chunk).encode())
        for name in sorted(self.plans):
            plan = "# Implementation Plan\n\n## Approach\n\nIn one step, with its test.\n"
            self.files[f"docs/chunks/{name}/PLAN.md"] = plan.encode()
        for path, draft in self.drafts.items():
            self.files[path] = draft.render()
        for path, data in self.files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(data)
        found = [
            Defect(kind, where.path, where.line(needle), rules)
            if isinstance(where, Draft)
            else Defect(kind, where, self._line(where, needle), rules)
            for kind, where, needle, rules in self.defects
        ]
        documents = sorted(
            path for path in self.files if path.endswith(("GOAL.md", "OVERVIEW.md", "FRICTION.md"))
        )
        return Made(self.root, tuple(self.status), tuple(documents), tuple(found), self.references)

    def _line(self, path: str, needle: str) -> int:
        return 1 + self.files.get(path, b"").split(needle.encode(), 1)[0].count(b"\n") if needle else 1

    def overview(self, path: str, named: Iterable[tuple[str, str]]) -> None:
        kind, name = path.split("/")[1:3]
        draft = self.drafts[path] = Draft(path, self.source)
        draft.body = f"\n# {name}\n\nWhat it is about.\n"
        if kind == "subsystems":
            draft.word("status", self.source.choice(("DOCUMENTED", "STABLE", "REFACTORING")))
            draft.items("chunks", [{"chunk_id": chunk, "relationship": how} for chunk, how in named])
            draft.items("code_references", [])
        else:
            draft.word("status", "ACTIVE" if kind == "narratives" else "ONGOING")
            draft.plain("advances_trunk_goal" if kind == "narratives" else "trigger", None)
            listed = [{"prompt": f'"Make {chunk}"', "chunk_directory": chunk} for chunk, _ in named]
            old = kind == "narratives" and self.source.random() < 0.5
            draft.items("chunks" if old else "proposed_chunks", listed)
        draft.texts("created_after", [])


def make(
    root: Path,
    *,
    chunks: int = 500,
    seed: int = 0,
    defects: Mapping[str, int] | None = None,
    eras: Sequence[int] = ERAS,
    git: bool = False,
) -> Made:
    """A repository at `root`, a folder that is made; `defects` says how often each kind is planted.

    The chunks of defects count among `chunks`, as far as these suffice. Raises KeyError for a kind of
    defect that there is not.
    """
    from tests.chunks.defects import DEFECTS

    root.mkdir(parents=True, exist_ok=True)
    maker = Maker(root, seed, chunks, eras)
    planted: list[tuple[str, Callable[[Maker, str], None]]] = [
        (kind, DEFECTS[kind]) for kind, number in (defects or {}).items() for _ in range(number)
    ]
    maker.history(max(1, chunks - len(planted)))
    for kind, plant in planted:
        plant(maker, kind)
    made = maker.write()
    if git:
        told = ("-c", "user.name=generator", "-c", "user.email=generator@localhost", "-c", "gc.auto=0")
        for words in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-q", "-m", "documents")):
            subprocess.run(["git", *told, *words], cwd=root, check=True)
    return made


def wanted(text: str) -> dict[str, int]:
    """What `--defects` says: `all`, `none`, or kinds with how often."""
    from tests.chunks.defects import DEFECTS

    if text in ("all", "none"):
        return dict.fromkeys(DEFECTS, 1) if text == "all" else {}
    found = {}
    for part in text.split(","):
        kind, _, number = part.partition("=")
        if kind not in DEFECTS or not (number or "1").isdecimal():
            raise SystemExit(f"there is no defect {part!r}; there are: {', '.join(DEFECTS)}")
        found[kind] = int(number or "1")
    return found


def main() -> None:
    """Make one, and print a line for each defect."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--defects", default="all", help="all, none, or kinds as KIND or KIND=NUMBER, with commas"
    )
    parser.add_argument("--eras", default="0,1,2,3", help="which eras, with commas")
    parser.add_argument("--git", action="store_true", help="make it a git repository with one commit")
    said = parser.parse_args()
    eras = tuple(int(one) for one in said.eras.split(","))
    made = make(
        said.folder, chunks=said.chunks, seed=said.seed, defects=wanted(said.defects), eras=eras, git=said.git
    )
    for defect in made.defects:
        print(f"{defect.path}:{defect.line}: {defect.kind} ({' or '.join(defect.rules)})")
    print(f"{len(made.chunks)} chunks, {len(made.documents)} documents, {made.references} references")
    print(f"look at them: cd {said.folder} && ve chunk validate --all")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent.parent))
    from tests.chunks import generator  # as the defects know it: not a second time as __main__

    generator.main()
