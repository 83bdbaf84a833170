"""A real browser for tests and for the picture in the docs: chromium, driven over the DevTools protocol.

async with browser(folder) as page:
    await page.go(url)
    await page.until("document.title === 've'")

python -m tests.faces.browser URL docs/board.png
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TIMEOUT_S = 60.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0", "--no-proxy-server",
)  # fmt: skip


class Page:
    """One page: go somewhere, look, click, type."""

    def __init__(self, link: ClientConnection) -> None:
        self._link = link
        self._numbers = itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One call of the protocol; events in between are passed over."""
        number = next(self._numbers)
        await self._link.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                told = json.loads(await self._link.recv())
                if told.get("id") == number:
                    assert "error" not in told, told["error"]
                    return dict(told["result"])

    async def go(self, url: str) -> None:
        """Open an address."""
        await self.call("Page.enable")
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are awaited."""
        told = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait in the page until an expression is true; returns its value."""
        watch = f"""new Promise((done, failed) => {{
            const value = () => {{ try {{ return ({script}); }} catch {{ return false; }} }};
            const look = () => {{ const found = value(); if (found) done(found); return found; }};
            if (look()) return;
            const timer = setInterval(() => {{ if (look()) clearInterval(timer); }}, 20);
            setTimeout(() => {{ clearInterval(timer); failed(new Error("never true: " + {json.dumps(script)}
                + " in: " + document.body.innerText.slice(0, 3000))); }}, 30000);
        }})"""
        while True:
            try:
                return await self.run(watch)
            except AssertionError as error:
                # The page went elsewhere meanwhile, as at the one-time address: look there.
                if "navigated" not in str(error) and "context" not in str(error).lower():
                    raise

    async def click(self, selector: str) -> None:
        """Click on the one element that a selector names."""
        await self.until(f"document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def type(self, selector: str, text: str) -> None:
        """Focus a field and type into it, as keys do."""
        await self.until(f"document.querySelector({json.dumps(selector)})")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def picture(self) -> bytes:
        """What the page looks like, as PNG."""
        told = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(told["data"])


@contextlib.asynccontextmanager
async def browser(
    profile: Path, *, width: int = 1180, height: int = 760, dark: bool = False
) -> AsyncIterator[Page]:
    """A page of a browser of its own, with an empty profile in the folder `profile`."""
    assert CHROMIUM is not None, "chromium is not installed"
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    reader: asyncio.Task[None] | None = None
    try:
        port = await _port_of(process)
        assert process.stderr is not None
        reader = asyncio.create_task(_forget(process.stderr))
        listed = await asyncio.to_thread(_targets, port)
        url = next(target["webSocketDebuggerUrl"] for target in listed if target["type"] == "page")
        async with connect(url, max_size=64 << 20, proxy=None) as link:
            page = Page(link)
            await page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
            await page.call("Emulation.setEmulatedMedia", features=scheme)
            yield page
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        if reader is not None:
            await reader


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT_S):
        while line := await process.stderr.readline():
            if b"DevTools listening on ws://" in line:
                return int(line.split(b"//", 1)[1].split(b"/", 1)[0].rpartition(b":")[2])
    raise AssertionError("the browser ended before it listened")


async def _forget(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


def _targets(port: int) -> list[dict[str, Any]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT_S) as answer:
        return list(json.load(answer))


def screenshot(
    url: str,
    path: Path,
    *,
    ready: str = "document.querySelector('.unit')",
    width: int = 1180,
    height: int = 760,
    dark: bool = False,
) -> None:
    """Save a picture of an address (a one-time address of the board, say) once `ready` is true there."""

    async def take() -> bytes:
        with tempfile.TemporaryDirectory(prefix="ve-browser-", ignore_cleanup_errors=True) as profile:
            async with browser(Path(profile), width=width, height=height, dark=dark) as page:
                await page.go(url)
                await page.until(ready)
                return await page.picture()

    path.write_bytes(asyncio.run(take()))


if __name__ == "__main__":
    screenshot(sys.argv[1], Path(sys.argv[2]), dark="--dark" in sys.argv)
