"""A small client of the three APIs, for the tests: it keeps the conversation as real clients do."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PATHS = {"messages": "/v1/messages", "responses": "/v1/responses", "chat": "/v1/chat/completions"}
SHELL = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


@dataclass
class Call:
    """A tool call of the model."""

    id: str
    name: str
    input: Any
    namespace: str = ""


@dataclass
class Reply:
    """What came back: the text put together, the calls, why it stopped, the tokens read and written."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    stop: str = ""
    tokens: tuple[int, int] = (0, 0)


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, headers: dict[str, str], body: dict[str, Any]) -> None:
        super().__init__(status, body)
        self.status, self.headers, self.body = status, headers, body


@dataclass
class Answer:
    """A response, read to its end; `whole` is False where the connection ended before."""

    status: int
    headers: dict[str, str]
    raw: bytes
    whole: bool = True


def send(url: str, method: str, path: str, body: object = None, timeout: float = 5) -> Answer:
    """One request on a connection of its own. Raises OSError, http.client.HTTPException."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    try:
        connection.request(
            method, path, data, {"content-type": "application/json", "x-api-key": "secret-key"}
        )
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            try:
                return Answer(response.status, headers, response.read())
            except http.client.IncompleteRead as cut:
                return Answer(response.status, headers, cut.partial, whole=False)
    finally:
        connection.close()


def events(raw: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, data) of a whole stream of server-sent events; what is unfinished is none."""
    for block in raw.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        if fields["data"] != "[DONE]":
            yield fields.get("event", ""), json.loads(fields["data"])


