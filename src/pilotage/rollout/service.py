"""Use cases of rollout. Each act, its event and the new serving plan are one transaction; the plan file follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from pilotage.access import issuers, keys, limits
from pilotage.access.issuers import Issuer
from pilotage.access.limits import Limit
from pilotage.access.model import Person, Secret, require
from pilotage.errors import Conflict, InputError, NotFound, Refused
from pilotage.evidence.store import latest
from pilotage.gates.policy import gate_stages
from pilotage.gates.service import ATTESTED, pass_gate
from pilotage.gates.store import find_passage
from pilotage.gateway.plan import Answering, Drill
from pilotage.gateway.store import StoredPlan, newest_plan, newest_version, serving_plans
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.retention_rules import retention_rules
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.store import find_release
from pilotage.releases.together import CHECK as TOGETHER
from pilotage.rollout import store
from pilotage.rollout.chains import answering_of, refuse_unfit, unfit
from pilotage.rollout.model import Action, Deployment, Live, Published, RolledBack, live_after, previous_release
from pilotage.rollout.plans import add_compiled_plan, read_steward_key, refresh_plan_file
from pilotage.storage.database import reading, writing
from pilotage.storage.home import Home
from pilotage.storage.outbox import emit
from pilotage.storage.witness import Attesting, ChangedRow, attest, changed_rows
from pilotage.systems.model import STAGES
from pilotage.systems.store import find_system, lock_system

__all__ = ["Rollout", "history", "live", "live_systems", "witness"]

_EVENT = {
    "promote": "release.promoted",
    "rollback": "release.rolled_back",
    "stop": "system.stopped",
    "start": "system.started",
}


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What changes what is live. `steward_key` is the steward's X25519 public key in hex: plans carry it.

    `older_steward_keys` are those from before it was rotated.
    """

    control: Engine
    home: Home
    steward_key: str
    older_steward_keys: tuple[str, ...] = ()
    clock: Clock = now_us

    def promote(self, person: Person, system: str, release: str, stage: str) -> Published:
        """Make a release live at a stage. The gate is read again in this very transaction, and kept as it was read.

        Raises Forbidden, NotFound, InputError, Conflict (live already), Refused (gate closed; stage out of order),
        IntegrityError (a byte of the release changed).
        """
        require(person, "system.promote")
        with reading(self.control) as connection:
            found = find_release(connection, release)
        if found.system != system:
            raise NotFound(f"{found.name} is no release of {system}", got=release, mend="name a release of this system")
        loaded = open_release(self.home.releases, found.digest)
        with self.changing(person, "system.promote", system) as (connection, at):
            now = live_after(store.history(connection, system))
            _refuse_stage(now, found.digest, stage)
            before = previous_release([*store.history(connection, system), _placing(system, stage, found.digest)])
            answering = self.answering(connection, loaded, before, refuse=True)
            passage = pass_gate(connection, found, stage, at)
            act = self.act(
                connection,
                "promote",
                person,
                system=system,
                stage=stage,
                release=found.digest,
                contract=loaded.manifest.contract,
                policy=loaded.manifest.policy,
                passage=passage.id,
                at=at,
                answering=answering,
            )
        return self.published(*act, answering)

    def rollback(self, person: Person, system: str, reason: str = "") -> RolledBack:
        """Return to the release that was live before at the same stage, on the gate it passed then.

        Raises Forbidden, NotFound, Refused (nothing to return to), IntegrityError (that release's bytes changed).
        """
        require(person, "system.rollback")
        with reading(self.control) as connection:
            target = _rollback_target(connection, system)
        loaded = open_release(self.home.releases, target)
        with self.changing(person, "system.rollback", system) as (connection, at):
            now = _placed(connection, system)
            if _rollback_target(connection, system) != target:
                raise Conflict("the system changed meanwhile", got=system, mend="look at it, then roll back again")
            passage = find_passage(connection, target, now.stage)
            if passage is None:
                raise Refused("the previous release never passed this gate", got=target, mend="promote one that does")
            before = previous_release([*store.history(connection, system), _placing(system, "", target, "rollback")])
            _, plan = self.act(
                connection,
                "rollback",
                person,
                system=system,
                stage=now.stage,
                release=target,
                contract=loaded.manifest.contract,
                policy=loaded.manifest.policy,
                passage=passage.id,
                reason=reason,
                at=at,
                answering=self.answering(connection, loaded, before, refuse=False),
            )
        committed = self.clock()
        refresh_plan_file(self.control, self.home)
        return RolledBack(
            system=system,
            stage=now.stage,
            from_release=now.release,
            to_release=target,
            plan_version=plan.version,
            plan_digest=plan.digest,
            committed=committed,
        )

    def stop(self, person: Person, system: str, reason: str) -> Published:
        """Let the system answer nobody until it is started. Raises Forbidden, NotFound, InputError, Conflict."""
        if not reason.strip():
            raise InputError("a stop needs a reason", mend="say why: callers read it")
        return self._switch(person, "stop", system, reason.strip())

    def start(self, person: Person, system: str, reason: str = "") -> Published:
        """Let a stopped system answer again, with the release that is live. Raises as `stop`."""
        return self._switch(person, "start", system, reason)

    def issue_key(
        self, person: Person, *, name: str, scopes: Iterable[str], expires: int = 0, networks: Iterable[str] = ()
    ) -> Secret:
        """A new API key, good on every gateway as soon as the plan arrives. Raises Forbidden, InputError, NotFound."""
        asked = list(scopes)
        with self.changing(person, "key.issue") as (connection, at):
            new = keys.issue_key(connection, person, name=name, scopes=asked, expires=expires, networks=networks, at=at)
            for scope in asked:
                if not scope.endswith(":*"):
                    find_system(connection, scope.partition(":")[2])
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return new

    def rotate_key(self, person: Person, key: str, *, overlap: int) -> Secret:
        """A new API key in the place of one that goes on for `overlap` microseconds.

        Raises Forbidden, NotFound, Conflict (revoked or over already), InputError.
        """
        with self.changing(person, "key.issue") as (connection, at):
            new = keys.rotate_key(connection, person, key, overlap=overlap, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return new

    def name_certificate(self, person: Person, key: str, name: str) -> None:
        """Let a client certificate's name stand for a key, as soon as the plan arrives.

        Raises Forbidden, NotFound, Conflict, InputError.
        """
        with self.changing(person, "key.issue") as (connection, at):
            keys.name_certificate(connection, person, key, name, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)

    def unname_certificate(self, person: Person, name: str) -> None:
        """Let a certificate's name stand for no key, as soon as the plan arrives. Raises Forbidden, NotFound."""
        with self.changing(person, "key.revoke") as (connection, at):
            keys.unname_certificate(connection, person, name, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)

    def revoke_key(self, person: Person, key: str) -> None:
        """End an API key, on every gateway as soon as the plan arrives. Raises Forbidden, NotFound, Conflict."""
        with self.changing(person, "key.revoke") as (connection, at):
            keys.revoke_key(connection, person, key, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)

    def set_limit(self, person: Person, limit: Limit) -> Limit:
        """Declare or change a limit, on every gateway as soon as the plan arrives; the limit as it is kept.

        Raises Forbidden, InputError, NotFound (no such system or key).
        """
        with self.changing(person, "limit.edit") as (connection, at):
            kept = limits.set_limit(connection, person, limit, at=at)
            if kept.scope.startswith("system:"):
                find_system(connection, kept.scope.removeprefix("system:"))
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return kept

    def remove_limit(self, person: Person, limit: str) -> None:
        """End a limit (by its id), on every gateway as soon as the plan arrives. Raises Forbidden, NotFound."""
        with self.changing(person, "limit.edit") as (connection, at):
            limits.remove_limit(connection, person, limit, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)

    def add_issuer(self, person: Person, issuer: Issuer, *, replace: bool = False) -> Issuer:
        """Trust an issuer of tokens, on every gateway as soon as the plan arrives; with `replace`, change it.

        Raises Forbidden, InputError, Conflict (there is one of that name or address), NotFound (no such system).
        """
        with self.changing(person, "issuer.edit") as (connection, at):
            kept = issuers.add_issuer(connection, person, issuer, replace=replace, at=at)
            for grant in kept.grants:
                action, _, system = grant.right.partition(":")
                if action in ("decide", "outcome", "drill") and system != "*":
                    find_system(connection, system)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return kept

    def revoke_tokens(self, person: Person, issuer: str) -> Issuer:
        """Refuse every token that an issuer issued until now, once the plan arrives. Raises Forbidden, NotFound."""
        with self.changing(person, "issuer.edit") as (connection, at):
            kept = issuers.revoke_tokens(connection, person, issuer, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return kept

    def suspend_person(self, person: Person, issuer: str, subject: str, reason: str) -> Issuer:
        """Refuse one person's tokens of an issuer, on every gateway as soon as the plan arrives.

        Raises Forbidden, NotFound, InputError, Conflict (suspended already).
        """
        with self.changing(person, "issuer.edit") as (connection, at):
            kept = issuers.suspend_person(connection, person, issuer, subject=subject, reason=reason, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return kept

    def resume_person(self, person: Person, issuer: str, subject: str) -> Issuer:
        """Take a suspended person's tokens again, by `sub` or identity. Raises Forbidden, NotFound."""
        with self.changing(person, "issuer.edit") as (connection, at):
            kept = issuers.resume_person(connection, person, issuer, subject=subject, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)
        return kept

    def remove_issuer(self, person: Person, issuer: str) -> None:
        """Trust an issuer no longer, as soon as the plan arrives. Raises Forbidden, NotFound."""
        with self.changing(person, "issuer.edit") as (connection, at):
            issuers.remove_issuer(connection, person, issuer, at=at)
            self.plan(connection, at)
        refresh_plan_file(self.control, self.home)

    def follow_steward_key(self, person: Person, old: str) -> StoredPlan:
        """Publish the steward's new key, on record: gateways seal their next journal file to it. Raises Forbidden."""
        with self.changing(person, "keyring.rotate") as (connection, at):
            stored = self.plan(connection, at)
            facts = {"key": "steward", "old": old, "new": self.steward_key, "plan": stored.version}
            emit(connection, "key.rotated", facts=facts, private={"by": person.id, "name": person.name}, at=at)
        refresh_plan_file(self.control, self.home)
        return stored

    def begin_new_journals(self) -> StoredPlan:
        """Let every worker begin a new journal file, so that the steward can delete the ones until now."""
        with writing(self.control) as connection:
            store.lock_plans(connection)
            stored = self.plan(connection, self.clock(), new_journals=True)
        refresh_plan_file(self.control, self.home)
        return stored

    def newest(self) -> int:
        """The version of the newest plan."""
        with reading(self.control) as connection:
            return newest_version(connection)

    def publish(self) -> StoredPlan:
        """Compile and publish a plan from what the database says now; needed once, before anything is live."""
        with writing(self.control) as connection:
            store.lock_plans(connection)
            stored = self.plan(connection, self.clock())
        refresh_plan_file(self.control, self.home)
        return stored

    def _switch(self, person: Person, action: Action, system: str, reason: str) -> Published:
        with self.changing(person, f"system.{action}", system) as (connection, at):
            now = _placed(connection, system)
            if (action == "stop") == bool(now.stopped):
                word = "stopped" if now.stopped else "running"
                raise Conflict(f"{system} is {word} already", got=now.stopped or None, mend="nothing is left to do")
            placed = now.deployment
            act = self.act(
                connection,
                action,
                person,
                system=system,
                stage=placed.stage,
                release=placed.release,
                contract=placed.contract,
                policy=placed.policy,
                passage=placed.passage,
                reason=reason,
                at=at,
            )
        return self.published(*act)

    @contextmanager
    def changing(self, person: Person, permission: str, system: str = "") -> Iterator[tuple[Connection, int]]:
        """A transaction that is alone with the plan (and the system), for a person who may."""
        require(person, permission)
        with writing(self.control) as connection:
            store.lock_plans(connection)
            if system:
                find_system(connection, system)
                lock_system(connection, system)
            yield connection, self.clock()

    def act(
        self,
        connection: Connection,
        action: Action,
        person: Person,
        *,
        system: str,
        stage: str,
        release: str,
        contract: str,
        policy: str,
        passage: str,
        at: int,
        reason: str = "",
        answering: Answering | None = None,
    ) -> tuple[Deployment, StoredPlan]:
        """Write the act, the plan that carries it, and its event."""
        act = Deployment(
            id=uuid7(),
            system=system,
            stage=stage,
            release=release,
            action=action,
            contract=contract,
            policy=policy,
            passage=passage,
            by=person.id,
            reason=reason,
            at=at,
            plan=newest_version(connection) + 1,
        )
        rows = attest(store.deployments, store.add_deployment(connection, act))
        if answering is not None:
            kept = store.add_answering(connection, act.id, answering)
            rows += attest(store.deployment_answering, kept)
        plan = self.plan(connection, at)
        facts: dict[str, object] = {"stage": stage, "plan": plan.version, "passage": passage, "rows": rows}
        if answering is not None and answering.fallback:
            facts["fallback"] = _names(answering)
        private = {"by": person.id, "name": person.name, "reason": reason}
        emit(connection, _EVENT[action], system=system, release=release, facts=facts, private=private, at=at)
        return act, plan

    def plan(
        self, connection: Connection, at: int, *, new_journals: bool = False, drills: Sequence[Drill] | None = None
    ) -> StoredPlan:
        """The next plan from what the database says, in the caller's transaction. `drills` as in `compile_plan`."""
        self._refuse_older_keyring(connection)
        key = self.steward_key
        return add_compiled_plan(connection, steward_key=key, at=at, new_journals=new_journals, drills=drills)

    def _refuse_older_keyring(self, connection: Connection) -> None:
        """A process with an older keyring must not turn gateways back to a key that may be dropped already."""
        newest = newest_plan(connection)
        now = read_steward_key(newest) if newest is not None else self.steward_key
        if now not in (self.steward_key, *self.older_steward_keys):
            raise Conflict(
                "the serving plan carries a steward's key that this keyring does not have",
                got=now,
                expected=self.steward_key,
                code="keyring_outdated",
                mend="install the keyring that the last rotation wrote, then start this process again",
            )

    def answering(self, connection: Connection, release: LoadedRelease, before: str, *, refuse: bool) -> Answering:
        """How a release answers, with the release `before` it in its chain where that is declared.

        Where it does not fit: raises Refused, or leaves it out of the chain, since a rollback must always be possible.
        """
        proof = latest(connection, release.digest, TOGETHER)
        if not before or "previous" not in release.system().serving.fallback:
            return answering_of(release, None, proof)
        previous = open_release(self.home.releases, before)
        faults = unfit(release, previous)
        if refuse:
            refuse_unfit(release, previous, faults)
        return answering_of(release, None if faults else previous, proof)

    def published(self, act: Deployment, plan: StoredPlan, answering: Answering | None = None) -> Published:
        committed = self.clock()
        refresh_plan_file(self.control, self.home)
        return Published(
            deployment=act,
            plan_version=plan.version,
            plan_digest=plan.digest,
            committed=committed,
            fallback=_names(answering) if answering is not None else [],
        )


def live(control: Engine, system: str, at: int | None = None) -> Live | None:
    """What is live for a system, or was at a moment; None while nothing is. Raises NotFound for an unknown system."""
    with reading(control) as connection:
        find_system(connection, system)
        return live_after(store.history(connection, system, until=at))


def live_systems(control: Engine) -> list[Live]:
    """What is live for every system that has something live, by system."""
    with reading(control) as connection:
        found = [live_after(store.history(connection, system)) for system in store.deployed_systems(connection)]
    return [each for each in found if each is not None]


def history(control: Engine, system: str) -> list[Deployment]:
    """A system's acts of rollout, oldest first."""
    with reading(control) as connection:
        return store.history(connection, system)


def witness(control: Engine, events: Iterable[Attesting]) -> Iterator[ChangedRow]:
    """Rows of the whole control plane that are not what the events attest.

    `events` are all of the ledger's, then those waiting in the outbox, oldest first.
    """
    with reading(control) as connection:
        tables = (*ATTESTED, store.deployments, store.deployment_answering, serving_plans, retention_rules)
        yield from changed_rows(connection, tables, events)


def _placed(connection: Connection, system: str) -> Live:
    now = live_after(store.history(connection, system))
    if now is None:
        raise NotFound(
            f"{system} has no live release", mend=f"promote one: pilotage promote --system {system} --to internal"
        )
    return now


def _rollback_target(connection: Connection, system: str) -> str:
    now = _placed(connection, system)
    target = previous_release(store.history(connection, system))
    if not target:
        raise Refused(
            f"{system} has no earlier release at stage {now.stage}",
            code="nothing_to_roll_back",
            mend=f"stop it: pilotage stop --system {system} --reason ..., or promote another release through the gate",
        )
    return target


def _names(answering: Answering) -> list[str]:
    return ["rules" if target.kind == "rules" else target.release for target in answering.fallback]


def _placing(system: str, stage: str, release: str, action: Action = "promote") -> Deployment:
    """An act as it will be, to see what it makes the release before."""
    texts = dict.fromkeys(("id", "contract", "policy", "passage", "by", "reason"), "")
    return Deployment(system=system, stage=stage, release=release, action=action, at=0, plan=0, **texts)


def _refuse_stage(now: Live | None, release: str, stage: str) -> None:
    """Stages are climbed one by one; a system never falls to a lower one by a promotion."""
    if stage not in gate_stages():
        raise InputError("no gate leads to this stage", got=stage, expected=", ".join(gate_stages()), mend="name one")
    at, to = STAGES.index(now.stage if now else "pilot"), STAGES.index(stage)
    if now is not None and now.release == release and now.stage == stage:
        raise Conflict("this release is live at this stage already", got=release, mend="nothing is left to do")
    if to > at + 1:
        raise Refused(
            f"a system goes up one stage at a time: it is at {STAGES[at]}",
            got=stage,
            expected=STAGES[at + 1],
            code="stage_order",
            mend=f"promote to {STAGES[at + 1]} first",
        )
    if to < at:
        raise Refused(
            f"the system is at {STAGES[at]}; a promotion cannot lower it",
            got=stage,
            expected=STAGES[at],
            code="stage_order",
            mend=f"let the release pass the gate to {STAGES[at]}, or stop the system",
        )
