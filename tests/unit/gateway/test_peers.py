import pytest

from pilotage.errors import Forbidden
from pilotage.gateway.peers import Peers
from pilotage.kernel.networks import parse_address, parse_networks

PROXIES = parse_networks(["10.0.0.0/8", "fd00::/8"])


def scope(peer, *forwarded):
    return {
        "client": (peer, 4711) if peer else None,
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),  # not a proxy of ours: its header counts for nothing
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),  # what the client claimed is left of it
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, garbage"], None),
        (None, ["198.51.100.1"], None),
    ],
)
def test_whose_address_is_seen(peer, forwarded, seen):
    assert Peers(PROXIES).address(scope(peer, *forwarded)) == (parse_address(seen) if seen else None)


def test_without_trusted_proxies_only_the_connection_counts():
    assert Peers().address(scope("10.0.0.1", "198.51.100.1")) == parse_address("10.0.0.1")


def test_a_request_from_elsewhere_is_refused_without_telling_the_networks():
    allowed = parse_networks(["192.0.2.0/24"])
    Peers().require(allowed, scope("192.0.2.9"))
    for found in ("198.51.100.1", None):
        with pytest.raises(Forbidden) as caught:
            Peers().require(allowed, scope(found))
        assert caught.value.code == "address_not_allowed"
        assert "192.0.2" not in str(caught.value)
