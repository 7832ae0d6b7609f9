"""Steady traffic on fresh connections until told to stop: `python -m pilotage.cli.demo.pressure URL MOST_SECONDS`.

Reads {"key", "rows"} as one line of JSON from standard input, and stops when that closes. Bounded: it ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time

from pilotage.cli.demo.traffic import send_rows

__all__ = ["main"]

_AT_ONCE = 100


def main() -> None:
    """Send the rows again and again, eight at a time, a hundred in a go."""
    url, most = sys.argv[1], float(sys.argv[2])
    given = json.loads(sys.stdin.readline())
    told = threading.Event()
    threading.Thread(target=_wait_for_end, args=(told,), daemon=True).start()
    end = time.monotonic() + most
    while time.monotonic() < end and not told.is_set():
        asyncio.run(send_rows(url, given["key"], given["rows"][:_AT_ONCE], concurrency=8, fresh_connections=True))


def _wait_for_end(told: threading.Event) -> None:
    sys.stdin.read()
    told.set()


if __name__ == "__main__":
    main()
