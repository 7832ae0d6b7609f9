"""Why a system does not answer on this node: everything between a request and its answer, looked at in turn.

Nothing is changed. The database may be away: then the node's plan file is looked at, as its workers do.
"""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from sqlalchemy.exc import SQLAlchemyError

from pilotage.enrichment.checking import inspect_sources
from pilotage.errors import PilotageError, Unavailable
from pilotage.gateway.authenticate import principal_of
from pilotage.gateway.plan import Route, ServingPlan, decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.stops import ALL, read_stops
from pilotage.gateway.store import StoredPlan, newest_plan
from pilotage.kernel.clock import now_us, rfc3339
from pilotage.kernel.digests import short
from pilotage.releases.load import open_release
from pilotage.runtimes.environment import environment_digest
from pilotage.storage.database import open_engine, reading, url_of
from pilotage.storage.home import Home
from pilotage.wiring.endpoints import endpoints, own_context
from pilotage.wiring.settings import Settings
from pilotage.wiring.workers import workers_of

__all__ = ["Finding", "check_gateway"]

_FREE = 64 * 2**20
_SKEW_US = 5_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at and found; when it is not fine, the mend and the next command."""

    name: str
    fine: bool
    what: str
    mend: str = ""
    next: str = ""

    def as_dict(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)


def check_gateway(settings: Settings, system: str = "", key: str = "") -> list[Finding]:
    """What there is to say about a system (empty: about all), and about an API key by its id (empty: none)."""
    home = settings.home
    stored, found = _plan(settings)
    findings = [found]
    if stored is not None:
        plan = decode_plan(stored.body)
        findings += [*_systems(home, plan, system), *_key(plan, key, system), _clock(plan)]
    findings += [_disk(home), *_running(settings, stored.version if stored is not None else 0)]
    return findings


def _plan(settings: Settings) -> tuple[StoredPlan | None, Finding]:
    home, where = settings.home, "the database"
    try:
        if not settings.database_url and not home.control_database.exists():
            raise OSError("there is no control.db")
        engine = open_engine(url_of(home, "control", settings.database_url))
        try:
            with reading(engine) as connection:
                stored = newest_plan(connection)
        finally:
            engine.dispose()
    except (OSError, SQLAlchemyError) as error:
        where = f"the plan file; the database is away ({str(error).partition(chr(10))[0][:80]})"
        try:
            stored = read_plan_file(home.plan_file)
        except PilotageError as fault:
            return None, Finding(name="plan", fine=False, what=fault.what, mend=fault.mend, next="pilotage up")
    if stored is None:
        what = f"there is no serving plan in {where}"
        return None, Finding(name="plan", fine=False, what=what, mend="start the installation", next="pilotage up")
    return stored, Finding(name="plan", fine=True, what=f"version {stored.version} in {where}")


def _systems(home: Home, plan: ServingPlan, system: str) -> Iterator[Finding]:
    routes = [route for route in plan.routes if system in ("", route.system)]
    if not routes:
        live = ", ".join(route.system for route in plan.routes) or "none"
        yield Finding(
            name="route",
            fine=False,
            what=f"{system} is not live; live are: {live}" if system else "nothing is live",
            mend="promote a release of it",
            next=f"pilotage promote --system {system or 'NAME'} --to internal",
        )
    stops = read_stops(home.stops)
    for route in routes:
        yield from _release(home, route)
        yield from _together(route)
        here = stops.get(route.system) or stops.get(ALL)
        if here is not None:
            which = "--all" if route.system not in stops else f"--system {route.system}"
            what = f"{route.system} is stopped on this node: {here.reason}"
            yield _stopped(what, f"pilotage start --here {which}")
        elif route.stopped:
            what = f"{route.system} is stopped: {route.stopped}"
            yield _stopped(what, f"pilotage start --system {route.system}")
        else:
            yield Finding(name="stop", fine=True, what=f"{route.system} is not stopped")


def _together(route: Route) -> Iterator[Finding]:
    """Whether rows that were proven to may share a call do so here: a proof is of the environment it was made in."""
    proof = route.together
    if not proof.rows:
        return
    if proof.environment == environment_digest():
        what = f"up to {proof.rows} rows of {route.system} share a call, as proven in this environment"
        yield Finding(name="together", fine=True, what=what)
        return
    what = (
        f"rows of {route.system} are answered one by one: that up to {proof.rows} may share a call was proven in "
        f"another environment ({short(proof.environment)}, here {short(environment_digest())})"
    )
    again = f"pilotage evaluate {short(route.release)} --together"
    yield Finding(name="together", fine=False, what=what, mend="prove it again on this machine", next=again)


def _stopped(what: str, command: str) -> Finding:
    return Finding(name="stop", fine=False, what=what, mend="start it, once the reason is gone", next=command)


def _release(home: Home, route: Route) -> Iterator[Finding]:
    name = f"{route.system} {short(route.release)}"
    try:
        release = open_release(home.releases, route.release)
    except PilotageError as error:
        yield Finding(
            name="release",
            fine=False,
            what=f"{name}: {error.what}",
            mend="copy its folder from where it is whole; a worker takes it up by itself",
            next=f"pilotage release show {short(route.release)}",
        )
        return
    yield Finding(name="release", fine=True, what=f"{name} is here, every byte of it")
    for told in inspect_sources(release.contract):
        check = f"pilotage gateway check --system {route.system}"
        yield Finding(name="source", fine=told.fine, what=told.what, mend=told.mend, next="" if told.fine else check)


def _key(plan: ServingPlan, key: str, system: str) -> Iterator[Finding]:
    if not key:
        return
    issue = f"pilotage key issue NAME --scope decide:{system or 'SYSTEM'}"
    found = next((each for each in plan.keys if each.id == key), None)
    if found is None:
        what, mend = f"{key} is in no plan: unknown, revoked or expired", "issue another"
        yield Finding(name="key", fine=False, what=what, mend=mend, next=f"pilotage key show {key}")
        return
    if found.expires and now_us() >= found.expires:
        what = f"{key} expired at {rfc3339(found.expires)}"
        yield Finding(name="key", fine=False, what=what, mend="issue another", next=issue)
    elif system and not principal_of(found).may_decide(system):
        what = f"{key} has no scope decide:{system}, but {', '.join(found.scopes)}"
        yield Finding(name="key", fine=False, what=what, mend="issue one that has", next=issue)
    else:
        where = f", only from {', '.join(found.networks)}" if found.networks else ""
        yield Finding(name="key", fine=True, what=f"{key} may ask{where}")


def _clock(plan: ServingPlan) -> Finding:
    behind = plan.created - now_us()
    if behind > _SKEW_US:
        what = f"the plan is from {behind / 1e6:.0f} s in the future: this machine's clock is behind"
        return Finding(name="clock", fine=False, what=what, mend="set the clock, keep it by NTP", next="date -u")
    return Finding(name="clock", fine=True, what="not behind the plan")


def _disk(home: Home) -> Finding:
    place = home.journal if home.journal.exists() else home.root
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(name="disk", fine=False, what=str(error), mend="name the right home", next="pilotage up")
    if free < _FREE:
        what = f"{free / 2**20:,.0f} MiB free for the journal: without a record there is no answer"
        return Finding(name="disk", fine=False, what=what, mend="free some space", next=f"df -h {place}")
    return Finding(name="disk", fine=True, what=f"{free / 2**20:,.0f} MiB free for the journal")


def _running(settings: Settings, version: int) -> Iterator[Finding]:
    try:
        address = endpoints(settings.home.run)["gateway"]
    except Unavailable as error:
        yield Finding(name="processes", fine=False, what=error.what, mend="start them", next="pilotage up")
        return
    workers = workers_of(settings.home)
    if not workers:
        what, log = "no worker lives", f"tail {settings.home.run}/gateway-0.log"
        yield Finding(name="workers", fine=False, what=what, mend="see why they end", next=log)
    for each in workers:
        what = f"worker {each.worker} is {each.state}, plan {each.plan}"
        log = f"tail {settings.home.run}/gateway-{each.worker}.log"
        if each.state != "ready":
            yield Finding(name="workers", fine=False, what=what, mend="wait a moment, then see its log", next=log)
        elif each.plan < version:
            what += f" of {version}"
            yield Finding(name="workers", fine=False, what=what, mend="restart them", next="pilotage gateway restart")
        else:
            yield Finding(name="workers", fine=True, what=what)
    if settings.tls_client_ca is None:
        yield _reachable(address)


def _reachable(address: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=3, context=own_context(address)) as reply:  # noqa: S310 - our own address
            return Finding(name="address", fine=reply.status == 200, what=f"{address} answers {reply.status}")
    except urllib.error.HTTPError as error:
        what, mend = (
            f"{address} answers {error.code}: {error.read(200).decode(errors='replace')}",
            "see the worker's log",
        )
    except (urllib.error.URLError, OSError) as error:
        what, mend = f"{address} does not answer: {error}", "look for a firewall, or start it again"
    return Finding(name="address", fine=False, what=what, mend=mend, next=f"curl -i {address}/ready")
