"""Transitions, snapshots and cursors as bytes: one encoding for every socket and for the history.

A transition's frame is also its row in the history, so what a client saw and what SQL says cannot
differ. Frames travel as JSON arrays; see docs/reference/feed.md for their fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from ve.errors import InvalidInput
from ve.unit import Frozen
from ve.views import BoardView, Transition, UnitView, board_view, view


class TransitionFrame(Frozen, frozen=True, kw_only=True):
    """One transition as clients and the history see it."""

    type: Literal["transition"] = "transition"
    cursor: str
    seq: int
    epoch: str
    at: datetime
    command: str
    actor: str
    why: str
    origin: str | None = msgspec.field(name="from")
    detail: object
    key: str | None
    key_hash: str | None
    unit: UnitView | None
    board: BoardView | None


class SnapshotFrame(Frozen, frozen=True, kw_only=True):
    """Everything as it is at `cursor`; what follows continues exactly there."""

    type: Literal["snapshot"] = "snapshot"
    cursor: str
    units: tuple[UnitView, ...]
    board: BoardView


class DurableFrame(Frozen, frozen=True, kw_only=True):
    """Everything up to `cursor` is on disk."""

    type: Literal["durable"] = "durable"
    cursor: str


class ResyncFrame(Frozen, frozen=True, kw_only=True):
    """This client lost the thread (see `reason`); a snapshot follows at once."""

    type: Literal["resync"] = "resync"
    reason: str


encoder = msgspec.json.Encoder()
_last: tuple[Transition | None, bytes] = (None, b"")


def frame(transition: Transition) -> bytes:
    """The bytes of a transition; ledger and feed ask within one turn and share one encoding."""
    global _last
    if _last[0] is transition:
        return _last[1]
    unit, board = transition.unit, transition.board
    text = encoder.encode(
        TransitionFrame(
            cursor=transition.cursor,
            seq=transition.seq,
            epoch=transition.epoch,
            at=transition.at,
            command=transition.command,
            actor=transition.actor,
            why=transition.why,
            origin=transition.origin,
            detail=transition.detail,
            key=transition.key,
            key_hash=transition.key_hash,
            unit=view(unit) if unit is not None else None,
            board=board_view(board, transition.slots_used) if board is not None else None,
        )
    )
    _last = (transition, text)
    return text


def join(frames: Iterable[bytes]) -> bytes:
    """Several frames as one message."""
    return b"[" + b",".join(frames) + b"]"


def parse_cursor(text: str) -> tuple[str, int]:
    """(epoch, seq) of a cursor. Raises InvalidInput."""
    epoch, dot, seq = text.rpartition(".")
    if not dot or not epoch or not seq.isdecimal() or len(seq) > 18:
        raise InvalidInput(
            f"{text!r} is no cursor", hint="A cursor looks like EPOCH.SEQ, as a frame gave it."
        )
    return epoch, int(seq)
