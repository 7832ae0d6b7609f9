"""Draft the next migration: `python -m pilotage.testing.draft_migration` prints what the declared tables have more.

The draft compares a migrated, empty SQLite database with the metadata. Read it, name what it cannot know (renames,
data), put it under `storage/migrations/versions`, raise `storage.migrate.HEAD`; the tests hold the rest.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData

import pilotage
from pilotage.storage.database import BIG, DOCUMENT, Part, control, ledger, open_engine, reading
from pilotage.storage.migrate import migrate

__all__ = ["declared", "draft"]


def declared(part: Part) -> MetaData:
    """The tables of a part, after every module that declares one was imported."""
    root = Path(pilotage.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if " Table(\n" in path.read_text(encoding="utf-8") and "migrations" not in path.parts:
            importlib.import_module("pilotage." + ".".join(path.relative_to(root).with_suffix("").parts))
    return control if part == "control" else ledger


def draft(part: Part) -> str:
    """Python code of the operations that bring a migrated database to the declared tables."""
    tables = declared(part)
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/{part}.db")
        migrate(engine, part)
        with reading(engine) as connection:
            options = {"version_table": f"schema_{part}", "target_metadata": tables}
            context = MigrationContext.configure(connection, opts=options)
            script = produce_migrations(context, tables)
        engine.dispose()
    assert script.upgrade_ops is not None  # noqa: S101 - produce_migrations always makes one
    return render_python_code(script.upgrade_ops, render_item=_render, render_as_batch=True)


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    names = {id(BIG): "BIG", id(DOCUMENT): "DOCUMENT"}
    found = names.get(id(item)) if kind == "type" else None
    return found if found is not None else False


if __name__ == "__main__":
    for each in ("control", "ledger"):
        sys.stdout.write(f"def _{each}() -> None:\n{draft(each)}\n\n")
