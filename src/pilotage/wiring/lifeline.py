"""What every supervised process does at its start: watch for the supervisor's end, log lines as JSON."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import msgspec

from pilotage.kernel.clock import rfc3339

__all__ = ["LIFELINE", "log_as_json", "watch_lifeline"]

LIFELINE = "PILOTAGE_LIFELINE"
"""Environment variable with the number of the pipe whose end tells a child that its supervisor is gone."""


def watch_lifeline() -> None:
    """End this process by SIGTERM when the supervisor that started it is gone; nothing when there is none."""
    number = os.environ.pop(LIFELINE, "")
    if number:
        threading.Thread(target=_wait_for_end, args=(int(number),), daemon=True, name="lifeline").start()


def _wait_for_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": rfc3339(int(record.created * 1_000_000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_as_json(level: int = logging.INFO) -> None:
    """Log to standard error, one JSON object a line. Payloads are never logged."""
    to_error = logging.StreamHandler(sys.stderr)
    to_error.setFormatter(_JsonLines())
    logging.basicConfig(level=level, handlers=[to_error], force=True)
