import asyncio
import hashlib

import msgspec
import pytest

from pilotage.errors import IntegrityError, Unauthenticated
from pilotage.gateway.plan import Key, Route, ServingPlan, encode_plan
from pilotage.gateway.state import load_serving, read_plan, restrict, start_serving
from pilotage.gateway.store import StoredPlan
from pilotage.storage.home import Home
from pilotage.testing.releases import make_release

KEYS = [Key(id="one", sha256=hashlib.sha256(b"one").hexdigest(), scopes=["decide:*"])]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(root=tmp_path_factory.mktemp("state") / "home").create()


@pytest.fixture(scope="module")
def releases(home):
    return [make_release(home, system="example", shift=shift) for shift in (0.0, 1.0)]


def stored(*routes, version=1, keys=KEYS):
    plan = ServingPlan(version=version, created=1, steward_key="00" * 32, routes=list(routes), keys=keys)
    body, digest = encode_plan(plan)
    return StoredPlan(version=version, digest=digest, body=body)


def route(made, **changes):
    facts = {"system": "example", "contract": made.contract.digest(), "policy": made.policy, "stage": "internal"}
    return Route(**(facts | {"release": made.digest, "folder": made.folder.name} | changes))


def serve(plan, home, previous=None):
    return asyncio.run(start_serving(load_serving(plan, home.releases, previous), previous))


def test_a_loaded_release_is_taken_over_and_a_new_one_loaded(home, releases):
    first = serve(stored(route(releases[0])), home)
    second = serve(stored(route(releases[0], stage="limited"), version=2), home, first)
    assert second.systems["example"].model is first.systems["example"].model
    assert second.systems["example"].route.stage == "limited"
    assert second.systems["example"].plan_digest == second.digest != first.digest
    third = serve(stored(route(releases[1]), version=3), home, second)
    assert third.systems["example"].model is not first.systems["example"].model
    assert set(third.paths) == {"/v1/systems/example/decide"}


def test_one_system_that_cannot_be_loaded_breaks_no_other(home, releases):
    missing = route(releases[0], system="missing", release="sha256:" + "0" * 64)
    other = route(releases[0], system="other", contract="sha256:" + "0" * 64)
    serving = serve(stored(route(releases[0]), missing, other), home)
    assert serving.broken
    assert serving.systems["example"].model is not None
    assert serving.systems["missing"].model is None
    assert "no such release" in serving.systems["missing"].broken
    assert "contract" in serving.systems["other"].broken


def test_a_changed_or_unreadable_plan_is_refused(home, releases):
    good = stored(route(releases[0]))
    with pytest.raises(IntegrityError, match="was changed"):
        load_serving(msgspec_replace(good, body=good.body.replace(b"internal", b"general!")), home.releases)
    for keys, body in (([Key(id="x", sha256="no hex", scopes=[])], None), (KEYS, b'{"version": 2}')):
        plan = stored(keys=keys)
        if body is not None:
            plan = StoredPlan(version=2, digest="sha256:" + hashlib.sha256(body).hexdigest(), body=body)
        with pytest.raises(IntegrityError, match="cannot be read"):
            load_serving(plan, home.releases)


def msgspec_replace(plan, **changes):
    return StoredPlan(**({"version": plan.version, "digest": plan.digest, "body": plan.body} | changes))


def test_revocations_and_stops_do_not_wait_for_a_model(home, releases):
    serving = serve(stored(route(releases[0]), route(releases[0], system="other")), home)
    later = read_plan(stored(route(releases[1], stopped="a complaint"), version=2, keys=[]))
    now = restrict(serving, later)
    assert now.systems["example"].route.stopped == "a complaint"
    assert now.systems["example"].route.release == releases[0].digest, "it answers from what is loaded"
    assert now.digest == serving.digest
    assert set(now.paths) == {"/v1/systems/example/decide"}
    assert now.paths["/v1/systems/example/decide"] is now.systems["example"]
    with pytest.raises(Unauthenticated):
        now.principals.authenticate(b"one", 1)
    assert serving.principals.authenticate(b"one", 1)
    assert msgspec.structs.asdict(serving.systems["example"].route)["stopped"] == ""
