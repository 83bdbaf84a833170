"""Who may ask: checked on requests and inside the WebSocket handshake, on the port and on the socket."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.faces.conftest import TIMEOUT_S, Api, Inside, Project, end, reading, wait_gone
from tests.faces.warm import WARM
from ve.errors import RefusedError
from ve.proc import runfolder

PATHS = ["/", "/board.js", "/status", "/work-units", "/metrics", "/schema", "/runs/x/log", "/nope"]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One daemon for the tests that change nothing."""
    places = Project(tmp_path_factory.mktemp("quiet") / "project").places
    try:
        yield Api(places, WARM.start(places, TIMEOUT_S)["port"])
    finally:
        end(places)


def bearer(api: Api, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.token}", **more}


async def handshake(api: Api, path: str = "/feed", **headers: str) -> int:
    """The status of a WebSocket handshake with exactly these headers; 101 if it was accepted."""
    try:
        async with api.websocket(path, headers=headers):
            return 101
    except InvalidStatus as refused:
        assert refused.response.headers["content-type"] == "application/problem+json"
        return refused.response.status_code


@pytest.mark.parametrize("tcp", [True, False], ids=["port", "socket"])
def test_nothing_answers_without_the_token(quiet: Api, tcp: bool) -> None:
    for path in PATHS:
        answer = quiet.send("GET", path, headers={}, tcp=tcp)
        assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json"), path
        wrong = quiet.send(
            "GET", path, headers={"Authorization": "Bearer " + "x" * len(quiet.token)}, tcp=tcp
        )
        assert wrong.status == 401, path
    assert quiet.send("POST", "/stop", b"{}", {}, tcp=tcp).status == 401
    assert quiet.get("/status")["draining"] is False


def test_a_token_in_the_address_is_no_token(quiet: Api) -> None:
    for name in ("token", "access_token", "code"):
        assert quiet.send("GET", f"/status?{name}={quiet.token}", headers={}, tcp=True).status == 401
    assert quiet.send("GET", f"/login?code={quiet.token}", headers={}, tcp=True).status == 401


async def test_the_feed_needs_the_token_in_its_handshake(quiet: Api) -> None:
    assert await handshake(quiet) == 401
    assert await handshake(quiet, Authorization="Bearer wrong") == 401
    assert await handshake(quiet, f"/feed?token={quiet.token}") == 401
    assert await handshake(quiet, **bearer(quiet)) == 101


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}", "file://", ""]
)
async def test_a_page_of_another_origin_may_not_ask(quiet: Api, origin: str) -> None:
    """Also not with the token, and not over the WebSocket, where CORS does not look."""
    headers = bearer(quiet, Origin=origin.format(port=quiet.port))
    assert quiet.send("GET", "/status", headers=headers, tcp=True).status == 403
    assert quiet.send("POST", "/board/pause", b"{}", headers, tcp=True).status == 403
    assert await handshake(quiet, **headers) == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
async def test_a_name_that_points_here_is_not_enough(quiet: Api, host: str) -> None:
    """DNS rebinding: the connection is to 127.0.0.1, but the browser thinks it is somewhere else."""
    headers = bearer(quiet, Host=host.format(port=quiet.port))
    assert quiet.send("GET", "/status", headers=headers, tcp=True).status == 403


async def test_its_own_names_and_its_own_page_may_ask(quiet: Api) -> None:
    for name in (f"127.0.0.1:{quiet.port}", f"localhost:{quiet.port}", f"LOCALHOST:{quiet.port}"):
        headers = bearer(quiet, Host=name, Origin=f"http://{name}")
        assert quiet.send("GET", "/status", headers=headers, tcp=True).status == 200
    assert await handshake(quiet, **bearer(quiet, Origin=quiet.origin)) == 101


def test_a_header_that_decides_may_come_once_only(quiet: Api) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", quiet.port), 20) as link:
        link.sendall(
            f"GET /status HTTP/1.1\r\nHost: 127.0.0.1:{quiet.port}\r\nAuthorization: Bearer x\r\n"
            f"Authorization: Bearer {quiet.token}\r\nConnection: close\r\n\r\n".encode()
        )
        assert link.recv(12) == b"HTTP/1.1 400"


def log_in(api: Api) -> str:
    """What a browser does with the one-time address; returns its cookie."""
    url = api.post("/login-codes")["url"]
    path = url.removeprefix(api.origin)
    answer = api.send("GET", path, headers={}, tcp=True)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert api.send("GET", path, headers={}, tcp=True).status == 401, "it works once only"
    return answer.headers["set-cookie"]