class Conversation:
    """One conversation over one API, streaming or not."""

    def __init__(
        self, url: str, api: str, *, stream: bool = True, tools: tuple[str, ...] = ("shell",)
    ) -> None:
        self.url, self.api, self.stream, self.tools = url, api, stream, tools
        self.history: list[dict[str, Any]] = []

    def prompt(self, text: str) -> Reply:
        """Say something as the user."""
        self.history.append({"role": "user", "content": text})
        return self.ask()

    def result(self, call: Call, text: str, *, failed: bool = False) -> Reply:
        """Give a tool's result."""
        if self.api == "messages":
            block = {"type": "tool_result", "tool_use_id": call.id, "content": text, "is_error": failed}
            self.history.append({"role": "user", "content": [block]})
        elif self.api == "responses":
            self.history.append({"type": "function_call_output", "call_id": call.id, "output": text})
        else:
            self.history.append({"role": "tool", "tool_call_id": call.id, "content": text})
        return self.ask()

    def ask(self) -> Reply:
        """Send the conversation as it is. Raises Refused."""
        response = send(self.url, "POST", PATHS[self.api], self.body())
        if response.status != 200:
            raise Refused(response.status, response.headers, json.loads(response.raw))
        if self.stream:
            assert response.headers["content-type"] == "text/event-stream"
            reply = getattr(self, f"_{self.api}_stream")(events(response.raw))
        else:
            reply = getattr(self, f"_{self.api}")(json.loads(response.raw))
        self._remember(reply)
        return reply

    def body(self) -> dict[str, Any]:
        """The request's body."""
        key = "input" if self.api == "responses" else "messages"
        return {"model": "m", "stream": self.stream, key: self.history, "tools": self._offers()}

    def _offers(self) -> list[dict[str, Any]]:
        if self.api == "messages":
            return [{"name": name, "input_schema": SHELL} for name in self.tools]
        if self.api == "chat":
            functions = [{"name": name, "parameters": SHELL} for name in self.tools]
            return [{"type": "function", "function": one} for one in functions]
        plain = [{"type": "function", "name": name, "parameters": SHELL} for name in self.tools]
        mine = [tool for tool in plain if tool["name"][0].isupper()]
        rest = [tool for tool in plain if tool not in mine]
        return [*rest, {"type": "namespace", "name": "mcp__ve", "tools": mine}] if mine else rest

    def _remember(self, reply: Reply) -> None:
        if self.api == "messages":
            blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
            blocks += [
                {"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in reply.calls
            ]
            self.history.append({"role": "assistant", "content": blocks})
        elif self.api == "chat":
            calls = [
                {"id": c.id, "function": {"name": c.name, "arguments": json.dumps(c.input)}}
                for c in reply.calls
            ]
            self.history.append({"role": "assistant", "content": reply.text, "tool_calls": calls})
        else:
            if reply.text:
                parts = [{"type": "output_text", "text": reply.text}]
                self.history.append({"type": "message", "role": "assistant", "content": parts})
            for c in reply.calls:
                arguments = json.dumps(c.input)
                self.history.append(
                    {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": arguments}
                )

    # Each API, whole and as a stream.

    def _messages(self, body: dict[str, Any]) -> Reply:
        reply = Reply(stop=body["stop_reason"])
        reply.tokens = (_read(body["usage"]), body["usage"]["output_tokens"])
        for block in body["content"]:
            if block["type"] == "text":
                reply.text += block["text"]
            else:
                reply.calls.append(Call(block["id"], block["name"], block["input"]))
        return reply

    def _messages_stream(self, stream: Iterator[tuple[str, dict[str, Any]]]) -> Reply:
        reply, parts, read, name = Reply(), "", 0, ""
        for name, data in stream:
            assert data["type"] == name
            if name == "message_start":
                read = _read(data["message"]["usage"])
            elif name == "content_block_start" and data["content_block"]["type"] == "tool_use":
                reply.calls.append(Call(data["content_block"]["id"], data["content_block"]["name"], None))
            elif name == "content_block_delta":
                reply.text += data["delta"].get("text", "")
                parts += data["delta"].get("partial_json", "")
            elif name == "content_block_stop" and parts:
                reply.calls[-1].input, parts = json.loads(parts), ""
            elif name == "message_delta":
                reply.stop = data["delta"]["stop_reason"]
                reply.tokens = (read, data["usage"]["output_tokens"])
        assert name == "message_stop", f"the stream ended with {name}"
        return reply

    def _responses(self, body: dict[str, Any]) -> Reply:
        reply = Reply(stop=body["status"])
        reply.tokens = (body["usage"]["input_tokens"], body["usage"]["output_tokens"])
        for item in body["output"]:
            if item["type"] == "message":
                reply.text += "".join(part["text"] for part in item["content"])
            else:
                arguments = json.loads(item["arguments"])
                reply.calls.append(Call(item["call_id"], item["name"], arguments, item.get("namespace", "")))
        return reply

    def _responses_stream(self, stream: Iterator[tuple[str, dict[str, Any]]]) -> Reply:
        text, arguments, done, name, data = "", "", [], "", {}
        for number, (name, data) in enumerate(stream):
            assert (data["type"], data["sequence_number"]) == (name, number)
            if name == "response.output_text.delta":
                text += data["delta"]
            elif name == "response.function_call_arguments.delta":
                arguments += data["delta"]
            elif name == "response.output_item.done":
                done.append(data["item"])
        assert name in ("response.completed", "response.incomplete"), f"the stream ended with {name}"
        reply = self._responses(data["response"])
        assert done == data["response"]["output"]
        assert text == reply.text
        assert arguments == "".join(json.dumps(call.input) for call in reply.calls)
        return reply

    def _chat(self, body: dict[str, Any]) -> Reply:
        (choice,) = body["choices"]
        reply = Reply(choice["message"]["content"] or "", stop=choice["finish_reason"])
        reply.tokens = (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])
        for call in choice["message"].get("tool_calls", ()):
            function = call["function"]
            reply.calls.append(Call(call["id"], function["name"], json.loads(function["arguments"])))
        return reply

    def _chat_stream(self, stream: Iterator[tuple[str, dict[str, Any]]]) -> Reply:
        reply, parts = Reply(), [""] * 10
        for _, data in stream:
            (choice,) = data["choices"]
            reply.text += choice["delta"].get("content", "")
            reply.stop = choice["finish_reason"] or ""
            for call in choice["delta"].get("tool_calls", ()):
                if "id" in call:
                    reply.calls.append(Call(call["id"], call["function"]["name"], None))
                parts[call["index"]] += call["function"]["arguments"]
            if "usage" in data:
                reply.tokens = (data["usage"]["prompt_tokens"], data["usage"]["completion_tokens"])
        assert reply.stop, "the stream ended without a reason"
        for call, arguments in zip(reply.calls, parts, strict=False):
            call.input = json.loads(arguments)
        return reply


def _read(usage: dict[str, Any]) -> int:
    """All tokens read: this API counts those of the cache apart."""
    total: int = usage["input_tokens"] + usage["cache_read_input_tokens"]
    return total
