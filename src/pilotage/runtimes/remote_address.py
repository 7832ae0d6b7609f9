"""Which remote models may be asked: rules over what a release declares."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote, urlsplit

import msgspec

from pilotage.errors import InputError
from pilotage.runtimes.model import Remote

__all__ = ["checked_remote", "here", "path_of", "url_fault"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_TOKEN = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_MOST_URL = 500


def checked_remote(remote: Remote | msgspec.UnsetType) -> Remote:
    """The declaration, if such a model may be asked. Raises InputError with every fault.

    TLS is asked for wherever the request leaves the machine: rows of people are in it.
    """
    if not isinstance(remote, Remote):
        raise InputError("the release names no remote model", mend="declare `remote: {url, model, output}`")
    faults: list[dict[str, object]] = []
    if why := url_fault(remote.url):
        # An address may hold a password: it is not repeated.
        faults.append({"path": "remote.url", "code": "invalid_input", "message": why})
    for path, value in (("model", remote.model), ("output", remote.output), ("version", remote.version or "1")):
        if not _NAME.match(value):
            message = "is no name: letters, digits, `_`, `.`, `-`, at most 128"
            faults.append({"path": f"remote.{path}", "code": "invalid_input", "message": message})
    if remote.token and (not _TOKEN.match(remote.token) or remote.token.endswith("_file")):
        message = "is no token's name: small letters, digits, `_`, at most 40, not ending in `_file`"
        faults.append({"path": "remote.token", "code": "invalid_input", "message": message})
    if faults:
        raise InputError("the remote model cannot be asked", mend="mend what is listed", faults=faults)
    return remote


def path_of(remote: Remote) -> str:
    """The model's path below the server's address."""
    version = f"/versions/{quote(remote.version, safe='')}" if remote.version else ""
    return f"/v2/models/{quote(remote.model, safe='')}{version}"


def url_fault(url: str) -> str:
    """What is wrong with a server's address, or nothing."""
    if len(url) > _MOST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "is no address of at most 500 characters of ASCII"
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not host:
        return "is no address that begins with https://"
    if "@" in parts.netloc or "?" in url or "#" in url:
        return "has a user, a query or a fragment"
    if parts.scheme == "http" and not here(host):
        return "sends rows in clear: it must begin with https://, unless it is on this machine"
    return ""


def here(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
