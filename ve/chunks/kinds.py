"""The five kinds of documents: what they hold, as types, and every field's documentation.

Rule: the reader (`typed`), the writer's order of fields (`edit`) and the reference pages are all
made from the tables here, so a field that is not here does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

ChunkStatus = Literal["FUTURE", "IMPLEMENTING", "ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE"]
BugType = Literal["semantic", "implementation"]
Relationship = Literal["implements", "uses"]
Scope = Literal["full", "partial"]
NarrativeStatus = Literal["DRAFTING", "ACTIVE", "COMPLETED"]
InvestigationStatus = Literal["ONGOING", "SOLVED", "NOTED", "DEFERRED"]
SubsystemStatus = Literal["DISCOVERING", "DOCUMENTED", "REFACTORING", "STABLE", "DEPRECATED"]
KindName = Literal["chunk", "narrative", "investigation", "subsystem", "friction"]

Form = Literal["word", "text", "name", "entry", "flag", "texts", "names", "items"]
"""How a value is written: one of fixed words, a text, a folder's name, a friction entry's id, true
or false, a list of texts, a list of folder names, a list of items with fields of their own."""


class CodeReference(Struct, frozen=True, kw_only=True):
    """A place in the code and what it does for the document."""

    ref: str
    implements: str = ""
    compliance: str = ""


class SubsystemLink(Struct, frozen=True, kw_only=True):
    """A subsystem that a chunk builds or builds on."""

    subsystem_id: str
    relationship: Relationship


class FrictionLink(Struct, frozen=True, kw_only=True):
    """A friction entry that a chunk answers, wholly or in part."""

    entry_id: str
    scope: Scope = "full"


class ProposedChunk(Struct, frozen=True, kw_only=True):
    """Work that was proposed; `chunk_directory` once it has become a chunk."""

    prompt: str
    chunk_directory: str | None = None
    depends_on: tuple[str, ...] | None = None
    addresses: tuple[str, ...] = ()


class ChunkLink(Struct, frozen=True, kw_only=True):
    """A chunk that builds a subsystem or builds on it."""

    chunk_id: str
    relationship: Relationship


class Theme(Struct, frozen=True, kw_only=True):
    """A group of friction entries."""

    id: str
    name: str


class Chunk(Struct, frozen=True, kw_only=True):
    """The head of a chunk's GOAL.md."""

    status: ChunkStatus
    ticket: str | None = None
    parent_chunk: str | None = None
    code_paths: tuple[str, ...] = ()
    code_references: tuple[CodeReference, ...] = ()
    narrative: str | None = None
    investigation: str | None = None
    subsystems: tuple[SubsystemLink, ...] = ()
    friction_entries: tuple[FrictionLink, ...] = ()
    bug_type: BugType | None = None
    depends_on: tuple[str, ...] | None = None
    """None: not said, so dependencies are unknown. Empty: said to be independent."""
    created_after: tuple[str, ...] = ()
    background: bool = False


class Narrative(Struct, frozen=True, kw_only=True):
    """The head of a narrative's OVERVIEW.md."""

    status: NarrativeStatus
    advances_trunk_goal: str | None = None
    chunks: tuple[ProposedChunk, ...] = ()
    proposed_chunks: tuple[ProposedChunk, ...] = ()
    created_after: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[ProposedChunk, ...]:
        """The work of both eras' fields, in the order written."""
        return self.chunks + self.proposed_chunks


class Investigation(Struct, frozen=True, kw_only=True):
    """The head of an investigation's OVERVIEW.md."""

    status: InvestigationStatus
    trigger: str | None = None
    proposed_chunks: tuple[ProposedChunk, ...] = ()
    created_after: tuple[str, ...] = ()


class Subsystem(Struct, frozen=True, kw_only=True):
    """The head of a subsystem's OVERVIEW.md."""

    status: SubsystemStatus
    chunks: tuple[ChunkLink, ...] = ()
    code_references: tuple[CodeReference, ...] = ()
    created_after: tuple[str, ...] = ()


class Friction(Struct, frozen=True, kw_only=True):
    """The head of FRICTION.md; the entries themselves are headings in its text."""

    themes: tuple[Theme, ...] = ()
    proposed_chunks: tuple[ProposedChunk, ...] = ()


