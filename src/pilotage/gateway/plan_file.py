"""The plan as a file on a node: digest-checked, so that a worker can start while the database is away."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pilotage.errors import IntegrityError
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.store import StoredPlan
from pilotage.kernel.digests import digest
from pilotage.storage.objects import write_durably

__all__ = ["read_plan_file", "write_plan_file"]


class _PlanFile(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    body: str


def write_plan_file(path: Path, stored: StoredPlan) -> None:
    """Write a plan so that it is there whole or not at all."""
    write_durably(path, msgspec.json.encode(_PlanFile(digest=stored.digest, body=stored.body.decode())))


def read_plan_file(path: Path) -> StoredPlan | None:
    """The plan in the file, or None when there is no file. Raises IntegrityError when its bytes were changed."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        file = msgspec.json.decode(content, type=_PlanFile)
        body = file.body.encode()
        if digest(body) != file.digest:
            raise IntegrityError(
                f"plan file {path} was changed", got=digest(body), expected=file.digest, mend="publish the plan again"
            )
        return StoredPlan(version=decode_plan(body).version, digest=file.digest, body=body)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise IntegrityError(f"plan file {path} is no plan", got=error, mend="publish the plan again") from error
