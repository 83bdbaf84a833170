"""The Responses API, as Codex and OpenAI's newer clients speak it."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ve.testing.request import Called, Item, Request, Returned, Said, Tool, pieces, role_of, text_of
from ve.testing.turns import Refusal, Turn, Use

PATH = "/responses"

KINDS = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_is_overloaded",
    529: "server_is_overloaded",
}


def read(body: dict[str, Any]) -> Request:
    """The request in our words."""
    items: list[Item] = []
    if instructions := body.get("instructions"):
        items.append(Said("system", text_of(instructions)))
    given = body.get("input") or ()
    if isinstance(given, str):
        items.append(Said("user", given))
        given = ()
    items.extend(item for entry in given if (item := _item(entry)) is not None)
    tools = tuple(tool for entry in body.get("tools") or () for tool in _tools(entry))
    return Request("responses", body.get("model") or "", bool(body.get("stream")), tools, tuple(items))


def _tools(entry: dict[str, Any], namespace: str = "") -> Iterator[Tool]:
    kind = entry.get("type") or "function"
    if kind == "namespace":
        for inner in entry.get("tools") or ():
            yield from _tools(inner, entry.get("name") or "")
    else:
        yield Tool(entry.get("name") or kind, entry.get("parameters") or {}, namespace, kind)


def _item(entry: dict[str, Any]) -> Item | None:
    kind = entry.get("type") or "message"
    if kind == "message":
        return Said(role_of(entry.get("role")), text_of(entry.get("content") or ""))
    id = entry.get("call_id") or entry.get("id") or ""
    if kind == "function_call":
        try:
            arguments = json.loads(entry.get("arguments") or "{}")
        except ValueError:
            arguments = entry.get("arguments")
        return Called(id, entry.get("name", ""), arguments)
    if kind == "custom_tool_call":
        return Called(id, entry.get("name", ""), entry.get("input"))
    if kind == "local_shell_call":
        return Called(id, "local_shell", entry.get("action"))
    if kind.endswith("_call_output"):
        return Returned(id, text_of(entry.get("output") or ""))
    return None


def whole(request: Request, turn: Turn) -> dict[str, Any]:
    """The reply to a request without `stream`."""
    output = [_message(turn.text)] if turn.text or not turn.uses else []
    output += [_call(request, use) for use in turn.uses]
    usage = turn.usage
    response = _response(request, "completed", output)
    response["usage"] = {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
    if turn.stop == "length":
        response |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    elif turn.stop == "refusal":
        response |= {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    elif turn.stop not in ("", "end", "tools"):
        response |= {"status": "incomplete", "incomplete_details": {"reason": turn.stop}}
    return response


def frames(request: Request, turn: Turn) -> list[bytes]:
    """The reply to a request with `stream`."""
    response = whole(request, turn)
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    made: list[tuple[str, dict[str, Any]]] = [("response.created", {"response": begun})]
    if turn.stream_error:
        error = {"code": turn.stream_error, "message": "the stream failed by the script"}
        made.append(("response.failed", {"response": {**begun, "status": "failed", "error": error}}))
    else:
        made.append(("response.in_progress", {"response": begun}))
        for index, item in enumerate(response["output"]):
            made.extend(_item_events(index, item))
        made.append((f"response.{response['status']}", {"response": response}))
    return [_frame(number, name, fields) for number, (name, fields) in enumerate(made)]


def _item_events(index: int, item: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    place = {"item_id": item["id"], "output_index": index}
    begun = {**item, "status": "in_progress"}
    if item["type"] == "message":
        part = item["content"][0]
        spot = {**place, "content_index": 0}
        yield "response.output_item.added", {"output_index": index, "item": {**begun, "content": []}}
        yield "response.content_part.added", {**spot, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield "response.output_text.delta", {**spot, "delta": piece}
        yield "response.output_text.done", {**spot, "text": part["text"]}
        yield "response.content_part.done", {**spot, "part": part}
    elif item["type"] == "function_call":
        yield "response.output_item.added", {"output_index": index, "item": {**begun, "arguments": ""}}
        for piece in pieces(item["arguments"]):
            yield "response.function_call_arguments.delta", {**place, "delta": piece}
        yield "response.function_call_arguments.done", {**place, "arguments": item["arguments"]}
    else:
        yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _response(request: Request, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": request.model,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def _message(text: str) -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_{uuid.uuid4().hex}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def _call(request: Request, use: Use) -> dict[str, Any]:
    named, tool = request.resolve(use)
    ids = {"call_id": use.id or f"call_{uuid.uuid4().hex[:20]}", "status": "completed"}
    if tool.kind == "local_shell":
        action = {"type": "exec", "env": {}, **use.input}
        return {"type": "local_shell_call", "id": f"lsh_{uuid.uuid4().hex}", "action": action, **ids}
    if tool.kind == "custom":
        text = str(use.input.get("input", ""))
        return {"type": "custom_tool_call", "id": f"ctc_{uuid.uuid4().hex}", "name": named.name,
                "input": text, **ids}  # fmt: skip
    call = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "name": named.name,
            "arguments": json.dumps(use.input), **ids}  # fmt: skip
    return {**call, "namespace": named.namespace} if named.namespace else call


def refused(refusal: Refusal) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and headers of a refusal."""
    kind = refusal.kind or KINDS.get(refusal.status, "server_error")
    error: dict[str, Any] = {"message": refusal.message, "type": kind, "param": None, "code": kind}
    headers = {"x-request-id": f"req_{uuid.uuid4().hex}"}
    if kind == "usage_limit_reached":
        error["plan_type"] = "plus"
    if refusal.resets_in_s:
        seconds = math.ceil(refusal.resets_in_s)
        headers["retry-after"] = str(seconds)
        error |= {"resets_in_seconds": seconds, "resets_at": math.ceil(time.time() + refusal.resets_in_s)}
    return {"error": error}, headers


def _frame(number: int, name: str, fields: dict[str, Any]) -> bytes:
    data = json.dumps({"type": name, "sequence_number": number, **fields})
    return f"event: {name}\ndata: {data}\n\n".encode()
