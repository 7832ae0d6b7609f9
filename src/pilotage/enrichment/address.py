"""Where a source is, and the secrets that it asks for: the node's settings, never the contract's.

`PILOTAGE_SOURCE_<NAME>` holds the address, `PILOTAGE_SOURCE_<NAME>_TOKEN` the bearer token of an HTTP source; with
`_FILE` behind either, a file that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pilotage.errors import InputError
from pilotage.runtimes.remote_address import here, url_fault
from pilotage.runtimes.secret import Secret

__all__ = ["PREFIX", "Address", "address_of", "is_set"]

PREFIX = "PILOTAGE_SOURCE_"
_VERIFYING = ("verify-full", "verify-ca")


class Address(NamedTuple):
    """An HTTP source's address and token, or a database's URL."""

    http: str = ""
    token: Secret = Secret("")
    database: URL | None = None


def is_set(source: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this node has an address of the source."""
    return Secret(PREFIX + source.upper(), environ).named


def address_of(source: str, environ: Mapping[str, str] = os.environ) -> Address:
    """The address of a source. Raises InputError, which never repeats it: it may hold a password."""
    setting = Secret(PREFIX + source.upper(), environ)
    text = setting.read()
    if text is None:
        raise InputError(
            f"this node has no address of the feature source {source}",
            expected=f"one line of ASCII in {setting.variable}, or in a file that {setting.variable}_FILE names",
            mend="set one of the two where the gateway starts",
            code="source_address",
        )
    if text.startswith(("http://", "https://")):
        if why := url_fault(text):
            raise _unusable(setting.variable, why)
        token = f"{setting.variable}_TOKEN"
        secret = Secret(token, environ)
        if secret.named and secret.read() is None:
            raise _unusable(token, "holds no token")
        return Address(http=text, token=secret if secret.named else Secret(""))
    return Address(database=_database(text, setting.variable))


def _database(text: str, variable: str) -> URL:
    try:
        url = make_url(text)
        kind = url.get_backend_name()
    except (ArgumentError, ValueError):
        raise _unusable(variable, "is no address") from None
    if kind == "sqlite":
        if not url.database or not url.database.startswith("/") or url.query or url.host:
            raise _unusable(variable, "is not sqlite:////an/absolute/path")
        return url
    if kind != "postgresql":
        raise _unusable(variable, "is neither https://, postgresql:// nor sqlite:///")
    hosts = _hosts(url)
    if not hosts or "service" in url.query:
        raise _unusable(variable, "names no host")
    url = url.set(drivername="postgresql+psycopg")
    if all(host.startswith("/") or here(host) for host in hosts):
        return url
    mode = url.query.get("sslmode")
    if mode is None:
        return url.update_query_dict({"sslmode": "verify-full", **_authorities(url)})
    if mode not in _VERIFYING:
        raise _unusable(variable, "asks for TLS that verifies nobody: sslmode must be verify-full or verify-ca")
    return url


def _authorities(url: URL) -> dict[str, str]:
    return {} if "sslrootcert" in url.query else {"sslrootcert": "system"}


def _hosts(url: URL) -> list[str]:
    told = [url.host or ""]
    for name in ("host", "hostaddr"):
        value = url.query.get(name, "")
        told += [value] if isinstance(value, str) else list(value)
    return [host for text in told for host in text.split(",") if host]


def _unusable(variable: str, why: str) -> InputError:
    return InputError(
        f"{variable} {why}",
        expected="https://host/path, postgresql://user@host/database or sqlite:////path",
        mend=f"correct {variable}",
        code="source_address",
    )
