"""The serving plan: all that a gateway reads. A versioned document; a worker holds one and swaps it whole."""

from __future__ import annotations

import msgspec

from pilotage.access.limits import Limit
from pilotage.kernel.digests import digest

__all__ = ["Key", "Route", "ServingPlan", "decode_plan", "encode_plan"]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as a gateway knows it: never the key, only the hex SHA-256 of it.

    `scopes` are `action:system`, such as `decide:credit-default`; `*` stands for every system. `expires` is Unix
    microseconds, 0 for never. `networks` are where it may be used from, in CIDR form; none is anywhere.
    """

    id: str
    sha256: str
    scopes: list[str]
    expires: int = 0
    networks: list[str] = []


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """How one system answers: its live release at its stage. `folder` is relative to the home's releases folder."""

    system: str
    release: str
    folder: str
    stage: str
    contract: str
    policy: str
    arm: str = "champion"
    stopped: str = ""
    deadline_ms: int = 5_000
    max_rows: int = 1_000


class ServingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the plan. `steward_key` is the steward's X25519 public key in hex: journals are sealed to it.

    When `journals_since` (Unix microseconds) grows, each worker begins a new journal file.
    """

    version: int
    created: int
    steward_key: str
    routes: list[Route]
    keys: list[Key]
    max_body_bytes: int = 1_048_576
    journals_since: int = 0
    limits: list[Limit] = []


_decoder = msgspec.json.Decoder(ServingPlan)


def encode_plan(plan: ServingPlan) -> tuple[bytes, str]:
    """The plan's bytes and their digest, which decisions carry as `plan`."""
    content = msgspec.json.encode(plan)
    return content, digest(content)


def decode_plan(content: bytes) -> ServingPlan:
    """The plan in bytes. Raises msgspec.DecodeError."""
    return _decoder.decode(content)