Document = Chunk | Narrative | Investigation | Subsystem | Friction


class FieldDoc(Struct, frozen=True, kw_only=True):
    """One field, as the reader and the reference page know it."""

    name: str
    form: Form
    type: str
    """The type in words."""
    default: str = ""
    """The value when the field is absent, in words; empty: the field is required."""
    writer: str
    """Who writes it."""
    meaning: str
    example: str
    """A value as it stands in a document, in YAML."""
    allowed: tuple[str, ...] = ()
    parts: tuple[FieldDoc, ...] = ()
    """The fields of each item of a list."""
    make: Callable[..., Any] | None = None
    """The type of each item of a list."""

    @property
    def required(self) -> bool:
        return not self.default


class Kind(Struct, frozen=True, kw_only=True):
    """One kind of document: where it is and what it holds."""

    name: KindName
    folder: str
    document: str
    type: type[Document]
    fields: tuple[FieldDoc, ...]
    about: str

    @property
    def statuses(self) -> tuple[str, ...]:
        """The allowed statuses; none for a kind without a status."""
        return next((field.allowed for field in self.fields if field.name == "status"), ())

    def path(self, name: str = "") -> str:
        """The document's path in the repository; the friction log is one file and has no name."""
        return f"{self.folder}/{name}/{self.document}" if name else f"{self.folder}/{self.document}"


_AGENT = "The agent"
_CREATE = "`ve chunk create`"
_BOTH = "A person or an agent"


def _status(allowed: tuple[str, ...], writer: str, meaning: str) -> FieldDoc:
    return FieldDoc(
        name="status", form="word", type="one word", writer=writer, meaning=meaning,
        example=allowed[0], allowed=allowed,
    )  # fmt: skip


_CREATED_AFTER = FieldDoc(
    name="created_after", form="names", type="list of names", default="an empty list",
    writer="The command that creates the document",
    meaning="What had shipped and had no successor when this was created. It is the order in which work came "
    "about, never a list of what must be done first.",
    example='["auth_refactor", "api_cleanup"]',
)  # fmt: skip

_REFERENCE_PARTS = (
    FieldDoc(
        name="ref", form="text", type="text", writer=_AGENT,
        meaning="`path`, `path#symbol` or `path#outer::inner`; before it `org/repository::` for another one.",
        example="src/writer.rs#SegmentWriter::fsync",
    ),
    FieldDoc(
        name="implements", form="text", type="text", default="empty, with a warning", writer=_AGENT,
        meaning="What this place does for the document.", example='"Durability guarantees"',
    ),
    FieldDoc(
        name="compliance", form="text", type="text", default="empty", writer=_AGENT,
        meaning="How far this place follows the subsystem's rules; met in subsystems.", example="COMPLIANT",
    ),
)  # fmt: skip
_REFERENCES = FieldDoc(
    name="code_references", form="items", type="list of items", default="an empty list", writer=_AGENT,
    meaning="The places in the code that this is about, by symbol: filled after the work, then checked.",
    example='\n  - ref: src/writer.rs#SegmentWriter::fsync\n    implements: "Durability guarantees"',
    parts=_REFERENCE_PARTS, make=CodeReference,
)  # fmt: skip
_RELATIONSHIP = FieldDoc(
    name="relationship", form="word", type="one word", writer=_BOTH,
    meaning="Whether the chunk builds a part of the subsystem or only needs it.",
    example="implements", allowed=get_args(Relationship),
)  # fmt: skip
_PROPOSED_PARTS = (
    FieldDoc(
        name="prompt", form="text", type="text", writer=_BOTH,
        meaning="What the chunk is to do.", example='"Parse the head without guesses"',
    ),
    FieldDoc(
        name="chunk_directory", form="name", type="a chunk's name, or null", default="null", writer=_CREATE,
        meaning="The chunk that came of it.", example="head_parser",
    ),
    FieldDoc(
        name="depends_on", form="texts", type="list, or null", default="unknown", writer=_BOTH,
        meaning="The items of this list that come first, by position from 0 or by name.", example="[0]",
    ),
    FieldDoc(
        name="addresses", form="texts", type="list of friction entries", default="an empty list",
        writer=_BOTH, meaning="The friction entries that it answers.", example="[F001]",
    ),
)  # fmt: skip


