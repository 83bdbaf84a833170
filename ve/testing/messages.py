"""The Messages API, as Anthropic's clients speak it."""

from __future__ import annotations

import json
import math
import time
import uuid
from typing import Any

from ve.testing.request import Called, Item, Request, Returned, Said, Tool, pieces, role_of, text_of
from ve.testing.turns import Refusal, Turn

PATH = "/messages"

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
STOPS = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens"}


def read(body: dict[str, Any]) -> Request:
    """The request in our words."""
    items: list[Item] = []
    if system := text_of(body.get("system") or ""):
        items.append(Said("system", system))
    for message in body.get("messages") or ():
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
        items.extend(item for block in blocks if (item := _item(message.get("role"), block)) is not None)
    tools = tuple(
        Tool(tool.get("name", ""), tool.get("input_schema") or {}, kind=tool.get("type") or "function")
        for tool in body.get("tools") or ()
    )
    return Request("messages", body.get("model") or "", bool(body.get("stream")), tools, tuple(items))


def _item(role: Any, block: dict[str, Any]) -> Item | None:
    match block.get("type"):
        case "text":
            return Said(role_of(role), block.get("text") or "")
        case "tool_use":
            return Called(block.get("id", ""), block.get("name", ""), block.get("input"))
        case "tool_result":
            text = text_of(block.get("content") or "")
            return Returned(block.get("tool_use_id", ""), text, bool(block.get("is_error")))
    return None


def whole(request: Request, turn: Turn) -> dict[str, Any]:
    """The reply to a request without `stream`."""
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    for use in turn.uses:
        named, _ = request.resolve(use)
        id = use.id or f"toolu_{uuid.uuid4().hex[:20]}"
        content.append({"type": "tool_use", "id": id, "name": named.name, "input": use.input})
    stop = turn.stop or ("tools" if turn.uses else "end")
    usage = turn.usage
    return {
        "id": f"msg_{uuid.uuid4().hex[:20]}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": STOPS.get(stop, stop),
        "stop_sequence": None,
        "usage": {
            "input_tokens": max(0, usage.input - usage.cached),
            "cache_read_input_tokens": usage.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": usage.output,
        },
    }


def frames(request: Request, turn: Turn) -> list[bytes]:
    """The reply to a request with `stream`."""
    message = whole(request, turn)
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    start = _frame("message_start", message=begun)
    if turn.stream_error:
        return [start, _frame("error", error=_error(turn.stream_error, "the stream failed by the script"))]
    made = [start]
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            head: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": part} for part in pieces(block["text"])]
        else:
            head = {**block, "input": {}}
            parts = pieces(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
        made.append(_frame("content_block_start", index=index, content_block=head))
        made.extend(_frame("content_block_delta", index=index, delta=delta) for delta in deltas)
        made.append(_frame("content_block_stop", index=index))
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    made.append(_frame("message_delta", delta=stop, usage={"output_tokens": usage["output_tokens"]}))
    made.append(_frame("message_stop"))
    return made


def refused(refusal: Refusal) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers of a refusal."""
    kind = refusal.kind or KINDS.get(refusal.status, "api_error")
    headers = {"request-id": f"req_{uuid.uuid4().hex[:20]}"}
    if kind == "usage_limit_reached":  # OpenAI's word; here it is a rate limit with these headers
        kind = "rate_limit_error"
        headers["anthropic-ratelimit-unified-status"] = "rejected"
        headers["anthropic-ratelimit-unified-representative-claim"] = "five_hour"
    if refusal.resets_in_s:
        headers["retry-after"] = str(math.ceil(refusal.resets_in_s))
        headers["anthropic-ratelimit-unified-reset"] = str(math.ceil(time.time() + refusal.resets_in_s))
    return {"type": "error", "error": _error(kind, refusal.message)}, headers


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "message": message}


def _frame(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()
