"""What a worker answers from: one serving plan with its releases loaded and checked, swapped whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from pilotage.contracts.compile import EnrichingCheck, RowCheck, compile_contract
from pilotage.contracts.model import DataContract
from pilotage.errors import InputError, IntegrityError
from pilotage.gateway.authenticate import Principals
from pilotage.gateway.enrich import Enricher, enricher_of
from pilotage.gateway.forms import AnsweredForms
from pilotage.gateway.plan import Answering, Route, ServingPlan, Target, Together, decode_plan
from pilotage.gateway.store import StoredPlan
from pilotage.gateway.upstream import Upstream
from pilotage.kernel.clock import now_us
from pilotage.kernel.digests import digest, short
from pilotage.releases.load import open_release
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.model import ServingSpec
from pilotage.runtimes.open import open_runtime
from pilotage.runtimes.ports import Runtime
from pilotage.runtimes.rules import RULES, RuleSet, read_rules

__all__ = ["LiveSystem", "LoadedModel", "Serving", "load_serving", "read_plan", "rebuilt", "restrict", "start_serving"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What of a release answers. `names` are the features in contract order, `target` is how attempts name it.

    `upstream` protects a runtime that does not answer inline; `rules` are those of the release's own file. `enricher`
    draws what a request does not bring.
    """

    contract: DataContract
    check: RowCheck
    names: list[str]
    spec: ServingSpec
    runtime: Runtime
    target: str
    upstream: Upstream | None = None
    rules: RuleSet | None = None
    enricher: Enricher | None = None

    async def start(self) -> None:
        """Make ready to answer; raises what the runtime does."""
        await self.runtime.start()
        if self.enricher is not None:
            await self.enricher.start()

    async def close(self) -> None:
        """Stop: rows under way are refused, or answered by the chain."""
        await self.runtime.close()
        if self.enricher is not None:
            await self.enricher.close()

    @cached_property
    def packed_names(self) -> msgspec.Raw:
        """The names as msgpack: each record of a decision holds them."""
        return msgspec.Raw(msgspec.msgpack.encode(self.names))


