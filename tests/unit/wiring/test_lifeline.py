"""Log lines of the processes: one JSON object a line on standard error."""

from __future__ import annotations

import json
import subprocess
import sys

from pilotage.kernel.clock import parse_time

CODE = """
import logging
from pilotage.wiring.lifeline import log_as_json
log_as_json()
log = logging.getLogger("pilotage.tests")
log.debug("not shown")
log.info("took %d ms: %s", 7, 'a "quoted"\\nline \\u00e9')
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
"""


def test_each_record_is_one_json_object_with_time_level_and_the_error() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    first, second = [json.loads(line) for line in done.stderr.splitlines()]
    assert parse_time(first.pop("at")) > 0
    assert first == {"level": "info", "logger": "pilotage.tests", "message": 'took 7 ms: a "quoted"\nline é'}
    assert (second["level"], second["message"]) == ("error", "it failed")
    assert second["error"].splitlines()[-1] == "ZeroDivisionError: division by zero"
