"""Measures what users wait for, beside peers in the same run. Run: just bench [--json FILE] [NAME...]

A benchmark is a file bench_*.py beside this one with `measure() -> Iterable[Figure]`. Machines differ
and are noisy, so the check of a figure is its ratio to a peer; seconds are for orientation.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from figures import HEAD, Figure  # noqa: E402


def figures(names: list[str]) -> Iterator[Figure]:
    """The figures of the benchmarks named, of all without names."""
    for path in sorted(HERE.glob("bench_*.py")):
        if not names or path.stem[6:] in names:
            yield from importlib.import_module(path.stem).measure()


def circumstances(load_before: float) -> dict[str, object]:
    """What a reader has to know of where and when the figures were taken."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(load_before, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Print a row a figure; 1 if a figure does not reach what it should, 2 for an unknown name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="which benchmarks; all without")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    wanted = parser.parse_args()
    known = {path.stem[6:] for path in HERE.glob("bench_*.py")}
    if unknown := set(wanted.names) - known:
        print(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        return 2
    load_before = os.getloadavg()[0]
    print(HEAD)
    found = []
    for figure in figures(wanted.names):
        found.append(figure)
        print(figure.row(), flush=True)
    if wanted.json:
        rows = [figure._asdict() for figure in found]
        told = {"circumstances": circumstances(load_before), "figures": rows}
        wanted.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return 1 if any(figure.reached is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
