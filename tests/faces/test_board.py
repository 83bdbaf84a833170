"""The board in a real browser: it patches itself, loses nothing typed, and shows text as text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.faces.browser import CHROMIUM, Page, browser
from tests.faces.conftest import Api, Project, asks, reading, wait_gone, writes
from ve.daemon import running

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)

EVIL = '<img src=x onerror=\\"window.hacked=1\\"><b>bold</b><script>window.hacked=2</script>'


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with browser(tmp_path / "profile") as opened:
        yield opened


async def open_board(page: Page, api: Api) -> None:
    """As a user does: by the one-time address, which then is gone from the address bar."""
    await page.go(api.post("/login-codes")["url"])
    await page.until("document.getElementById('connection')?.dataset.state === 'live'")
    assert await page.run("location.pathname + location.search") == "/"
    await page.run("window.sameDocument = true")


def status_of(chunk: str) -> str:
    return f"document.querySelector('[data-chunk=\"{chunk}\"]')?.dataset.status"


async def asked(project: Project, api: Api, chunk: str, question: str = "Which one?") -> None:
    """A chunk whose agent has asked."""
    project.chunk(chunk, asks(chunk, question))
    async with reading(api) as reader:
        await asyncio.to_thread(api.post, "/work-units", {"chunks": [chunk]})
        await reader.status(chunk, "NEEDS_ATTENTION")
        await reader.until(lambda frame: frame.get("unit") and frame["unit"]["run_id"] is None)


async def test_a_unit_goes_from_the_queue_to_its_merge_without_a_reload(
    project: Project, api: Api, page: Page
) -> None:
    project.chunk("alpha", writes("alpha"))
    await open_board(page, api)
    await page.until("!document.getElementById('empty').hidden")
    await page.run(
        "window.seen = []; new MutationObserver(() => { const s = " + status_of("alpha") + ";"
        " if (s && seen.at(-1) !== s) seen.push(s); }).observe(document.body,"
        " {subtree: true, attributes: true, childList: true})"
    )
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["alpha"]})
    await page.until(status_of("alpha") + " === 'DONE'")
    seen = await page.run("seen")
    assert "RUNNING" in seen
    assert seen[-1] == "DONE"
    assert await page.run("window.sameDocument") is True
    assert "merged into main" in await page.run("document.querySelector('[data-chunk=alpha]').innerText")


async def test_a_question_is_answered_by_an_option(project: Project, api: Api, page: Page) -> None:
    await open_board(page, api)
    await asked(project, api, "alpha")
    await page.until(status_of("alpha") + " === 'NEEDS_ATTENTION'")
    assert await page.until("document.title") == "(1) ve"
    await page.click("[data-chunk=alpha] .ask button.option:nth-of-type(2)")
    await page.until(status_of("alpha") + " === 'DONE'")
    assert (project.root / "alpha.txt").read_text() == "two"
    sql = "select distinct actor from transitions where command = 'Answer'"
    assert api.post("/history/query", {"sql": sql})["rows"] == [["operator:board"]]


async def test_a_half_typed_answer_outlives_updates_reconnects_and_a_reload(
    project: Project, daemon: Callable[[], Api], page: Page
) -> None:
    api = daemon()
    await asked(project, api, "alpha")
    await open_board(page, api)
    field = "[data-chunk=alpha] .ask textarea"
    await page.type(field, "half a sen")
    # Updates of this unit and of others, also a change of the order.
    project.chunk("beta", writes("beta"))
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["beta"]})
    await asyncio.to_thread(api.post, "/work-units/alpha/prioritize", {"priority": 3})
    await page.until(status_of("beta") + " === 'DONE'")
    await page.until("document.querySelector('[data-chunk=alpha]').innerText.includes('priority 3')")
    assert await page.run(f"document.activeElement === document.querySelector({json.dumps(field)})")
    # The daemon goes and comes back; the page finds it by itself.
    pid = api.get("/status")["pid"]
    await asyncio.to_thread(api.post, "/stop", {"mode": "detach"}, 202)
    await asyncio.to_thread(wait_gone, pid)
    await page.until("document.getElementById('connection').dataset.state === 'lost'")
    api = await asyncio.to_thread(daemon)
    await page.until("document.getElementById('connection').dataset.state === 'live'")
    await asyncio.to_thread(api.post, "/work-units/alpha/prioritize", {"priority": 4})
    await page.until("document.querySelector('[data-chunk=alpha]').innerText.includes('priority 4')")
    assert await page.run("window.sameDocument") is True
    assert await page.run(f"document.querySelector({json.dumps(field)}).value") == "half a sen"
    assert await page.run(f"document.activeElement === document.querySelector({json.dumps(field)})")
    await page.run("location.reload()")
    await page.until(
        f"!window.sameDocument && document.querySelector({json.dumps(field)})?.value === 'half a sen'"
    )
    # And then it is finished and sent.
    await page.run(f"document.querySelector({json.dumps(field)}).setSelectionRange(99, 99)")
    await page.type(field, "tence")
    await page.click("[data-chunk=alpha] .ask button.send")
    await page.until(status_of("alpha") + " === 'DONE'")
    assert (project.root / "alpha.txt").read_text() == "half a sentence"
    assert await page.run("Object.keys(sessionStorage).length") == 0


async def test_what_was_typed_stays_to_be_read_when_somebody_else_answered(
    project: Project, api: Api, page: Page
) -> None:
    await asked(project, api, "alpha")
    await open_board(page, api)
    await page.type("[data-chunk=alpha] .ask textarea", "my long thoughts")
    await asyncio.to_thread(api.post, "/work-units/alpha/answer", {"text": "theirs"})
    await page.until(
        "document.querySelector('[data-chunk=alpha] .outcome').innerText.includes('was not sent')"
    )
    assert await page.run("document.querySelector('[data-chunk=alpha] textarea').value") == "my long thoughts"
    assert await page.run("document.querySelector('[data-chunk=alpha] button.send').hidden")


async def test_what_an_agent_writes_is_text_and_never_a_page(project: Project, api: Api, page: Page) -> None:
    await asked(project, api, "alpha", EVIL)
    await open_board(page, api)
    text = EVIL.replace('\\"', '"')
    await page.until(f"document.querySelector('.question')?.textContent === {json.dumps(text)}")
    assert await page.run("document.querySelectorAll('#units img, #units b b, #units script').length") == 0
    assert await page.run("window.hacked") is None
    # And if it ever became a page, its code would not run.
    await page.run(
        "new Promise(d => { addEventListener('securitypolicyviolation', d, {once: true});"
        " const s = document.createElement('script'); s.textContent = 'window.hacked = 3';"
        " document.body.append(s); }).then(() => 1)"
    )
    assert await page.run("window.hacked") is None


async def test_a_refusal_is_shown_with_its_reason(project: Project, api: Api, page: Page) -> None:
    project.chunk("alpha", writes("alpha"))
    api.post("/board/pause")
    api.post("/work-units", {"chunks": ["alpha"]})
    await open_board(page, api)
    await page.click("[data-chunk=alpha] > .head")
    told = await page.run(
        "ask('/work-units/alpha/answer', {text: 'x'}, document.querySelector('[data-chunk=alpha] .trouble'))"
    )
    assert told is False
    assert "Possible now:" in await page.run(
        "document.querySelector('[data-chunk=alpha] .trouble').innerText"
    )


async def test_the_board_is_paused_and_a_unit_is_cancelled_from_the_page(
    project: Project, api: Api, page: Page
) -> None:
    project.chunk("alpha", writes("alpha"))
    await open_board(page, api)
    await page.until("!document.getElementById('pause').disabled")
    await page.click("#pause")
    await page.until("document.getElementById('notice').innerText.includes('paused')")
    assert api.get("/status")["paused"] is True
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["alpha"]})
    await page.click("[data-chunk=alpha] > .head")
    buttons = "[...document.querySelectorAll('[data-chunk=alpha] .row button')]"
    cancel = f"{buttons}.find(b => /cancel/.test(b.innerText))"
    await page.until(cancel)
    await page.run(f"{cancel}.click()")
    assert api.get("/work-units/alpha")["unit"]["status"] == "READY", "one click is not enough"
    await page.run(f"{cancel}.click()")
    await page.until(status_of("alpha") + " === 'CANCELLED'")


async def test_equal_causes_stand_under_one_header_whose_buttons_act_on_all_of_them(
    project: Project, daemon: Callable[[], Api], page: Page
) -> None:
    project.commit("settings", {"ve.toml": "[limits]\nretries = 0\n"})
    fails = '[[IMPLEMENT]]\nvisit = 1\nfail = "no space left"\n\n'
    for chunk in ("alpha", "beta"):
        project.chunk(chunk, fails + writes(chunk).replace("[[IMPLEMENT]]", "[[IMPLEMENT]]\nvisit = 2"))
    project.chunk("gamma", writes("gamma"), depends_on=("alpha",))
    api = daemon()
    await open_board(page, api)
    await asked(project, api, "older")
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["alpha", "beta", "gamma"]})
    header = "document.querySelector('.group')"
    await page.until(f"{header}?.innerText.includes('2 units, one cause: error · 1 waiting behind')")
    shown = await page.run(f"{header}.innerText")
    assert "alpha, beta" in shown
    assert "no space left" in shown
    # What most work waits for stands first: the header, its units, then the question although it is older.
    place = "[...document.querySelectorAll('#units > section')].sort((a, b) => a.style.order - b.style.order)"
    await page.until(
        f"{place}.map(s => s.dataset.chunk ?? 'header').join() === 'header,alpha,beta,older,gamma'"
    )
    await page.type("#search", "older")
    await page.until(f"{header}.hidden")
    await page.run(
        "const s = document.getElementById('search'); s.value = ''; s.dispatchEvent(new Event('input'))"
    )
    await page.click(".group button.main")
    for chunk in ("alpha", "beta", "gamma"):
        await page.until(status_of(chunk) + " === 'DONE'")
    await page.until(f"!{header}")
    sql = "select chunk, actor from transitions where command = 'Retry' order by chunk"
    rows = api.post("/history/query", {"sql": sql})["rows"]
    assert rows == [["alpha", "operator:board"], ["beta", "operator:board"]]
    # A usage limit is told once, above all, with how many wait for it.
    project.chunk("limited", '[[IMPLEMENT]]\nlimit = 7200\nreason = "5-hour limit"\n')
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["limited"]})
    await page.until(
        "document.getElementById('notice').innerText.includes('(5-hour limit); 1 unit waits for it')"
    )


async def test_a_gap_in_the_numbers_makes_the_page_ask_again(project: Project, api: Api, page: Page) -> None:
    await open_board(page, api)
    await page.until("cursor")
    await page.run("cursor = cursor.replace(/[0-9]+$/, n => String(Number(n) + 100))")
    await asyncio.to_thread(api.post, "/board/pause")
    await page.until("document.getElementById('notice').innerText.includes('paused')")
    current = api.get("/status")["cursor"]
    await page.until(f"cursor === {json.dumps(current)}")
    assert await page.run("window.sameDocument") is True


async def test_a_browser_that_nobody_let_in_is_told_how(project: Project, api: Api, page: Page) -> None:
    await page.go(api.origin + "/")
    await page.until("document.body.innerText.includes('ve orch url')")
    assert running(project.places) is not None
    assert api.token not in await page.run("document.documentElement.outerHTML")