async def test_a_one_time_address_lets_one_browser_in(api: Api) -> None:
    given = log_in(api)
    cookie, *attributes = given.split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    assert api.token not in given
    assert api.send("GET", "/", headers={"Cookie": cookie}, tcp=True).status == 200
    paused = api.send("POST", "/board/pause", b"{}", {"Cookie": cookie, "Origin": api.origin}, tcp=True)
    assert paused.status == 200
    assert await handshake(api, Cookie=cookie, Origin=api.origin) == 101


async def test_a_cookie_alone_changes_nothing_and_opens_no_socket(api: Api) -> None:
    """A browser sends it whoever made it ask; only Origin tells whose page that was."""
    cookie = log_in(api).split("; ")[0]
    for more in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert api.send("POST", "/board/pause", b"{}", {"Cookie": cookie, **more}, tcp=True).status == 403
        assert await handshake(api, Cookie=cookie, **more) == 403
    wrong = re.sub("=.*", "=" + "0" * 64, cookie)
    assert api.send("GET", "/", headers={"Cookie": wrong}, tcp=True).status == 401
    assert api.get("/status")["paused"] is False


def test_an_open_board_stays_signed_in_across_a_restart(daemon: Callable[[], Api]) -> None:
    """The port and the cookie are the same after it."""
    api = daemon()
    cookie = log_in(api).split("; ")[0]
    pid = api.get("/status")["pid"]
    api.post("/stop", {"mode": "detach"}, status=202)
    wait_gone(pid)
    again = daemon()
    assert again.port == api.port
    assert again.send("GET", "/status", headers={"Cookie": cookie}, tcp=True).status == 200


async def test_a_runs_token_reaches_its_own_nudge_and_nothing_else(project: Project, api: Api) -> None:
    project.chunk("alpha", "[[IMPLEMENT]]\nsleep = 300\n")
    project.chunk("beta", "[[IMPLEMENT]]\nsleep = 300\n")
    runs = {}
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["alpha", "beta"]})
        while len(runs) < 2:
            frame = await reader.until(lambda frame: frame.get("command") == "RunStarted")
            runs[frame["unit"]["chunk"]] = frame["unit"]["run_id"]
    spec = runfolder.read_spec(project.places.runs_dir / runs["alpha"])
    assert spec is not None and spec.nudge is not None
    token = {"Authorization": f"Bearer {spec.nudge.token}"}
    assert api.send("POST", f"/runs/{runs['alpha']}/nudge", headers=token).status == 204
    assert api.send("POST", f"/runs/{runs['beta']}/nudge", headers=token).status == 403
    assert (
        api.send("POST", f"/runs/{runs['alpha']}/nudge", headers={"Authorization": "Bearer "}).status == 403
    )
    assert api.send("POST", f"/runs/{runs['alpha']}/nudge", headers={}).status == 401
    assert api.send("POST", "/runs/nope/nudge", headers=token).status == 404
    for path in ("/status", f"/runs/{runs['alpha']}/log", "/work-units/alpha"):
        assert api.send("GET", path, headers=token).status == 401
    assert api.send("POST", "/work-units/alpha/cancel", b"{}", token).status == 401
    assert await handshake(api, f"/runs/{runs['alpha']}/tail", **token) == 401


def test_every_answer_carries_a_strict_policy(quiet: Api) -> None:
    for path, headers in (("/", None), ("/status", None), ("/status", {}), ("/nope", None)):
        got = quiet.send("GET", path, headers=headers).headers
        assert "default-src 'none'" in got["content-security-policy"]
        assert "unsafe" not in got["content-security-policy"]
        assert got["x-content-type-options"] == "nosniff"
        assert got["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in got


def test_the_page_has_no_inline_code_and_never_sets_html(quiet: Api) -> None:
    page = quiet.send("GET", "/").body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+\s*=|\bstyle\s*=", page)
    code = "".join(quiet.send("GET", path).body.decode() for path in ("/board.js", "/groups.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", code
    )


def test_the_token_and_the_state_are_the_users_alone(project: Project, api: Api) -> None:
    places = project.places
    assert stat.S_IMODE(places.token.stat().st_mode) == 0o600
    assert len(api.token) >= 32
    for folder in (places.state_dir, places.socket.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # The history inside is DuckDB's to make; nobody else can enter the folder.
    for file in (places.daemon_json, places.daemon_lock, places.log, places.state_dir / "port"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_sockets_folder_that_is_a_link_is_refused(inside: Inside) -> None:
    """Whoever owns the folder could put a socket of their own there."""
    from ve.server import bind_unix

    folder = inside.places.state_dir / "elsewhere"
    (inside.places.state_dir / "real").mkdir()
    folder.symlink_to(inside.places.state_dir / "real")
    with pytest.raises(RefusedError):
        bind_unix(folder / "x.sock")