def _proposed(name: str, meaning: str) -> FieldDoc:
    return FieldDoc(
        name=name, form="items", type="list of items", default="an empty list",
        writer=f"{_BOTH}; {_CREATE} fills in the chunk's name", meaning=meaning,
        example='\n  - prompt: "Parse the head without guesses"\n    chunk_directory: null',
        parts=_PROPOSED_PARTS, make=ProposedChunk,
    )  # fmt: skip


_CHUNK_FIELDS = (
    _status(
        get_args(ChunkStatus),
        "The commands of a chunk's life and the orchestrator, never by hand",
        "FUTURE: queued. IMPLEMENTING: being worked on. ACTIVE: it describes what the code does. "
        "SUPERSEDED: another chunk changed that code. HISTORICAL: kept to know how things came about. "
        "COMPOSITE: met in later documents, read as final.",
    ),
    FieldDoc(
        name="ticket", form="text", type="text, or null", default="null", writer=_CREATE,
        meaning="The ticket that asked for it.", example="VE-12",
    ),
    FieldDoc(
        name="parent_chunk", form="name", type="a chunk's name, or null", default="null", writer=_BOTH,
        meaning="The chunk that this corrects or changes; null for new work.",
        example="006-segment-compaction",
    ),
    FieldDoc(
        name="code_paths", form="texts", type="list of paths", default="an empty list", writer=_AGENT,
        meaning="The files that the plan expects to create or to change.",
        example='["src/segment/writer.rs", "src/segment/format.rs"]',
    ),
    _REFERENCES,
    FieldDoc(
        name="narrative", form="name", type="a narrative's name, or null", default="null", writer=_CREATE,
        meaning="The narrative that this is a part of; the narrative names the chunk in turn.",
        example="better_heads",
    ),
    FieldDoc(
        name="investigation", form="name", type="an investigation's name, or null", default="null",
        writer=_CREATE,
        meaning="The investigation that proposed it; the investigation names the chunk in turn.",
        example="memory_leak",
    ),
    FieldDoc(
        name="subsystems", form="items", type="list of items", default="an empty list", writer=_AGENT,
        meaning="The subsystems that it builds or builds on.",
        example='\n  - subsystem_id: "0001-validation"\n    relationship: implements',
        parts=(
            FieldDoc(
                name="subsystem_id", form="name", type="a subsystem's name", writer=_AGENT,
                meaning="The subsystem's folder.", example='"0001-validation"',
            ),
            _RELATIONSHIP,
        ),
        make=SubsystemLink,
    ),
    FieldDoc(
        name="friction_entries", form="items", type="list of items", default="an empty list", writer=_BOTH,
        meaning="The entries of the friction log that it answers; resolved when the chunk is completed.",
        example="\n  - entry_id: F001\n    scope: full",
        parts=(
            FieldDoc(
                name="entry_id", form="entry", type="F and digits", writer=_BOTH,
                meaning="The entry's id.", example="F001",
            ),
            FieldDoc(
                name="scope", form="word", type="one word", default="full", writer=_BOTH,
                meaning="Whether the entry is answered wholly.", example="full", allowed=get_args(Scope),
            ),
        ),
        make=FrictionLink,
    ),
    FieldDoc(
        name="bug_type", form="word", type="one word, or null", default="null", writer=_BOTH,
        meaning="For the repair of a mistake. semantic: what was meant was wrong; references are required "
        "and it ends ACTIVE. implementation: the code did not do what was meant; references may be left out "
        "and it ends HISTORICAL. null for all other work.",
        example="semantic", allowed=get_args(BugType),
    ),
    FieldDoc(
        name="depends_on", form="names", type="list of chunks, or null", default="unknown", writer=_BOTH,
        meaning="The chunks that must be done first. An empty list says that there are none; absent or null "
        "says that nobody has looked.",
        example="[head_parser]",
    ),
    _CREATED_AFTER,
    FieldDoc(
        name="background", form="flag", type="true or false", default="false",
        writer="`ve chunk create` with `--background`",
        meaning="Made without a person's eye on it: a person approves it before work on it begins.",
        example="true",
    ),
)  # fmt: skip

