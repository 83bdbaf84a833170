"""The Chat Completions API, which most providers and clients besides the two big ones speak."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ve.testing import responses
from ve.testing.request import Called, Item, Request, Returned, Said, Tool, pieces, role_of, text_of
from ve.testing.turns import Refusal, Turn

PATH = "/chat/completions"

STOPS = {"end": "stop", "tools": "tool_calls", "refusal": "content_filter"}


def read(body: dict[str, Any]) -> Request:
    """The request in our words."""
    items = tuple(item for message in body.get("messages") or () for item in _items(message))
    tools = []
    for entry in body.get("tools") or ():
        function = entry.get("function") or {}
        tools.append(Tool(function.get("name", ""), function.get("parameters") or {}))
    return Request("chat", body.get("model") or "", bool(body.get("stream")), tuple(tools), items)


def _items(message: dict[str, Any]) -> Iterator[Item]:
    text = text_of(message.get("content") or "")
    if message.get("role") == "tool":
        yield Returned(message.get("tool_call_id", ""), text)
        return
    if text:
        yield Said(role_of(message.get("role")), text)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except ValueError:
            arguments = function.get("arguments")
        yield Called(call.get("id", ""), function.get("name", ""), arguments)


def whole(request: Request, turn: Turn) -> dict[str, Any]:
    """The reply to a request without `stream`."""
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.uses:
        message["tool_calls"] = _calls(request, turn)
    choice = {"index": 0, "message": message, "finish_reason": _stop(turn), "logprobs": None}
    return {**_head(request, "chat.completion"), "choices": [choice], "usage": _usage(turn)}


def frames(request: Request, turn: Turn) -> list[bytes]:
    """The reply to a request with `stream`."""
    head = _head(request, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _frame({**head, "choices": [choice], **fields})

    made = [chunk({"role": "assistant", "content": ""})]
    if turn.stream_error:
        error = {"message": "the stream failed by the script", "type": turn.stream_error}
        return [*made, _frame({"error": {**error, "param": None, "code": turn.stream_error}})]
    made += [chunk({"content": piece}) for piece in pieces(turn.text)]
    for index, call in enumerate(_calls(request, turn)):
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        made.append(chunk({"tool_calls": [{"index": index, **begun}]}))
        for piece in pieces(call["function"]["arguments"]):
            made.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
    # Usage comes with the last choice and not in a chunk of its own: clients read it in both places.
    made.append(chunk({}, _stop(turn), usage=_usage(turn)))
    made.append(b"data: [DONE]\n\n")
    return made


def _calls(request: Request, turn: Turn) -> list[dict[str, Any]]:
    return [
        {
            "id": use.id or f"call_{uuid.uuid4().hex[:20]}",
            "type": "function",
            "function": {"name": request.resolve(use)[0].name, "arguments": json.dumps(use.input)},
        }
        for use in turn.uses
    ]


def _stop(turn: Turn) -> str:
    stop = turn.stop or ("tools" if turn.uses else "end")
    return STOPS.get(stop, stop)


def _head(request: Request, object: str) -> dict[str, Any]:
    made = int(time.time())
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": object, "created": made, "model": request.model}


def _usage(turn: Turn) -> dict[str, Any]:
    usage = turn.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def refused(refusal: Refusal) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers of a refusal; the same as in the Responses API."""
    return responses.refused(refusal)


def _frame(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()
