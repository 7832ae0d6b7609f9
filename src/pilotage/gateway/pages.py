"""What a worker says of itself to everybody: whether it lives, whether it is ready, what it has counted."""

from __future__ import annotations

from collections.abc import Callable

from pilotage.errors import PilotageError
from pilotage.gateway.reply import Reply, json_reply

__all__ = ["own_page"]

_TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


def own_page(name: str, *, away: PilotageError | None, plan: int, metrics: Callable[[], bytes]) -> Reply:
    """The page of an open address. `away` is why no request is answered now, `plan` the version answered from."""
    if name in ("live", "v2_live"):
        return json_reply(200, {"live": True}, outcome="page")
    if name in ("ready", "v2_ready"):
        if away is None:
            return json_reply(200, {"ready": True, "plan": plan}, outcome="page")
        return json_reply(503, {"ready": False, "reason": away.code}, outcome="page")
    text = metrics()
    return Reply(200, [_TEXT, (b"content-length", b"%d" % len(text))], text, "page")
