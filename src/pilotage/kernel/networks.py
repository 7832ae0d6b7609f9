"""Internet addresses and networks (CIDR), of both versions; an IPv4 address in IPv6 form counts as the IPv4 one."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pilotage.errors import InputError

__all__ = ["Address", "Network", "inside", "parse_address", "parse_networks"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def parse_address(text: str) -> Address | None:
    """The address in a text, without port, brackets or zone; None when it is none."""
    try:
        found = ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as `10.0.0.0/8`, `2001:db8::/32` or one address. Raises InputError that names every wrong one."""
    found: list[Network] = []
    faults: list[dict[str, object]] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip()))
        except ValueError as error:
            faults.append({"path": "networks", "code": "invalid_network", "message": str(error), "got": text})
    if faults:
        raise InputError(
            "not a network",
            expected="CIDR without host bits: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7",
            mend="mend every one listed",
            faults=faults,
        )
    return tuple(found)


def inside(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; no address is in none."""
    return address is not None and any(address in network for network in networks)