_NARRATIVE_FIELDS = (
    _status(
        get_args(NarrativeStatus), "The commands",
        "DRAFTING: being written. ACTIVE: its chunks are being worked on. COMPLETED: all of them are done.",
    ),
    FieldDoc(
        name="advances_trunk_goal", form="text", type="text, or null", default="null", writer=_BOTH,
        meaning="The goal of the project that it serves.", example='"Documents are checked like code"',
    ),
    _proposed("chunks", "The work that it consists of."),
    _proposed("proposed_chunks", "The same under another name, met in later documents."),
    _CREATED_AFTER,
)  # fmt: skip
_INVESTIGATION_FIELDS = (
    _status(
        get_args(InvestigationStatus), "The commands",
        "ONGOING: being looked into. SOLVED: it led to work. NOTED: known, nothing to do. DEFERRED: put off.",
    ),
    FieldDoc(
        name="trigger", form="text", type="text, or null", default="null", writer=_BOTH,
        meaning="What made somebody look.", example='"The daemon grows by 1 MB an hour"',
    ),
    _proposed("proposed_chunks", "The work that it led to."),
    _CREATED_AFTER,
)  # fmt: skip
_SUBSYSTEM_FIELDS = (
    _status(
        get_args(SubsystemStatus), "The commands",
        "DISCOVERING: being written down. DOCUMENTED: described as it is. REFACTORING: being brought to what "
        "is described. STABLE: it is as described. DEPRECATED: nothing new should build on it.",
    ),
    FieldDoc(
        name="chunks", form="items", type="list of items", default="an empty list",
        writer="`ve chunk complete`", meaning="The chunks that build it or build on it.",
        example="\n  - chunk_id: head_parser\n    relationship: implements",
        parts=(
            FieldDoc(
                name="chunk_id", form="name", type="a chunk's name", writer="`ve chunk complete`",
                meaning="The chunk's folder.", example="head_parser",
            ),
            _RELATIONSHIP,
        ),
        make=ChunkLink,
    ),
    _REFERENCES,
    _CREATED_AFTER,
)  # fmt: skip
_FRICTION_FIELDS = (
    FieldDoc(
        name="themes", form="items", type="list of items", default="an empty list", writer=_BOTH,
        meaning="The groups that entries belong to.",
        example='\n  - id: cli\n    name: "The command line"',
        parts=(
            FieldDoc(
                name="id", form="text", type="text", writer=_BOTH,
                meaning="The short name that entries use.", example="cli",
            ),
            FieldDoc(
                name="name", form="text", type="text", writer=_BOTH,
                meaning="The name to show.", example='"The command line"',
            ),
        ),
        make=Theme,
    ),
    _proposed("proposed_chunks", "The work that entries led to."),
)  # fmt: skip

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="chunk", folder="docs/chunks", document="GOAL.md", type=Chunk, fields=_CHUNK_FIELDS,
            about="A piece of work that one agent can do in one go; beside it, PLAN.md says how.",
        ),
        Kind(
            name="narrative", folder="docs/narratives", document="OVERVIEW.md", type=Narrative,
            fields=_NARRATIVE_FIELDS, about="A goal that takes several chunks.",
        ),
        Kind(
            name="investigation", folder="docs/investigations", document="OVERVIEW.md", type=Investigation,
            fields=_INVESTIGATION_FIELDS, about="A question, what was found, and the work that it led to.",
        ),
        Kind(
            name="subsystem", folder="docs/subsystems", document="OVERVIEW.md", type=Subsystem,
            fields=_SUBSYSTEM_FIELDS, about="A part of the code with rules of its own.",
        ),
        Kind(
            name="friction", folder="docs/trunk", document="FRICTION.md", type=Friction,
            fields=_FRICTION_FIELDS,
            about="What gets in people's way: one file, each entry a heading such as `### F001: title`.",
        ),
    )
}  # fmt: skip


def kind_of(path: str) -> Kind:
    """The kind of the document at a path; a chunk where the path does not tell."""
    parts = path.replace("\\", "/")
    for kind in KINDS.values():
        if f"{kind.folder}/" in f"/{parts}" and parts.endswith(kind.document):
            return kind
    return KINDS["chunk"]
