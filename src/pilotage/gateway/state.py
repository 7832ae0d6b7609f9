"""What a worker answers from: one serving plan with its releases loaded and checked, swapped whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pilotage.contracts.compile import RowCheck, compile_contract
from pilotage.contracts.model import DataContract
from pilotage.errors import IntegrityError, PilotageError
from pilotage.gateway.authenticate import Principals
from pilotage.gateway.plan import Route, ServingPlan, decode_plan
from pilotage.gateway.store import StoredPlan
from pilotage.kernel.digests import digest, short
from pilotage.releases.load import open_release
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime

__all__ = ["LiveSystem", "Serving", "load_serving", "start_serving"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LiveSystem:
    """One system as a worker answers for it. `broken` says why its release cannot answer; then the rest is None.

    `names` are the features in contract order, `version` is the contract's, `target` how attempts name the release.
    """

    route: Route
    plan_digest: str
    environment: str
    names: list[str] = field(default_factory=list)
    version: str = ""
    target: str = ""
    contract: DataContract | None = None
    check: RowCheck | None = None
    runtime: Runtime | None = None
    spec: ServingSpec | None = None
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """One plan, ready to answer. `paths` maps a request's path to its system."""

    plan: ServingPlan
    digest: str
    environment: str
    principals: Principals
    systems: Mapping[str, LiveSystem]
    paths: Mapping[str, LiveSystem]

    @property
    def broken(self) -> bool:
        """Whether a release of the plan could not be loaded; it is tried again."""
        return any(live.broken for live in self.systems.values())


def load_serving(stored: StoredPlan, releases: Path, previous: Serving | None = None) -> Serving:
    """The plan with its releases: verified, compiled, opened. Blocks: call it off the loop, then `start_serving`.

    What `previous` has loaded is taken over. A release that cannot be loaded breaks its own system only: keys,
    stops and the other systems of the plan must still take effect. Raises IntegrityError for a changed plan.
    """
    if digest(stored.body) != stored.digest:
        raise IntegrityError(
            f"serving plan {stored.version} was changed",
            got=digest(stored.body),
            expected=stored.digest,
            mend="publish the plan again",
        )
    plan = decode_plan(stored.body)
    environment = previous.environment if previous else environment_digest()
    kept = {live.route.release: live for live in previous.systems.values() if not live.broken} if previous else {}
    systems = {
        route.system: _live(route, stored.digest, environment, releases, kept.get(route.release))
        for route in plan.routes
    }
    return _serving(plan, stored.digest, environment, systems)


async def start_serving(serving: Serving, previous: Serving | None = None) -> Serving:
    """Start the runtimes that are new; one that does not start breaks its own system only."""
    running = {id(live.runtime) for live in previous.systems.values()} if previous else set()
    systems = {}
    for name, live in serving.systems.items():
        systems[name] = live
        if live.runtime is None or id(live.runtime) in running:
            continue
        try:
            await live.runtime.start()
        except (PilotageError, OSError) as error:
            _log.error("release %s of %s does not start: %s", live.route.release, name, error)
            await live.runtime.close()
            systems[name] = _broken(live.route, serving.digest, live.environment, error)
    return _serving(serving.plan, serving.digest, serving.environment, systems)


def _serving(plan: ServingPlan, plan_digest: str, environment: str, systems: Mapping[str, LiveSystem]) -> Serving:
    paths = {f"/v1/systems/{name}/decide": live for name, live in systems.items()}
    return Serving(
        plan=plan,
        digest=plan_digest,
        environment=environment,
        principals=Principals(plan.keys),
        systems=systems,
        paths=paths,
    )


def _live(route: Route, plan_digest: str, environment: str, releases: Path, kept: LiveSystem | None) -> LiveSystem:
    if kept is not None and kept.route.contract == route.contract:
        return replace(kept, route=route, plan_digest=plan_digest)
    try:
        return _load(route, plan_digest, environment, releases)
    except (PilotageError, OSError) as error:
        _log.error("release %s of %s cannot be loaded: %s", route.release, route.system, error)
        return _broken(route, plan_digest, environment, error)


def _load(route: Route, plan_digest: str, environment: str, releases: Path) -> LiveSystem:
    release = open_release(releases, route.release)
    contract = release.contract
    if contract.digest() != route.contract:
        raise IntegrityError(
            "the release's data contract is not the one that the plan names",
            got=contract.digest(),
            expected=route.contract,
            mend="publish the plan again",
        )
    runtime = open_runtime(release.folder, release.serving)
    facts: dict[str, Any] = {
        "names": [column.name for column in contract.features],
        "version": contract.version,
        "contract": contract,
        "check": compile_contract(contract),
        "target": f"{runtime.name}@{short(route.release)}",
        "runtime": runtime,
        "spec": release.serving,
    }
    return LiveSystem(route=route, plan_digest=plan_digest, environment=environment, **facts)


def _broken(route: Route, plan_digest: str, environment: str, error: Exception) -> LiveSystem:
    return LiveSystem(route=route, plan_digest=plan_digest, environment=environment, broken=str(error))
