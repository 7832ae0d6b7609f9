"""A feature source over HTTP on a real socket that does what a broken one may do."""

from __future__ import annotations

import json
from typing import Any

from tests.remote_twin import SECRET, RemoteTwin

MISDEEDS = (
    "hang", "reset", "drip", "trickle", "slow_head", "500", "503", "404", "422", "redirect", "garbage", "nan",
    "infinity", "text", "boolean", "list", "long_text", "half_character", "twice", "other_key", "other_keys_kind",
    "no_key", "no_rows", "huge", "endless", "long_head", "gzip", "cut", "half_head", "nested", "no_http", "empty",
    "old", "no_time", "ahead",
)  # fmt: skip
KINDLY = ("well", "slow", "closing", "chunked")


class SourceTwin(RemoteTwin):
    """`knows` are the entities, by key: what is said of each beside its `id`. `keys` counts those asked for."""

    knows: dict[str, dict[str, Any]]
    keys = 0

    def _asked_for(self, body: dict[str, Any]) -> Any:
        self.keys += len(body["keys"])
        return body

    def _body(self, asked: Any, **_: str) -> bytes:
        known = [(key["id"], self.knows.get(key["id"])) for key in asked["keys"]]
        rows = [{"id": key, **row} for key, row in known if row is not None]
        return json.dumps({"rows": rows}).encode()

    def _wrong(self, does: str, asked: Any) -> bytes:
        rows = json.loads(self._body(asked))["rows"]
        values: dict[str, Any] = {"text": SECRET, "boolean": True, "list": [1], "long_text": "x" * 20_000}
        values |= {"nan": float("nan"), "infinity": float("inf"), "half_character": "\ud800"}
        match does:
            case "garbage":
                return SECRET.encode()
            case "nested":
                return b"[" * 60_000
            case "no_rows":
                return b'{"columns": []}'
            case "empty":
                return b""
            case "huge":
                return json.dumps({"rows": rows}).encode() + b" " * 1_000_000
            case "twice":
                rows = rows * 2
            case "other_key":
                rows = [row | {"id": "somebody else"} for row in rows]
            case "other_keys_kind":
                rows = [row | {"id": [row["id"]]} for row in rows]
            case "no_key":
                rows = [{name: value for name, value in row.items() if name != "id"} for row in rows]
            case "old":
                rows = [row | {"updated_at": "2001-01-01T00:00:00Z"} for row in rows]
            case "ahead":
                rows = [row | {"updated_at": "2101-01-01T00:00:00Z"} for row in rows]
            case "no_time":
                rows = [row | {"updated_at": "yesterday"} for row in rows]
            case _ if does in values:
                rows = [row | {"income": values[does]} for row in rows]
        return json.dumps({"rows": rows}).encode()
