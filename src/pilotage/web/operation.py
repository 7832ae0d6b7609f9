"""One operation of the control API: routes are made from it, OpenAPI too, and the reference is held to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request

from pilotage.access.model import Person

__all__ = ["Operation", "Work"]

Work = Callable[[Request, Person, dict[str, Any]], Any]
"""(request, who asks, JSON object of the body) -> JSON values, or a response. In a thread."""


class Operation(NamedTuple):
    """`path` is below /api/v1; `permission` is asked for before the body is read; `says` is one sentence.

    `body` is what a POST may send (None: nothing is read), `query` the parameters, `made` the statuses of success, and
    `media` the type of what comes then.
    """

    method: str
    path: str
    permission: str
    work: Work
    says: str
    body: type[msgspec.Struct] | None = None
    query: tuple[str, ...] = ()
    made: tuple[int, ...] = (200,)
    media: str = "application/json"
