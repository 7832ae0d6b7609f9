"""A small governed installation for tests: people by role, releases with evidence, approvals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from sqlalchemy import Engine

from pilotage.access.model import ROLES, Person
from pilotage.access.service import add_person, create_first_admin
from pilotage.evidence.model import Evidence, tested
from pilotage.evidence.store import record
from pilotage.gates.model import Approval
from pilotage.gates.policy import rule_for
from pilotage.gates.service import approve
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest
from pilotage.releases.model import Manifest, Origin, Release
from pilotage.releases.store import register
from pilotage.rollout.service import Rollout
from pilotage.storage.database import writing
from pilotage.storage.home import Home
from pilotage.systems.model import AISystem, Owners, Pilot
from pilotage.systems.store import declare_system, find_system
from pilotage.testing.releases import make_release

__all__ = ["GovernedHome"]

Tier = Literal["low", "medium", "high"]


@dataclass
class GovernedHome:
    """A home with a control database whose tables exist, one person in each role, and a clock that tests turn.

    `now` is Unix microseconds; every use of `clock` moves it by one, so that no two acts share a moment.
    """

    root: Path
    control: Engine
    now: int = field(default_factory=now_us)

    def __post_init__(self) -> None:
        self.home = Home(root=self.root).create()
        self.admin = create_first_admin(self.control, at=self.clock())
        self.people: dict[str, Person] = {"admin": self.admin}
        for role in ROLES[1:]:
            self.people[role] = self.person(role.replace("_", " "), role)
        self.rollout = Rollout(control=self.control, home=self.home, steward_key="00" * 32, clock=self.clock)

    def clock(self) -> int:
        """The next microsecond."""
        self.now += 1
        return self.now

    def person(self, name: str, *roles: str, kind: Literal["human", "service"] = "human") -> Person:
        """One more person."""
        return add_person(self.control, self.admin, name=name, roles=roles, kind=kind, at=self.clock())

    def register(self, number: int = 1, *, system: str = "example", tier: Tier = "high", author: str = "") -> Release:
        """A row of the registry without a folder, for tests of gates: quick to make."""
        manifest = Manifest(
            system=system,
            runtime="onnx",
            contract=digest(b"contract"),
            policy=digest(b"policy"),
            origin=Origin(artefact=digest(b"%d" % number), data=digest(b""), environment={}, builder="tests"),
            files={},
        )
        owners = Owners(business="b", model="m", operations="o", risk="r")
        pilot = Pilot(artefact="m.joblib", data="d.csv", target="y", positive="1")
        declared = AISystem(id=system, name="S", purpose="p", risk_tier=tier, owners=owners, pilot=pilot)
        return self._registered(digest(b"release %d" % number), manifest, declared, author)

    def release(
        self, shift: float = 0.0, *, system: str = "example", tier: Tier = "medium", author: str = "", **made_with: Any
    ) -> Release:
        """A real release, folder and all, with evidence for stage internal; `shift` tells releases apart.

        `made_with` are further arguments of `make_release`.
        """
        loaded = make_release(self.home, system=system, shift=shift, **made_with)
        declared = msgspec.structs.replace(loaded.system(), risk_tier=tier)
        made = self._registered(loaded.digest, loaded.manifest, declared, author)
        self.evidence(made)
        return made

    def evidence(self, release: Release, *checks: str, passed: bool = True, expires: int = 0) -> list[Evidence]:
        """Evidence for checks; for all that stage internal demands of the system when none is named."""
        with writing(self.control) as connection:
            tier = find_system(connection, release.system).risk_tier
            rules = {check.name: check for check in rule_for("internal", tier).checks}
            made = [
                self._fact(name, release.digest, passed, expires, rules[name].figure if name in rules else "")
                for name in checks or tuple(rules)
            ]
            for fact in made:
                record(connection, fact)
        return made

    def approve(self, release: Release, stage: str = "internal") -> list[Approval]:
        """Every approval that the gate demands, each by the person in that role."""
        with writing(self.control) as connection:
            tier = find_system(connection, release.system).risk_tier
        roles = rule_for(stage, tier).approvals
        return [
            approve(self.control, self.people[role], release=release.digest, stage=stage, at=self.clock())
            for role in roles
        ]

    def promoted(
        self, shift: float = 0.0, *, system: str = "example", tier: Tier = "medium", **made_with: Any
    ) -> Release:
        """A release made, approved and live at stage internal."""
        made = self.release(shift, system=system, tier=tier, **made_with)
        self.approve(made)
        self.rollout.promote(self.people["ml_engineer"], system, made.digest, "internal")
        return made

    def _registered(self, name: str, manifest: Manifest, declared: AISystem, author: str) -> Release:
        by = author or self.people["ml_engineer"].id
        with writing(self.control) as connection:
            declare_system(connection, declared, by=by, at=self.clock())
            return register(connection, name, manifest, author=by, at=self.clock())

    def _fact(self, check: str, subject: str, passed: bool, expires: int, figure: str = "") -> Evidence:
        figures = {"made_for_tests": True, **({figure: 1.0} if figure else {})}
        made = tested(check, subject, self.clock(), passed=passed, figures=figures, expires=expires)
        return msgspec.structs.replace(made, producer="pilotage.testing")
