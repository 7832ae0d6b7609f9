import pytest

from pilotage.errors import InputError
from pilotage.kernel.clock import parse_duration
from pilotage.kernel.networks import inside, parse_address, parse_networks


@pytest.mark.parametrize(
    ("address", "networks", "expected"),
    [
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("2001:db8::5", ["10.0.0.0/8", "2001:db8::/32"], True),
        ("2001:db9::5", ["2001:db8::/32"], False),
        ("[2001:db8::5]", ["2001:db8::5"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("somewhere", ["0.0.0.0/0", "::/0"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_an_address_is_inside_the_networks_that_hold_it(address, networks, expected):
    assert inside(parse_address(address), parse_networks(networks)) is expected


def test_every_wrong_network_is_named():
    with pytest.raises(InputError) as caught:
        parse_networks(["10.0.0.0/8", "10.0.0.1/8", "home"])
    assert [fault["got"] for fault in caught.value.faults] == ["10.0.0.1/8", "home"]


@pytest.mark.parametrize(("text", "us"), [("30s", 30e6), ("15m", 9e8), ("24h", 864e8), ("7d", 6048e8), ("0s", 0)])
def test_a_duration(text, us):
    assert parse_duration(text) == us


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "9" * 9 + "d", "1h30m"])
def test_what_is_no_duration(text):
    with pytest.raises(InputError):
        parse_duration(text)