@dataclass(frozen=True, kw_only=True)
class LiveSystem:
    """One system as a worker answers for it. `model` is None when its release cannot answer; `broken` says why.

    `chain` are the same system answered by something else, in order; `kind` says by what this one answers. A row that
    fits a system that is not `guarded` is scored at the end of the turn, and its score is the answer. Up to `together`
    rows may be scored in one call; 0: each alone. In `mode` drill what it answers does not count, and until
    `away_until` (Unix microseconds) its model is not asked.
    """

    route: Route
    plan_digest: str
    environment: str
    forms: AnsweredForms
    model: LoadedModel | None
    broken: str = ""
    kind: Literal["model", "rules"] = "model"
    chain: tuple[LiveSystem, ...] = ()
    together: int = 0
    mode: Literal["live", "drill"] = "live"
    away_until: int = 0

    @property
    def target(self) -> str:
        """How attempts name it."""
        return self.model.target if self.model is not None else self.route.arm

    @property
    def away(self) -> bool:
        """Whether a drill keeps its model away now."""
        return bool(self.away_until) and now_us() < self.away_until

    @property
    def at_once(self) -> int:
        """How many rows of one request are worked on at once where the runtime does not answer inline.

        Half the bulkhead's places at most, so that others have some too. A process answers one call after the other.
        """
        model = self.model
        if model is None or model.upstream is None or (model.runtime.name == "process" and not self.together):
            return 1
        return max(1, model.upstream.bulkhead.places // 2)

    @cached_property
    def guarded(self) -> bool:
        """Whether a row that fits needs more than to be scored."""
        inline = self.model is not None and self.model.runtime.inline and self.model.enricher is None
        return bool(self.route.stopped or self.chain or self.route.floor or self.away_until) or not inline

    @property
    def models(self) -> Iterator[LoadedModel]:
        """Every release that is loaded for it to answer by its model: rules need none that runs."""
        for live in (self, *self.chain):
            if live.model is not None and live.kind == "model":
                yield live.model

    @property
    def falls_back(self) -> bool:
        """Whether the chain may be asked now: a stopped system falls back only if that was declared."""
        return bool(self.chain) and (not self.route.stopped or self.route.when_stopped == "fallback")

    @property
    def direct(self) -> bool:
        """Whether a row that fits the contract is simply scored, on the event loop."""
        return not self.guarded


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
        return any(live.model is None or live.broken for live in self.systems.values())

    @cached_property
    def drills(self) -> Mapping[str, LiveSystem]:
        """Each system as it answers whoever asks it in a drill."""
        away = {each.system: each.until for each in self.plan.drills}
        return {name: _in_a_drill(live, away.get(name, 0)) for name, live in self.systems.items()}

    @property
    def models(self) -> dict[int, LoadedModel]:
        """Every loaded release by its identity: several routes may share one."""
        return {id(model): model for live in self.systems.values() for model in live.models}


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
    kept: dict[str, LoadedModel] = {}
    for live in previous.systems.values() if previous else ():
        kept |= {each.route.release: model for each in (live, *live.chain) for model in each.models}
    opener = _Opener(releases, kept, stored.digest, environment)
    systems = {route.system: opener.live(route) for route in plan.routes}
    return _serving(plan, stored.digest, environment, systems)


async def start_serving(serving: Serving, previous: Serving | None = None) -> Serving:
    """Start the runtimes that are new; one that does not start breaks its own system only."""
    running = previous.models if previous else {}
    failed: dict[int, str] = {}
    for key, model in serving.models.items():
        if key in running:
            continue
        try:
            await model.start()
        except Exception as error:  # noqa: BLE001 - as above
            _log.error("release %s does not start: %s", model.target, error)
            await model.close()
            failed[key] = str(error)
    systems = {name: _without(live, failed) for name, live in serving.systems.items()} if failed else serving.systems
    for live in systems.values():
        if live.model is not None and live.model.upstream is not None:
            live.model.upstream.answer_together(live.model.runtime, live.together)
    return _serving(serving.plan, serving.digest, serving.environment, systems)


def _without(live: LiveSystem, failed: Mapping[int, str]) -> LiveSystem:
    """The system without the runtimes that did not start; a chain goes on without them. Rules need no runtime."""
    why = failed.get(id(live.model), "")
    chain = tuple(each for each in live.chain if each.kind == "rules" or id(each.model) not in failed)
    if len(chain) == len(live.chain) and not why:
        return live
    return replace(live, model=None if why else live.model, broken=why or "a fallback does not start", chain=chain)


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


class _Opener:
    """Opens the releases of one plan, each once; what is `kept` from the plan before is taken over."""

    def __init__(self, releases: Path, kept: Mapping[str, LoadedModel], plan_digest: str, environment: str) -> None:
        self._releases, self._kept = releases, dict(kept)
        self._plan_digest, self._environment = plan_digest, environment

    def live(self, route: Route) -> LiveSystem:
        model, broken = self._try(route, route.release, route.contract)
        chain = []
        for target in route.fallback:
            found, why = self._try(route, target.release, target.contract)
            if found is None or (target.kind == "rules" and found.rules is None):
                broken = broken or f"fallback {target.kind} cannot be loaded: {why or 'it has no rules file'}"
            else:
                chain.append(_fallback(route, target, self._plan_digest, self._environment, found))
        return replace(_live(route, self._plan_digest, self._environment, model, broken), chain=tuple(chain))

    def _try(self, route: Route, release: str, contract: str) -> tuple[LoadedModel | None, str]:
        """A release with the contract that the plan names, or why there is none."""
        try:
            model = self._kept.get(release) or _load(release, self._releases, route)
            _must_be_planned(contract, model)
        except Exception as error:  # noqa: BLE001 - a model's own library may raise anything
            _log.error("release %s of %s cannot be loaded: %s", release, route.system, error)
            return None, str(error)
        self._kept[release] = model
        return model, ""


def _load(name: str, releases: Path, rules: Answering) -> LoadedModel:
    release = open_release(releases, name)
    runtime = open_runtime(release.folder, release.serving, patience_s=rules.deadline_ms / 1_000)
    target = f"{runtime.name}@{short(name)}"
    labels = (release.serving.adverse, release.serving.favourable)
    check = compile_contract(release.contract)
    own = release.file(RULES) if RULES in release.manifest.files else None
    return LoadedModel(
        contract=release.contract,
        check=check,
        names=[column.name for column in release.contract.features],
        spec=release.serving,
        runtime=runtime,
        target=target,
        upstream=None if runtime.inline else Upstream(target, rules),
        rules=None if own is None else read_rules(own, release.contract, labels),
        enricher=enricher_of(release.contract, check, rules) if isinstance(check, EnrichingCheck) else None,
    )


def _fallback(route: Route, target: Target, plan_digest: str, environment: str, model: LoadedModel) -> LiveSystem:
    """The system as one target of its chain answers for it: its decisions name the release that answered."""
    facts = {"release": target.release, "contract": target.contract, "policy": target.policy, "arm": target.kind}
    answering = msgspec.structs.replace(route, fallback=[], floor=0.0, together=Together(), **facts)
    kind: Literal["model", "rules"] = "rules" if target.kind == "rules" else "model"
    return replace(_live(answering, plan_digest, environment, model), kind=kind)


def _must_be_planned(contract: str, model: LoadedModel) -> None:
    """Decisions name the plan's contract digest; it must be that of the contract they are checked against."""
    if model.check.digest != contract:
        raise IntegrityError(
            "the release's data contract is not the one that the plan names",
            got=model.check.digest,
            expected=contract,
            mend="publish the plan again",
        )


def _live(route: Route, plan_digest: str, environment: str, model: LoadedModel | None, broken: str = "") -> LiveSystem:
    forms = _forms(route, plan_digest, environment, model)
    # A proof is of the environment that it was made in.
    together = route.together.rows if route.together.environment == environment else 0
    return LiveSystem(
        route=route,
        plan_digest=plan_digest,
        environment=environment,
        forms=forms,
        model=model,
        broken=broken,
        together=together,
    )


def _in_a_drill(live: LiveSystem, away_until: int) -> LiveSystem:
    forms = _forms(live.route, live.plan_digest, live.environment, live.model, mode="drill")
    chain = tuple(_in_a_drill(each, 0) for each in live.chain)
    return replace(live, mode="drill", forms=forms, chain=chain, away_until=away_until)


def _forms(
    route: Route,
    plan_digest: str,
    environment: str,
    model: LoadedModel | None,
    *,
    mode: Literal["live", "drill"] = "live",
) -> AnsweredForms:
    return AnsweredForms(
        system=route.system,
        release=route.release,
        environment=environment,
        contract=route.contract,
        policy=route.policy,
        plan=plan_digest,
        stage=route.stage,
        arm=route.arm,
        target=model.target if model is not None else "",
        mode=mode,
    )
