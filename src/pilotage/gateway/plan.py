"""The serving plan: all that a gateway reads. A versioned document; a worker holds one and swaps it whole."""

from __future__ import annotations

from typing import Literal

import msgspec

from pilotage.access.issuers import Issuer
from pilotage.access.limits import Limit
from pilotage.kernel.digests import digest
from pilotage.systems.serving import Breaker, Bulkhead, Retry

__all__ = ["Answering", "Drill", "Key", "Route", "ServingPlan", "Target", "Together", "decode_plan", "encode_plan"]


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as a gateway knows it: never the key, only the hex SHA-256 of it.

    `scopes` are `action:system`, such as `decide:credit-default`; `*` stands for every system. `expires` is Unix
    microseconds, 0 for never. `networks` are where it may be used from, in CIDR form; none is anywhere. `certificates`
    are the names of client certificates that stand for it.
    """

    id: str
    sha256: str
    scopes: list[str]
    expires: int = 0
    networks: list[str] = []
    certificates: list[str] = []


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What answers when the live release cannot: an earlier release, or the rules file of the live one.

    `release` is the release whose folder holds it; `contract` the digest of the contract that it checks requests
    against; `policy` the digest of what makes its answer: `serving.json`, or the rules file.
    """

    kind: Literal["previous", "rules"]
    release: str
    contract: str
    policy: str


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """Up to so many `rows` may be answered in one call (0: none), where the serving environment has this digest.

    It is the one in which a build proved that a row gets the same answer alone and in any batch.
    """

    rows: int = 0
    environment: str = ""


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    """How a route answers, compiled from the release's `serving:` section when it went live.

    `when_stopped` says what a stopped system does. An answer that is less probable than `floor` is not given.
    `together` says of the release's own runtime how many rows share a call; targets of the chain answer row by row.
    """

    deadline_ms: int = 5_000
    max_rows: int = 1_000
    fallback: list[Target] = []
    when_stopped: Literal["refuse", "fallback"] = "refuse"
    floor: float = 0.0
    below: Literal["review", "abstain"] = "review"
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    bulkhead: Bulkhead = Bulkhead()
    together: Together = Together()


class Route(Answering, frozen=True, kw_only=True):
    """How one system answers: its live release at its stage. `folder` is relative to the home's releases folder."""

    system: str
    release: str
    folder: str
    stage: str
    contract: str
    policy: str
    arm: str = "champion"
    stopped: str = ""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """Until `until` (Unix microseconds) a system's model is away to whoever asks it in a drill, and to nobody else."""

    system: str
    until: int


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
    issuers: list[Issuer] = []
    drills: list[Drill] = []


_decoder = msgspec.json.Decoder(ServingPlan)


def encode_plan(plan: ServingPlan) -> tuple[bytes, str]:
    """The plan's bytes and their digest, which decisions carry as `plan`."""
    content = msgspec.json.encode(plan)
    return content, digest(content)


def decode_plan(content: bytes) -> ServingPlan:
    """The plan in bytes. Raises msgspec.DecodeError."""
    return _decoder.decode(content)
