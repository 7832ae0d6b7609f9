"""Personal data: columns of every table, records of JSON, what notebooks show, requests that are logged whole."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from pilotage.assess.folder import Folder
from pilotage.assess.model import Finding
from pilotage.assess.reading import read_bytes
from pilotage.assess.signals.python import finding, handlers, name_in, scripts
from pilotage.assess.signals.seen import Seen
from pilotage.assess.source import Module
from pilotage.contracts.personal import looks_personal

__all__ = ["columns_of", "personal_data"]

_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[A-Za-z]{2,10})+")
_MEND = "take it out, or list it in pilot.personal"
_FEW, _MAX_FILES, _FOOTER = 3, 200, 1 << 20
_TABLES = (".csv", ".csv.gz", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".sqlite", ".sqlite3")


def personal_data(folder: Folder) -> Iterator[Seen]:
    """Columns that look personal are declared so; outputs show nobody; requests are not printed or logged whole."""
    said = set(folder.declared.pilot.personal) if folder.declared else set()
    looked, looks, findings = 0, 0, []
    for path in [path for path in folder.files if path.lower().endswith(_TABLES)][:_MAX_FILES]:
        columns = list(columns_of(folder, path))
        looked += bool(columns)
        for name, sample, line in columns:
            if why := looks_personal(name, sample):
                looks += 1
                if name not in said:
                    message = f"column {name} is personal data and not declared: {why}"
                    findings.append(Finding(file=path, line=line, message=message, mend=_MEND))
    findings += [each for module in folder.modules if module.notebook for each in _outputs(module)]
    logged = list(_logged_requests(folder))
    if looked or findings or logged or any(handlers(module) for module in scripts(folder)):
        level = 0.0 if findings else 0.5 if logged else 1.0
        parts = (
            [f"{looks} columns look personal, {len(findings)} places are not declared"] if looked or findings else []
        )
        parts += [f"{len(logged)} places write requests to the log"] if logged else []
        summary = "; ".join(parts) or "no personal data seen"
        yield Seen(criterion="governance.personal_data", level=level, summary=summary, findings=findings + logged)


def columns_of(folder: Folder, path: str) -> Iterator[tuple[str, list[str], int]]:
    """(name, some values, line) of the columns of a table or of the first record of a JSON list."""
    lower = path.lower()
    if lower.endswith((".csv", ".csv.gz", ".tsv")):
        rows = folder.rows(path)
        for at, name in enumerate(rows[0] if rows else []):
            yield name, [row[at] for row in rows[1:] if at < len(row)], 1
    elif lower.endswith((".json", ".jsonl")):
        head = folder.head(path)
        for name, value in _record(head).items():
            at = head.find(json.dumps(name))
            yield name, [str(value)] if isinstance(value, str) else [], head.count("\n", 0, max(at, 0)) + 1
    elif lower.endswith(".parquet"):
        yield from ((name, [], 0) for name in _parquet(folder, path))
    else:
        yield from ((name, [], 0) for name in _database(folder, path))


def _record(head: str) -> dict[str, Any]:
    """The first record of a JSON list or of JSON lines; empty for any other document."""
    start = head.lstrip("\ufeff \t\r\n")
    opened = start.startswith("[")
    body = start[1:].lstrip() if opened else start
    if not body.startswith("{"):
        return {}
    try:
        record, end = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        return {}
    rest = body[end:].lstrip()
    return record if opened or rest.startswith("{") else {}


def _parquet(folder: Folder, path: str) -> Iterator[str]:
    """Column names of a Parquet file: the strings with their length before them in its footer's schema."""
    size = folder.files[path]
    try:
        tail = read_bytes(folder.root / path, 8, start=max(0, size - 8))
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != b"PAR1" or not 0 < length <= min(_FOOTER, size):
            return
        footer = read_bytes(folder.root / path, length, start=size - 8 - length)
    except OSError:
        return
    seen: set[str] = set()
    for found in re.finditer(rb"(?=([\x01-\x40])([A-Za-z_]))", footer):
        at = found.start(2)
        word = footer[at : at + found[1][0]]
        if re.fullmatch(rb"[A-Za-z_][\w .-]*", word) and len(word) == found[1][0]:
            name = word.decode()
            if name not in seen:
                seen.add(name)
                yield name


def _database(folder: Folder, path: str) -> list[str]:
    """Column names of a SQLite database, read without writing, locking or running anything of it."""
    if not folder.content(path).startswith(b"SQLite format 3\0"):
        return []
    try:
        address = f"file:{quote(str(folder.root / path))}?mode=ro&immutable=1"
        connection = sqlite3.connect(address, uri=True, timeout=1)
    except sqlite3.Error:
        return []
    try:
        steps = iter(range(1_000))
        connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)
        connection.execute("PRAGMA trusted_schema = OFF")
        rows = connection.execute(
            "SELECT DISTINCT c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' LIMIT 1000"
        )
        return [str(name) for (name,) in rows]
    except sqlite3.Error:
        return []
    finally:
        connection.close()


def _outputs(module: Module) -> Iterator[Finding]:
    """Cells that show several e-mail addresses."""
    for cell in module.cells:
        shown = {found for text in _texts(cell.outputs) for found in _ADDRESS.findall(text[:_FOOTER])}
        if len(shown) >= _FEW:
            yield finding(
                module, cell.line, f"its output shows {len(shown)} e-mail addresses", "clear the output, save"
            )


def _texts(outputs: list[Any]) -> Iterator[str]:
    for output in outputs:
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        values = [output.get("text"), *(data.values() if isinstance(data, dict) else ())]
        for value in values:
            parts = value if isinstance(value, list) else [value]
            yield "".join(part for part in parts if isinstance(part, str))


def _logged_requests(folder: Folder) -> Iterator[Finding]:
    """Prints and logs of a request, or of a name that was given one."""
    for module in scripts(folder):
        for handler in handlers(module):
            held = {
                target.id
                for node in ast.walk(handler)
                if isinstance(node, ast.Assign) and name_in(node.value, "request.")
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for call, name in module.calls_in(handler):
                whole = any((isinstance(a, ast.Name) and a.id in held) or name_in(a, "request.") for a in call.args)
                if whole and (name == "print" or name.startswith(("logging.", "logger.", "log."))):
                    yield finding(module, call, "a whole request goes to the log", "log the id only")
