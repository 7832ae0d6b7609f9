"""Every address of the gateway, by every method, for keys of every kind: who may not is refused, who may is not."""

import hashlib

import httpx
import pytest

from pilotage.gateway.addresses import ADDRESSES
from pilotage.gateway.plan import Key

SYSTEM = "example"
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")


def secret(name):
    return f"pk_{name}_" + "x" * 43


KINDS = {
    "decides": {"scopes": [f"decide:{SYSTEM}"]},
    "decides_all": {"scopes": ["decide:*"]},
    "decides_another": {"scopes": ["decide:other"]},
    "tells": {"scopes": [f"outcome:{SYSTEM}"]},
    "tells_all": {"scopes": ["outcome:*"]},
    "both": {"scopes": [f"decide:{SYSTEM}", f"outcome:{SYSTEM}"]},
    "expired": {"scopes": ["decide:*", "outcome:*"], "expires": 1},
    "elsewhere": {"scopes": ["decide:*", "outcome:*"], "networks": ["192.0.2.0/24"]},
    "scopeless": {"scopes": []},
}


STRANGERS = ("nobody", "unknown", "expired", "elsewhere")


def expected(kind, access):
    """The statuses that say no, or None when the key may."""
    if access == "open":
        return None
    if kind in ("nobody", "unknown", "expired"):
        return {401}
    if kind == "elsewhere":
        return {403}
    scopes = KINDS[kind]["scopes"]
    if access == "decide":
        return None if {f"decide:{SYSTEM}", "decide:*"} & set(scopes) else {403}
    if access == "outcome":
        return None if any(scope.startswith("outcome:") for scope in scopes) else {403}
    assert access == "key", "a new kind of access needs its rule here"
    return None


def test_every_cell(stand):
    keys = [
        Key(id=name, sha256=hashlib.sha256(secret(name).encode()).hexdigest(), **({"expires": 0} | facts))
        for name, facts in KINDS.items()
    ]
    stand.publish(keys=tuple(keys))
    worker = stand.start()
    wrong, cells = {}, 0
    with httpx.Client(base_url=worker.url, timeout=20, verify=False) as client:
        for address in ADDRESSES:
            path = address.template.format_map({"system": SYSTEM, "id": "none", "version": "none"})
            for kind in (*KINDS, "nobody", "unknown"):
                headers = {} if kind == "nobody" else {"x-api-key": secret(kind), "origin": "https://evil.example"}
                for method in METHODS:
                    reply = client.request(method, path, headers=headers, content=b"{}")
                    refusing, status = expected(kind, address.access), reply.status_code
                    cells += 1
                    if method in address.methods:
                        fine = status in refusing if refusing else status not in (401, 403, 405, 500)
                    else:
                        # Another method does nothing; without a good key nobody is even told which there are.
                        fine = status in ((refusing or ()) if kind in STRANGERS else {403, 405})
                    if address.access == "open":
                        fine = status in (200, 405, 503)
                    closed = not any(name.startswith("access-control-") for name in reply.headers)
                    if not fine or not closed:
                        wrong[address.template, kind, method] = status
    assert cells >= len(ADDRESSES) * 11 * 5
    assert wrong == {}


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/systems/example", "/v1/systems/example/decide/x", "/api/v1/systems"])
def test_what_is_no_address_needs_a_key_to_be_told_so(shared, path):
    worker = shared.workers[0]
    assert httpx.get(worker.url + path, verify=False).status_code == 401
    with worker.client() as client:
        assert client.get(path).status_code == 404
