"""Bring the schema of one part up to date.

An up-to-date database costs one read; Alembic, half a second of imports, is loaded only for an upgrade.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from pilotage.errors import Unavailable
from pilotage.storage.database import Part, reading, writing

__all__ = ["HEAD", "migrate", "schema_version"]

_WITHOUT_TRACES = ("0001", "0002")
HEAD = "0018"
"""The newest migration. A constant, so that start-up need not read the folder of migrations; a test holds it true."""

_LOCK = 7_041_620_260_001
"""PostgreSQL's advisory lock of upgrades: processes that start together upgrade one after the other."""

_log = logging.getLogger(__name__)


def migrate(engine: Engine, part: Part) -> bool:
    """Upgrade one part to HEAD, from empty or from any released version; whether there was anything to do.

    Several processes may call it at once. Raises Unavailable when the database is newer than this program.
    """
    with reading(engine) as connection:
        if schema_version(connection, part) == HEAD:
            return False
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = schema_version(connection, part)
        if found != HEAD:
            _upgrade(connection, part, found)
    return found != HEAD


def schema_version(connection: Connection, part: Part) -> str:
    """The migration that one part is at; nothing for an empty database."""
    table = f"schema_{part}"
    if not connection.dialect.has_table(connection, table):
        return ""
    return str(connection.execute(text(f"SELECT version_num FROM {table}")).scalar() or "")  # noqa: S608 - a constant


def _upgrade(connection: Connection, part: Part, found: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes.update(connection=connection, part=part)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found and found not in known:
        raise Unavailable(
            f"the {part} database is newer than this program",
            got=found,
            expected=HEAD,
            mend="run the newer pilotage, or restore the backup made before the upgrade",
        )
    command.upgrade(config, "head")
    _log.info("upgraded the %s database from %s to %s", part, found or "empty", HEAD)
    if part == "ledger" and found in _WITHOUT_TRACES:
        _log.warning("decisions sealed until now are found by trace only after: pilotage ledger rebuild-index")
