import hashlib

import pytest

from pilotage.errors import Forbidden, Unauthenticated
from pilotage.gateway.authenticate import Principals, authorize
from pilotage.gateway.plan import Key

SECRET = "pk_one_" + "a" * 43


def principals(**changes):
    facts = {"id": "one", "sha256": hashlib.sha256(SECRET.encode()).hexdigest(), "scopes": ["decide:credit"]} | changes
    return Principals([Key(**facts)])


def test_a_live_key_names_its_principal():
    assert principals().authenticate(SECRET.encode(), at=1).id == "one"


@pytest.mark.parametrize("key", [b"", b"pk_one_" + b"b" * 43, SECRET.encode()[:-1], b"\xff\xfe"])
def test_no_key_or_another_key_is_nobody(key):
    with pytest.raises(Unauthenticated) as caught:
        principals().authenticate(key, at=1)
    assert "Authorization: Bearer" in caught.value.mend


def test_a_key_ends_at_its_expiry():
    book = principals(expires=100)
    assert book.authenticate(SECRET.encode(), at=99)
    with pytest.raises(Unauthenticated) as caught:
        book.authenticate(SECRET.encode(), at=100)
    assert caught.value.code == "key_expired"


@pytest.mark.parametrize(
    ("scopes", "system", "allowed"),
    [
        (["decide:credit"], "credit", True),
        (["decide:*"], "credit", True),
        (["decide:credit"], "fraud", False),
        (["read:credit"], "credit", False),
        (["decide"], "credit", False),
        ([], "credit", False),
    ],
)
def test_scopes_say_which_systems(scopes, system, allowed):
    principal = principals(scopes=scopes).authenticate(SECRET.encode(), at=1)
    if allowed:
        authorize(principal, system)
        return
    with pytest.raises(Forbidden) as caught:
        authorize(principal, system)
    assert caught.value.expected == f"decide:{system}"


def test_who_may_only_drill_asks_without_counting_and_never_by_the_short_way():
    book = principals(scopes=["drill:credit"])
    drills = book.authenticate(SECRET.encode(), at=1)
    authorize(drills, "credit")
    assert drills.only_drills("credit") and not drills.may_decide("credit")
    assert book.usual(SECRET.encode(), 1, "credit") is None, "the short way answers for what counts"
    with pytest.raises(Forbidden):
        authorize(drills, "other")
    both = principals(scopes=["drill:*", "decide:credit"]).authenticate(SECRET.encode(), at=1)
    assert not both.only_drills("credit") and both.only_drills("other")
