"""Steady traffic on fresh connections for some seconds: `python -m pilotage.cli.demo.pressure URL SECONDS`.

Reads {"key", "rows"} as JSON from standard input. Bounded: it ends by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from pilotage.cli.demo.traffic import send_rows

__all__ = ["main"]


def main() -> None:
    """Send the rows again and again, eight at a time, until the time is over."""
    url, seconds = sys.argv[1], float(sys.argv[2])
    given = json.load(sys.stdin)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asyncio.run(send_rows(url, given["key"], given["rows"], concurrency=8, fresh_connections=True))


if __name__ == "__main__":
    main()
