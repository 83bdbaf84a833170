"""What the tools of a run cost: fifty of them are there at once."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.agents.exercise import job
from ve.proc.runfolder import Asked, read_tools

COUNT = 50
PEAK_KB = 40_000
OFTEN = 7


def start(run_dir: Path) -> subprocess.Popen[bytes]:
    run_dir.mkdir()
    (run_dir / "job.json").write_bytes(msgspec.json.encode(job(run=run_dir.name)))
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "ve.runtool", str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def request(process: subprocess.Popen[bytes], id: int, method: str, **params: Any) -> None:
    assert process.stdin is not None
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def reply(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())["result"]
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """As a client does: stdin ends, so it ends."""
    with process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_fifty_at_once_each_record_their_question_in_less_than_40_mb(tmp_path: Path) -> None:
    began = time.monotonic()
    tools = [start(tmp_path / f"r{number}") for number in range(COUNT)]
    for process in tools:
        request(process, 1, "initialize", protocolVersion="2025-06-18")
        request(process, 2, "tools/list")
        arguments = {"question": "Which?", "options": ["this", "that"], "context": "It matters. " * 1000}
        request(process, 3, "tools/call", name="AskOperator", arguments=arguments)
    for process in tools:
        replies = [reply(process) for _ in range(3)]
        assert replies[2]["isError"] is False
    took = time.monotonic() - began
    peaks = []
    for process in tools:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]))
    for process in tools:
        end(process)

    print(f"{COUNT} at once: {took:.1f} s to the last reply, peak {max(peaks) / 1000:.1f} MB")
    assert max(peaks) < PEAK_KB
    for number in range(COUNT):
        asked = [record for record in read_tools(tmp_path / f"r{number}")[0] if isinstance(record, Asked)]
        assert len(asked) == 1


def test_it_answers_nearly_as_soon_as_python_itself_starts(tmp_path: Path) -> None:
    """CPU seconds, which other processes do not change; 0.2 s are allowed, an SDK's import takes 0.6 s."""

    def cpu() -> float:
        spent = os.times()
        return spent.children_user + spent.children_system

    bare, whole = [], []
    for number in range(OFTEN):
        before = cpu()
        subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
        bare.append(cpu() - before)
        before = cpu()
        process = start(tmp_path / f"r{number}")
        request(process, 1, "initialize", protocolVersion="2025-06-18")
        reply(process)
        end(process)
        whole.append(cpu() - before)
    print(f"python {statistics.median(bare):.3f} s, the tools {statistics.median(whole):.3f} s (CPU)")
    assert statistics.median(whole) < max(0.2, 8 * statistics.median(bare))
