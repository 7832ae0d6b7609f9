"""Rotate and prune the secrets of an installation, in an order in which nothing is lost wherever it is killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pilotage.access.model import Person, require
from pilotage.errors import Refused
from pilotage.gateway.store import newest_plan
from pilotage.ledger import rotation
from pilotage.ledger.keyring import Keyring, SigningKey
from pilotage.ledger.keyring_file import locked
from pilotage.ledger.rotation import Progress, Rewrapped
from pilotage.ledger.signing import ROTATED, KeyPeriod, key_periods
from pilotage.rollout.plans import read_steward_key
from pilotage.storage import outbox
from pilotage.storage.database import reading, writing
from pilotage.wiring.installation import Installation, seal_outbox

__all__ = ["KINDS", "KeyKind", "KeyState", "Pruned", "Rotated", "key_states", "prune", "rotate", "verifier_keys"]

KeyKind = Literal["master", "steward", "signing"]
KINDS: tuple[KeyKind, ...] = ("master", "steward", "signing")

_ADD: Mapping[KeyKind, Callable[[Keyring], Keyring]] = {
    "master": lambda keyring: rotation.new_master(keyring, os.urandom(32)),
    "steward": rotation.new_steward,
    "signing": rotation.new_signing,
}


def _silent(_done: int, _total: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """One secret: its public name, and in words whether it is in use or what still needs it."""

    kind: KeyKind
    name: str
    state: str
    needed: bool


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """What a rotation did. `output` is the file to install before the same command is run again, else empty.

    `moved` rows were wrapped anew; `plan` is the serving plan's version that carries the steward's new key.
    """

    kind: KeyKind
    old: str
    new: str
    output: str = ""
    moved: int = 0
    plan: int = 0


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """The names of secrets that were dropped, by kind; `kept` says why others were not. `output` as in `Rotated`."""

    dropped: dict[str, list[str]]
    kept: tuple[str, ...]
    output: str = ""


def key_states(installation: Installation, person: Person) -> list[KeyState]:
    """Every secret, the newest of its kind first. Raises Forbidden."""
    require(person, "keyring.read")
    keyring, found = installation.keyring, []
    for kind, named in rotation.names(keyring).items():
        for at, name in enumerate(named):
            found.append(_state(installation, keyring, kind, name, at))  # type: ignore[arg-type]  # its own names
    return found


def verifier_keys(installation: Installation) -> list[KeyPeriod]:
    """Every verifier key of the log with the sizes it signed, the oldest first."""
    with reading(installation.ledger_engine) as connection:
        return key_periods(connection, installation.keyring)


def rotate(
    installation: Installation, person: Person, kind: KeyKind, output: Path | None = None, progress: Progress = _silent
) -> Rotated:
    """Add a new secret and move everything to it; a rotation that was cut off before is taken up where it stopped.

    Where the keyring is not ours to write, the new one goes to `output`, and the same call after it was installed
    moves everything. Raises Forbidden, InputError(code="keyring_elsewhere"), Conflict while another command does it.
    """
    require(person, "keyring.rotate")
    with locked(installation.home.keyring):
        keyring = installation.keyring
        if not _unfinished(installation, keyring, kind):
            installation.keyrings.keep(_ADD[kind](keyring), output)
            if not installation.keyrings.in_place:
                newest = rotation.names(keyring)[kind][0]
                return Rotated(kind=kind, old=newest, new="", output=str(output))
            keyring = installation.keyring
        new, old = rotation.names(keyring)[kind][:2]
        if kind == "signing":
            _announce(installation, person)
            return Rotated(kind=kind, old=old, new=new)
        if kind == "steward":
            seal_outbox(installation.control, keyring)
            plan = installation.rollout.follow_steward_key(person, old)
            return Rotated(kind=kind, old=old, new=new, plan=plan.version)
        done = _rewrap(installation, keyring, progress)
        facts = {"key": kind, "old": old, "new": new, "wrapped": done.rows}
        _emit(installation, person, ROTATED, facts)
        return Rotated(kind=kind, old=old, new=new, moved=done.moved)


def prune(
    installation: Installation, person: Person, output: Path | None = None, progress: Progress = _silent
) -> Pruned:
    """Drop every older secret that nothing needs any more. Raises Forbidden, and as `rotate`."""
    require(person, "keyring.rotate")
    with locked(installation.home.keyring):
        keyring = installation.keyring
        for kind in KINDS:
            if _unfinished(installation, keyring, kind):
                raise Refused(
                    f"the rotation of the {kind} key is not finished", mend=f"run: pilotage keys rotate --{kind}"
                )
        if len(keyring.masters) > 1:
            while _rewrap(installation, keyring, progress).moved:
                pass
        left, kept = _without_needless(installation, keyring)
        had, has = _private_names(keyring), _private_names(left)
        dropped = {kind: [name for name in names if name not in has[kind]] for kind, names in had.items()}
        if any(dropped.values()):
            installation.keyrings.require_place(output)
            _emit(installation, person, "key.pruned", {**dropped})
            installation.keyrings.keep(left, output)
    written = "" if installation.keyrings.in_place or not any(dropped.values()) else str(output)
    return Pruned(dropped=dropped, kept=kept, output=written)


def _unfinished(installation: Installation, keyring: Keyring, kind: KeyKind) -> bool:
    """Whether a new secret is in the keyring that no event tells of: a rotation that was cut off, or installed."""
    named = rotation.names(keyring)[kind]
    if len(named) < 2:
        return False
    if kind == "signing":
        return rotation.unannounced(installation.ledger_engine, keyring)
    facts = [row.facts for row in installation.ledger().events(kind=ROTATED, limit=10_000)]
    with reading(installation.control) as connection:
        facts += [event.facts for event in outbox.waiting(connection, 1_000_000) if event.kind == ROTATED]
    return not any((fact.get("key"), fact.get("new")) == (kind, named[0]) for fact in facts)


def _announce(installation: Installation, person: Person) -> None:
    steward = installation.steward(holder=f"{installation.settings.node}/keys-{os.getpid()}")
    steward.acquire(steal=True)
    try:
        rotation.announce_signing(steward, person.id)
    finally:
        steward.release()


def _rewrap(installation: Installation, keyring: Keyring, progress: Progress) -> Rewrapped:
    return rotation.rewrap(installation.ledger_engine, keyring, progress)


def _emit(installation: Installation, person: Person, kind: str, facts: dict[str, object]) -> None:
    private = {"by": person.id, "name": person.name}
    with writing(installation.control) as connection:
        outbox.emit(connection, kind, facts=facts, private=private)


def _without_needless(installation: Installation, keyring: Keyring) -> tuple[Keyring, tuple[str, ...]]:
    """(the keyring without what nothing needs, why the rest of the old secrets stays)."""
    kept, stewards = [], [keyring.steward]
    for key in keyring.stewards[1:]:
        public = key.public_key().public_bytes_raw()
        if why := _needs(installation, public):
            stewards.append(key)
            kept.append(f"steward {public.hex()[:16]}: {why}")
    signing = verifier_keys(installation)[-1].vkey
    signings = tuple(
        key if vkey == signing else SigningKey(public=key.public, private=None)
        for key, vkey in zip(keyring.signings, keyring.vkeys, strict=True)
    )
    left = replace(keyring, masters=keyring.masters[:1], stewards=tuple(stewards), signings=signings)
    return left, tuple(kept)


def _needs(installation: Installation, public: bytes) -> str:
    """What still needs an older key of the steward; empty when nothing does."""
    with reading(installation.control) as connection:
        stored, waiting = newest_plan(connection), len(outbox.waiting(connection, 1))
    if stored is not None and read_steward_key(stored) == public.hex():
        return "the serving plan carries it"
    if waiting:
        return "events wait to be sealed: try again when the steward has sealed them"
    files = rotation.journals_sealed_to(installation.home.journal, public)
    return f"{len(files)} journal files are sealed to it" if files else ""


def _private_names(keyring: Keyring) -> dict[str, list[str]]:
    """The names of the secrets that the keyring can use; a signing key of which only the public part is left cannot."""
    named = rotation.names(keyring)
    able = [vkey for key, vkey in zip(keyring.signings, keyring.vkeys, strict=True) if key.private is not None]
    return {**named, "signing": able}


def _state(installation: Installation, keyring: Keyring, kind: KeyKind, name: str, at: int) -> KeyState:
    if at == 0 and _unfinished(installation, keyring, kind):
        return KeyState(kind=kind, name=name, state=f"new: run pilotage keys rotate --{kind} to take it", needed=True)
    if kind == "signing":
        return _signing_state(installation, keyring, name)
    if at == 0:
        return KeyState(kind=kind, name=name, state="in use", needed=True)
    if kind == "steward":
        why = _needs(installation, bytes.fromhex(name))
        return KeyState(kind=kind, name=name, state=why or "kept until pilotage keys prune", needed=bool(why))
    return KeyState(kind=kind, name=name, state="kept until pilotage keys prune", needed=False)


def _signing_state(installation: Installation, keyring: Keyring, vkey: str) -> KeyState:
    period = next((each for each in verifier_keys(installation) if each.vkey == vkey), None)
    private = keyring.signings[keyring.vkeys.index(vkey)].private is not None
    if period is None or not period.last:
        return KeyState(kind="signing", name=vkey, state="in use", needed=True)
    what = "private part kept until pilotage keys prune" if private else "public part kept for ever"
    return KeyState(kind="signing", name=vkey, state=f"signed sizes {period.first}-{period.last}; {what}", needed=False)
