"""The gate policy: a packaged data file, read once, that says what each stage demands at each risk tier."""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec
import yaml

from pilotage.access.model import PERMISSIONS
from pilotage.errors import InputError
from pilotage.gates.model import CheckRule, Rule

__all__ = ["check_words", "gate_stages", "rule_for"]

Tiers = dict[str, list[str]]


class _Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    made_by: str
    days: dict[str, int]
    figure: str = ""
    floors: dict[str, float] = {}


class _Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    checks: Tiers
    approvals: Tiers


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    approval_days: int
    checks: dict[str, _Check]
    stages: dict[str, _Stage]


def gate_stages() -> tuple[str, ...]:
    """The stages that a gate leads to, in order."""
    return tuple(_policy().stages)


def check_words(check: str) -> tuple[str, str]:
    """What a check asserts, and the command that makes its evidence; empty for a check that no gate demands."""
    found = _policy().checks.get(check)
    return ("", "") if found is None else (found.title, found.made_by)


def rule_for(stage: str, tier: str) -> Rule:
    """What the gate to a stage demands at a risk tier. Raises InputError for a stage without a gate."""
    policy = _policy()
    if stage not in policy.stages:
        raise InputError(
            "no gate leads to this stage", got=stage, expected=", ".join(policy.stages), mend="name one of these stages"
        )
    demands = policy.stages[stage]
    checks = [(name, policy.checks[name]) for name in demands.checks[tier]]
    return Rule(
        stage=stage,
        tier=tier,
        checks=tuple(_check_rule(name, check, tier) for name, check in checks),
        approvals=tuple(demands.approvals[tier]),
        approval_days=policy.approval_days,
    )


def _check_rule(name: str, check: _Check, tier: str) -> CheckRule:
    return CheckRule(
        name=name,
        title=check.title,
        made_by=check.made_by,
        days=check.days[tier],
        figure=check.figure,
        floor=check.floors[tier] if check.figure else 0.0,
    )


@cache
def _policy() -> _Policy:
    """The packaged policy; one that demands nothing somewhere, or of a role that may not approve, is a fault."""
    text = resources.files("pilotage.gates").joinpath("policy.yaml").read_text()
    policy = msgspec.convert(yaml.safe_load(text), _Policy)
    for name, stage in policy.stages.items():
        for tier in ("low", "medium", "high"):
            roles = stage.approvals[tier]
            if not stage.checks[tier] or not roles or any("release.approve" not in PERMISSIONS[role] for role in roles):
                mend = "demand checks, and approvals of roles that may approve"
                raise InputError(f"the gate policy of {name}, {tier} tier, demands nothing or the wrong", mend=mend)
    return policy
