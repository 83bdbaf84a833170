"""The daemon's numbers in Prometheus' text format."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from ve.operations import Operations


def metrics_text(ops: Operations, loop_turn_s: float) -> str:
    stream, now = ops.core.stream, ops.status()
    rows: list[tuple[str, str, str, float]] = [
        ("ve_transitions_total", "counter", "transitions ever recorded", stream.seq),
        ("ve_transitions_durable_total", "counter", "transitions on disk", stream.durable_seq),
        ("ve_history_outage", "gauge", "1 while the history cannot be written", stream.outage is not None),
        ("ve_broken_subscribers", "gauge", "subscribers that raised since the start", len(stream.broken)),
        ("ve_feed_clients", "gauge", "readers of the feed", len(ops.core.feed.clients)),
        ("ve_slots", "gauge", "runs that may be alive at once", now.slots),
        ("ve_slots_used", "gauge", "runs that have not ended", now.slots_used),
        ("ve_board_paused", "gauge", "1 while nothing is dispatched", now.paused),
        ("ve_loop_turn_seconds", "gauge", "how long a turn of the event loop took just now", loop_turn_s),
        ("ve_resident_bytes", "gauge", "memory of the daemon", resident_bytes()),
        ("process_cpu_seconds_total", "counter", "processor time of the daemon", time.process_time()),
    ]
    lines = [
        f"# HELP {n} {text}\n# TYPE {n} {kind}\n{n} {int(value) if value == int(value) else value}\n"
        for n, kind, text, value in rows
    ]
    lines.append("# HELP ve_units units in memory\n# TYPE ve_units gauge\n")
    lines += [f've_units{{status="{name}"}} {count}\n' for name, count in sorted(now.counts.items())]
    return "".join(lines)


def resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: the peak is the best there is, and macOS counts it in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
