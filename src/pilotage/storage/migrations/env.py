"""What Alembic runs: upgrade one part over the connection that `storage.migrate` opened and will commit."""

from __future__ import annotations

from alembic import context

from pilotage.storage.database import control, ledger

__all__: list[str] = []


def _run() -> None:
    attributes = context.config.attributes
    part = attributes["part"]
    context.configure(
        connection=attributes["connection"],
        target_metadata=control if part == "control" else ledger,
        version_table=f"schema_{part}",
        render_as_batch=True,
        transactional_ddl=True,
    )
    context.run_migrations()


if __name__ == "env_py":  # the name Alembic loads it under; an import by anybody else does nothing
    _run()
