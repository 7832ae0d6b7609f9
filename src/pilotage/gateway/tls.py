"""TLS from files: a certificate and its key, read again when they change, and whose client certificates are let in."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.errors import InputError

__all__ = ["Certificate", "Tls", "TlsFiles", "certificate_of"]

_log = logging.getLogger(__name__)
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""The short names of RFC 4514 section 3."""
_Seen = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files. With `client_ca`, only clients with a certificate that it signed get as far as a request."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Certificate(NamedTuple):
    """What a verified client certificate says: the names that may stand for a key, and its end (Unix microseconds)."""

    names: tuple[str, ...]
    until: int


def certificate_of(peer: Mapping[str, Any] | None) -> Certificate | None:
    """The certificate as `ssl.SSLSocket.getpeercert` gives it; None where none was asked for.

    Names are `URI:...` and `DNS:...` of its alternative names, and `subject:...` as RFC 4514 writes it.
    """
    if not peer:
        return None
    names = [f"{kind}:{value}" for kind, value in peer.get("subjectAltName", ()) if kind in ("URI", "DNS")]
    subject = ",".join("+".join(_attribute(*each) for each in part) for part in reversed(peer.get("subject", ())))
    until = int(ssl.cert_time_to_seconds(peer["notAfter"])) * 1_000_000
    return Certificate((*names, f"subject:{subject}"), until)


def _attribute(kind: str, value: str) -> str:
    escaped = "".join(f"\\{c}" if c in ',+"\\<>;=' else c for c in value)
    return f"{_SHORT.get(kind, kind)}={escaped}"


class Tls:
    """The server's side of TLS 1.2 and 1.3 from files. Raises InputError when they cannot be used.

    Connections that are open keep what they began with; new ones get the newest files.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen = self._look()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._load(self.context)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                "the TLS files cannot be used",
                got=error,
                expected="a PEM certificate, its PEM key without a password, and the PEM of the clients' authority",
                mend="mend PILOTAGE_TLS_CERT, PILOTAGE_TLS_KEY, PILOTAGE_TLS_CLIENT_CA",
                code="tls_unusable",
            ) from error

    def reload(self) -> bool:
        """Read the files again if they changed; whether new ones are in use. Files that do not fit change nothing."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            # A half-written pair must not get into the context that is in use: try it on another first.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except (OSError, ssl.SSLError) as error:
            _log.error("the changed TLS files cannot be used, the ones before stay: %s", error)
            return False
        _log.info("new TLS files are in use")
        return True

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca is not None:
            context.load_verify_locations(self._files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED

    def _look(self) -> _Seen:
        paths = [self._files.certificate, self._files.key, self._files.client_ca]
        return tuple(_stat(path) for path in paths if path is not None)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size
