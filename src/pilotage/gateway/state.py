"""What a worker answers from: one serving plan with its releases loaded and checked, swapped whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pilotage.contracts.compile import RowCheck, compile_contract
from pilotage.contracts.model import DataContract
from pilotage.errors import InputError, IntegrityError
from pilotage.gateway.authenticate import Principals
from pilotage.gateway.forms import AnsweredForms
from pilotage.gateway.plan import Route, ServingPlan, decode_plan
from pilotage.gateway.store import StoredPlan
from pilotage.kernel.digests import digest, short
from pilotage.releases.load import open_release
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime

__all__ = ["LiveSystem", "LoadedModel", "Serving", "load_serving", "read_plan", "rebuilt", "restrict", "start_serving"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What of a release answers. `names` are the features in contract order, `target` is how attempts name it."""

    contract: DataContract
    check: RowCheck
    names: list[str]
    spec: ServingSpec
    runtime: Runtime
    target: str


@dataclass(frozen=True, kw_only=True)
class LiveSystem:
    """One system as a worker answers for it. `model` is None when its release cannot answer; `broken` says why."""

    route: Route
    plan_digest: str
    environment: str
    forms: AnsweredForms
    model: LoadedModel | None
    broken: str = ""

    @property
    def direct(self) -> bool:
        """Whether a row that fits the contract is simply scored, on the event loop."""
        return self.model is not None and self.model.runtime.inline and not self.route.stopped


@dataclass(frozen=True, kw_only=True)
class Serving:
    """One plan, ready to answer. `paths` maps a request's path to its system, `direct` the raw address to those that
    answer at once.
    """

    plan: ServingPlan
    digest: str
    environment: str
    principals: Principals
    systems: Mapping[str, LiveSystem]
    paths: Mapping[str, LiveSystem]
    direct: Mapping[bytes, LiveSystem]

    @property
    def broken(self) -> bool:
        """Whether a release of the plan could not be loaded; it is tried again."""
        return any(live.model is None for live in self.systems.values())


def read_plan(stored: StoredPlan) -> ServingPlan:
    """The plan in its bytes. Raises IntegrityError when they were changed, or are none that this version can read."""
    if digest(stored.body) != stored.digest:
        raise IntegrityError(
            f"serving plan {stored.version} was changed",
            got=digest(stored.body),
            expected=stored.digest,
            mend="publish the plan again",
        )
    try:
        plan = decode_plan(stored.body)
        Principals(plan.keys)
        bytes.fromhex(plan.steward_key)
    except (ValueError, InputError) as error:
        raise IntegrityError(
            f"serving plan {stored.version} cannot be read",
            got=error,
            expected="a plan of this version of Pilotage",
            mend="run one version on all nodes and publish the plan again",
        ) from error
    return plan


def restrict(serving: Serving, plan: ServingPlan) -> Serving:
    """What was served until now under the keys, stops and removals of a later plan, while its releases are loaded.

    So that a revocation or a stop never waits for a model.
    """
    routes = {route.system: route for route in plan.routes}
    systems = {
        name: replace(live, route=msgspec.structs.replace(live.route, stopped=routes[name].stopped))
        for name, live in serving.systems.items()
        if name in routes
    }
    return replace(rebuilt(serving, systems), principals=Principals(plan.keys))


def rebuilt(serving: Serving, systems: Mapping[str, LiveSystem]) -> Serving:
    """The same plan and principals with other routes of its systems."""
    made = _serving(serving.plan, serving.digest, serving.environment, systems)
    return replace(made, principals=serving.principals)


def load_serving(stored: StoredPlan, releases: Path, previous: Serving | None = None) -> Serving:
    """The plan with its releases: verified, compiled, opened. Blocks: call it off the loop, then `start_serving`.

    What `previous` has loaded is taken over. A release that cannot be loaded breaks its own system only: keys,
    stops and the other systems of the plan must still take effect. Raises IntegrityError for a changed plan.
    """
    plan = read_plan(stored)
    environment = previous.environment if previous else environment_digest()
    kept = {live.route.release: live.model for live in previous.systems.values()} if previous else {}
    systems = {
        route.system: _try_to_load(route, stored.digest, environment, releases, kept.get(route.release))
        for route in plan.routes
    }
    return _serving(plan, stored.digest, environment, systems)


async def start_serving(serving: Serving, previous: Serving | None = None) -> Serving:
    """Start the runtimes that are new; one that does not start breaks its own system only."""
    running = {id(live.model) for live in previous.systems.values()} if previous else set()
    systems = {}
    for name, live in serving.systems.items():
        systems[name] = live
        if live.model is None or id(live.model) in running:
            continue
        try:
            await live.model.runtime.start()
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("release %s of %s does not start: %s", live.route.release, name, error)
            await live.model.runtime.close()
            systems[name] = _live(live.route, serving.digest, live.environment, None, str(error))
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
        direct={path.encode(): live for path, live in paths.items() if live.direct},
    )


def _try_to_load(
    route: Route, plan_digest: str, environment: str, releases: Path, kept: LoadedModel | None
) -> LiveSystem:
    try:
        model = kept or _load(route, releases)
        _must_be_planned(route, model)
    except Exception as error:  # noqa: BLE001 - a model's own library may raise anything
        _log.error("release %s of %s cannot be loaded: %s", route.release, route.system, error)
        return _live(route, plan_digest, environment, None, str(error))
    return _live(route, plan_digest, environment, model)


def _load(route: Route, releases: Path) -> LoadedModel:
    release = open_release(releases, route.release)
    runtime = open_runtime(release.folder, release.serving)
    return LoadedModel(
        contract=release.contract,
        check=compile_contract(release.contract),
        names=[column.name for column in release.contract.features],
        spec=release.serving,
        runtime=runtime,
        target=f"{runtime.name}@{short(route.release)}",
    )


def _must_be_planned(route: Route, model: LoadedModel) -> None:
    """Decisions name the plan's contract digest; it must be that of the contract they are checked against."""
    if model.check.digest != route.contract:
        raise IntegrityError(
            "the release's data contract is not the one that the plan names",
            got=model.check.digest,
            expected=route.contract,
            mend="publish the plan again",
        )


def _live(route: Route, plan_digest: str, environment: str, model: LoadedModel | None, broken: str = "") -> LiveSystem:
    forms = AnsweredForms(
        system=route.system,
        release=route.release,
        environment=environment,
        contract=route.contract,
        policy=route.policy,
        plan=plan_digest,
        stage=route.stage,
        arm=route.arm,
        target=model.target if model is not None else "",
    )
    return LiveSystem(
        route=route, plan_digest=plan_digest, environment=environment, forms=forms, model=model, broken=broken
    )
