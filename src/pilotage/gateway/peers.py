"""Where a request comes from: the peer of its connection, or whom a proxy names that this node was told to trust."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from pilotage.errors import Forbidden
from pilotage.kernel.networks import Address, Network, inside, parse_address

__all__ = ["Peers"]


class Peers:
    """Finds the address of who asks. `X-Forwarded-For` counts only from the networks in `trusted`, read from its end.

    Whoever is not behind a trusted proxy can therefore not choose what address is seen.
    """

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address(self, scope: MutableMapping[str, Any]) -> Address | None:
        """The address of who asks in an ASGI scope; None when there is none, or a proxy names something else."""
        client = scope.get("client")
        peer = parse_address(client[0]) if client else None
        if not self._trusted or not inside(peer, self._trusted):
            return peer
        for hop in reversed(_forwarded(scope)):
            peer = parse_address(hop)
            if not inside(peer, self._trusted):
                break
        return peer

    def require(self, networks: Iterable[Network], scope: MutableMapping[str, Any]) -> None:
        """Raises Forbidden unless the request comes from one of the networks. They are not told: a thief would try."""
        found = self.address(scope)
        if not inside(found, networks):
            raise Forbidden(
                "the API key may not be used from this address",
                got=found or "an unknown address",
                code="address_not_allowed",
                mend="ask from a network that the key allows, or ask an administrator for a key with another --from",
            )


def _forwarded(scope: MutableMapping[str, Any]) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return ",".join(values).split(",") if values else []
