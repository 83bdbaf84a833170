"""The scripted model says over three APIs what the script says, and misbehaves as the script says."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.testing.client import PATHS, Call, Conversation, Refused, events, send
from ve.testing import Refusal, Request, ScriptedModel, Turn, Usage, Use, usage_limit

APIS = sorted(PATHS)
both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
each_api = pytest.mark.parametrize("api", APIS)

STOPS = {
    "messages": ("tool_use", "end_turn", "max_tokens", "refusal"),
    "responses": ("completed", "completed", "incomplete", "incomplete"),
    "chat": ("tool_calls", "stop", "length", "content_filter"),
}


@each_api
@both
def test_text_and_tool_calls_come_whole_over_each_api(api: str, stream: bool) -> None:
    listing = {"command": "ls -l", "deep": {"ä": [1, None]}}
    turns = [
        Turn(text="Let me see, ä€😀.", uses=[Use("shell", listing, id="one"), Use("shell")]),
        Turn(text="That is all."),
        Turn(text="too lo", stop="length"),
        Turn(stop="refusal"),
    ]
    with ScriptedModel(turns) as model:
        talk = Conversation(model.url, api, stream=stream)
        first = talk.prompt("list it")
        assert first.text == "Let me see, ä€😀."
        assert [(call.name, call.input) for call in first.calls] == [("shell", listing), ("shell", {})]
        assert first.calls[0].id == "one"
        assert first.calls[1].id not in ("", "one")
        second = talk.result(first.calls[0], "nothing there")
        assert (second.text, second.calls) == ("That is all.", [])
        stops = (first.stop, second.stop, talk.prompt("go on").stop, talk.prompt("more").stop)
    assert stops == STOPS[api]


@each_api
@both
def test_usage_is_told_in_each_api(api: str, stream: bool) -> None:
    with ScriptedModel([Turn(text="a", usage=Usage(input=1000, output=30, cached=900))]) as model:
        assert Conversation(model.url, api, stream=stream).prompt("hello").tokens == (1000, 30)


@each_api
def test_turns_come_in_order_and_the_last_one_repeats(api: str) -> None:
    with ScriptedModel([Turn(text="one"), Turn(uses=[Use("shell", {"command": "true"})])]) as model:
        talk = Conversation(model.url, api)
        assert talk.prompt("go").text == "one"
        loop = [talk.prompt("again").calls[0].input for _ in range(5)]
    assert loop == [{"command": "true"}] * 5


@each_api
def test_a_request_without_tools_gets_a_text_and_takes_no_turn(api: str) -> None:
    with ScriptedModel([Turn(text="the turn")]) as model:
        title = Conversation(model.url, api, tools=()).prompt("Give this a title")
        assert title.text == "ok"
        assert model.asked == []
        assert Conversation(model.url, api).prompt("work").text == "the turn"
        assert [seen.aside for seen in model.requests] == [True, False]


@pytest.mark.parametrize(
    ("api", "offered", "called"),
    [
        ("messages", "mcp__ve__AskOperator", "mcp__ve__AskOperator"),
        ("chat", "ve_AskOperator", "ve_AskOperator"),
        ("responses", "AskOperator", "AskOperator"),
    ],
)
@both
def test_a_tool_is_found_behind_the_prefix_that_a_client_gives_it(
    api: str, offered: str, called: str, stream: bool
) -> None:
    with ScriptedModel([Turn(uses=[Use("AskOperator", {"question": "?"})])]) as model:
        talk = Conversation(model.url, api, stream=stream, tools=("shell", offered))
        (call,) = talk.prompt("ask").calls
    assert call == Call(call.id, called, {"question": "?"}, "mcp__ve" if api == "responses" else "")


def test_a_tool_that_is_not_offered_is_called_as_it_is_written() -> None:
    with ScriptedModel([Turn(uses=[Use("gone")])]) as model:
        assert Conversation(model.url, "chat").prompt("go").calls[0].name == "gone"


# --------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("api", "status", "kind"),
    [
        ("messages", 400, "invalid_request_error"),
        ("messages", 401, "authentication_error"),
        ("messages", 404, "not_found_error"),
        ("messages", 429, "rate_limit_error"),
        ("messages", 529, "overloaded_error"),
        ("responses", 401, "invalid_api_key"),
        ("responses", 429, "rate_limit_exceeded"),
        ("chat", 404, "model_not_found"),
        ("chat", 503, "server_is_overloaded"),
    ],
)
def test_a_refusal_has_the_status_and_the_api_s_own_kind_of_error(api: str, status: int, kind: str) -> None:
    with ScriptedModel([Refusal(status, "no, not now")]) as model, pytest.raises(Refused) as refused:
        Conversation(model.url, api).prompt("go")
    assert refused.value.status == status
    assert refused.value.body["error"]["type"] == kind
    assert refused.value.body["error"]["message"] == "no, not now"
    assert "retry-after" not in refused.value.headers


def test_a_refusal_carries_the_headers_and_the_body_that_it_is_given() -> None:
    refusal = Refusal(429, headers={"retry-after": "2"}, body={"error": {"type": "mine"}})
    with ScriptedModel([refusal]) as model, pytest.raises(Refused) as refused:
        Conversation(model.url, "chat").prompt("go")
    assert refused.value.headers["retry-after"] == "2"
    assert refused.value.body == {"error": {"type": "mine"}}


@each_api
def test_a_usage_limit_says_until_when_in_the_api_s_own_way(api: str) -> None:
    before = time.time()
    with ScriptedModel([usage_limit(3600)]) as model, pytest.raises(Refused) as refused:
        Conversation(model.url, api).prompt("go")
    error = refused.value.body["error"]
    headers = refused.value.headers
    assert (refused.value.status, headers["retry-after"]) == (429, "3600")
    if api == "messages":
        assert error["type"] == "rate_limit_error"
        assert headers["anthropic-ratelimit-unified-status"] == "rejected"
        until = int(headers["anthropic-ratelimit-unified-reset"])
    else:
        assert (error["type"], error["resets_in_seconds"]) == ("usage_limit_reached", 3600)
        until = error["resets_at"]
    assert before + 3600 <= until <= time.time() + 3601


@each_api
def test_after_a_refusal_the_next_request_takes_the_next_turn(api: str) -> None:
    with ScriptedModel([Refusal(529), Turn(text="now")]) as model:
        talk = Conversation(model.url, api)
        with pytest.raises(Refused):
            talk.prompt("go")
        assert talk.ask().text == "now"


@each_api
@both
def test_a_cut_reply_ends_in_its_middle(api: str, stream: bool) -> None:
    with ScriptedModel([Turn(text="a text that is long enough to be cut", cut=True)]) as model:
        talk = Conversation(model.url, api, stream=stream)
        response = send(model.url, "POST", PATHS[api], talk.body())
    assert (response.status, response.whole) == (200, False)
    assert response.raw
    ends = ("message_stop", "response.completed", "[DONE]", '"finish_reason": "stop"')
    assert not any(end in response.raw.decode() for end in ends)


STREAM_ERRORS: dict[str, Any] = {
    "messages": lambda event, data: event == "error" and data["error"]["type"],
    "responses": lambda event, data: event == "response.failed" and data["response"]["error"]["code"],
    "chat": lambda _, data: data.get("error", {}).get("type"),
}


@each_api
def test_a_stream_can_begin_well_and_then_say_an_error(api: str) -> None:
    with ScriptedModel([Turn(text="x", stream_error="overloaded_error")]) as model:
        talk = Conversation(model.url, api)
        response = send(model.url, "POST", PATHS[api], talk.body())
        assert response.status == 200
        *_, last = events(response.raw)
        assert STREAM_ERRORS[api](*last) == "overloaded_error"
        talk.stream = False
        with pytest.raises(Refused) as refused:
            talk.prompt("and without a stream?")
    assert refused.value.status == 500
    assert refused.value.body["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    "stalled",
    [
        Turn(text="late", stall_s=3600),
        Turn(text="half of it", cut=True, stall_s=3600),
        Refusal(500, stall_s=3600),
    ],
    ids=["before the reply", "in its middle", "before a refusal"],
)
def test_closing_the_server_ends_stalled_requests_at_once(stalled: Turn | Refusal) -> None:
    ended: list[str] = []

    def wait(body: dict[str, Any]) -> None:
        try:
            ended.append("cut" if not send(model.url, "POST", "/v1/messages", body, 60).whole else "whole")
        except (ConnectionError, http.client.HTTPException):
            ended.append("cut")

    with ScriptedModel([stalled]) as model:
        body = Conversation(model.url, "messages").body()
        threads = [threading.Thread(target=wait, args=(body,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        model.wait_for(5)
        assert not ended
        began = time.monotonic()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 1
    assert ended == ["cut"] * 5


def test_closing_the_server_ends_connections_that_are_kept_alive() -> None:
    with ScriptedModel([Turn()]) as model:
        connection = http.client.HTTPConnection(model.url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/")
        connection.getresponse().read()
        assert connection.sock is not None
    assert connection.sock.recv(1) == b""
    connection.close()


def test_a_short_stall_is_followed_by_the_reply() -> None:
    with ScriptedModel([Turn(text="late", stall_s=0.1)]) as model:
        began = time.monotonic()
        assert Conversation(model.url, "chat").prompt("go").text == "late"
    assert time.monotonic() - began >= 0.1


# ------------------------------------------------------------------------------------ what was seen


def test_every_request_is_kept_with_its_tools_body_and_headers() -> None:
    with ScriptedModel([Turn(text="a")]) as model:
        Conversation(model.url, "messages", tools=("Bash", "Read")).prompt("hello")
        send(model.url, "GET", "/v1/models")
        first, second = model.wait_for(2)
    assert (first.method, first.path, first.model) == ("POST", "/v1/messages", "m")
    assert first.tools == ("Bash", "Read")
    assert first.body["messages"] == [{"role": "user", "content": "hello"}]
    assert first.headers["x-api-key"] == "secret-key"
    assert first.request is not None
    assert first.request.prompts == ("hello",)
    assert (second.method, second.path, second.request) == ("GET", "/v1/models", None)


def test_waiting_for_requests_that_do_not_come_raises() -> None:
    with ScriptedModel([Turn()]) as model, pytest.raises(TimeoutError, match="0 of 1 requests"):
        model.wait_for(1, timeout_s=0.05)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/", 200),
        ("GET", "/", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/some", 200),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/messages/count_tokens?beta=true", 200),
        ("POST", "/v1/nothing", 404),
    ],
)
def test_other_paths_are_answered_sanely(method: str, path: str, status: int) -> None:
    with ScriptedModel([Turn()]) as model:
        response = send(model.url, method, path, {} if method == "POST" else None)
    assert response.status == status
    assert response.raw == b"" if method == "HEAD" else isinstance(json.loads(response.raw), dict)


@pytest.mark.parametrize("body", [b"no JSON", b"[]", b'{"messages": 7}', b'{"messages": [7]}'])
def test_a_body_that_cannot_be_read_is_a_bad_request(body: bytes) -> None:
    with ScriptedModel([Turn(text="unused")]) as model:
        response = send(model.url, "POST", "/v1/messages", body)
        assert response.status == 400
        assert "cannot be read" in json.loads(response.raw)["error"]["message"]
        assert Conversation(model.url, "messages").prompt("still there?").text == "unused"


def test_the_version_in_the_path_may_be_left_out() -> None:
    with ScriptedModel([Turn(text="a")]) as model:
        body = Conversation(model.url, "chat").body()
        assert send(model.url, "POST", "/chat/completions", body).status == 200


# ------------------------------------------------------------------------------- deciding by the request


@each_api
def test_a_function_can_decide_by_the_request_as_a_typed_value(api: str) -> None:
    seen: list[Request] = []

    def perform(request: Request) -> Turn | Refusal:
        seen.append(request)
        return Turn(text=f"turn {len(seen)}", uses=[Use("shell", {"command": "ls"}, id="c1")])

    with ScriptedModel(perform=perform) as model:
        talk = Conversation(model.url, api)
        talk.result(talk.prompt("go").calls[0], "a file")
    assert (seen[1].api, seen[1].model, seen[1].stream) == (api, "m", True)
    assert seen[1].tools[0].name == "shell"
    assert seen[1].tools[0].schema["required"] == ["command"]
    kinds = [type(item).__name__ for item in seen[1].items]
    assert kinds == ["Said", "Said", "Called", "Returned"]
    assert (seen[1].items[2].input, seen[1].items[3].text) == ({"command": "ls"}, "a file")  # type: ignore[union-attr]


def test_an_error_in_that_function_is_told_to_the_client_and_raised_in_the_test() -> None:
    def perform(request: Request) -> Turn:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), ScriptedModel(perform=perform) as model:
        with pytest.raises(Refused) as refused:
            Conversation(model.url, "messages").prompt("go")
        assert refused.value.status == 500
        assert "KeyError" in refused.value.body["error"]["message"]


def test_there_must_be_something_to_say() -> None:
    with pytest.raises(ValueError, match="either `turns`"):
        ScriptedModel()


# ------------------------------------------------------------------------------------- as a program


def test_as_a_program_it_says_where_it_is_keeps_a_log_without_keys_and_ends_when_told(tmp_path: Path) -> None:
    script, log = tmp_path / "turns.json", tmp_path / "requests.jsonl"
    script.write_text(json.dumps([{"text": "hello", "usage": {"input": 3}}, {"status": 401}]))
    argv = [sys.executable, "-I", "-m", "ve.testing", "--script", str(script), "--log", str(log)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            place = json.loads(process.stdout.readline())
            assert place["url"] == f"http://127.0.0.1:{place['port']}"
            talk = Conversation(place["url"], "responses")
            assert talk.prompt("hi").text == "hello"
            with pytest.raises(Refused):
                talk.prompt("again")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["path"] for line in lines] == ["/v1/responses"] * 2
    assert lines[0]["tools"] == ["shell"]
    assert "secret-key" not in log.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"}, {"txt": "b"}]', "entry 2: Object contains unknown field `txt`"),
        ("[]", "the list is empty"),
        ("no JSON", "JSON is malformed"),
    ],
)
def test_a_wrong_script_is_refused_with_the_place_of_the_mistake(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from ve.testing.__main__ import main

    script = tmp_path / "turns.json"
    script.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--script", str(script)])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_line_does_not_load_it_and_importing_it_starts_no_server_code() -> None:
    code = (
        "import sys, ve.cli.app; assert 've.testing' not in sys.modules;"
        "import ve.testing; assert 've.testing.server' not in sys.modules;"
        "assert all(getattr(ve.testing, name) for name in ve.testing.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
