"""What an operator may set: by option, or by environment variable `PILOTAGE_<NAME>`; the rest has one default."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.errors import InputError
from pilotage.gateway.tls import TlsFiles
from pilotage.kernel.networks import Network, parse_networks
from pilotage.storage.home import Home

__all__ = ["Settings"]

_MOST_BODY_MIB = 31
"""The record holds the request and, of a text feature, its value too: both must fit a frame of 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One installation's settings.

    `home`: where state lives. `database_url`: a PostgreSQL URL, or None for the embedded SQLite files. `host`: the
    address to listen on. `gateway_port`, `console_port`: 0 picks a free one. `workers`: gateway processes. `node`: this
    machine's name in journal paths. `keyring_command`: prints the keyring, or the secret that opens its file.

    `max_body_mib`: the largest body of a request to decide. `queue_delay_ms`: how long a worker's processor may work on
    what came at once before more is turned away; 0 for any time.

    `tls_cert`, `tls_key`: PEM files with which gateway and console speak TLS; `tls_client_ca`: whose client
    certificates the gateway lets in.

    `trusted_proxies`: networks whose `X-Forwarded-For` says who asks the gateway.

    `witnesses`: a file of witnesses that listen; the steward brings them each checkpoint.

    `journal_host`, `journal_port`: where a gateway node offers its journal. `pull_lag_s`, `pull_lag_mib`: how far a
    node may be behind before an alert. `pull_mib_s`: how fast the steward pulls from one node at most.

    `idempotency_hours`: how long an answer is kept for its idempotency key; `idempotency_mib`: how much is kept.
    `otlp_endpoint`: where OpenTelemetry traces go; empty for nowhere.
    """

    home: Home
    database_url: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    gateway_port: int = 8700
    console_port: int = 8701
    workers: int = 2
    node: str = "node"
    journal_host: str = "127.0.0.1"
    journal_port: int = 8702
    pull_lag_s: int = 60
    pull_lag_mib: int = 256
    pull_mib_s: int = 64
    max_body_mib: int = 1
    queue_delay_ms: int = 10
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
    idempotency_hours: int = 24
    idempotency_mib: int = 1_024
    otlp_endpoint: str = ""
    keyring_command: str = field(default="", repr=False)
    witnesses: str = ""

    @property
    def tls(self) -> TlsFiles | None:
        """The gateway's TLS files; None without TLS. Raises InputError when only a part of them is named."""
        if self.tls_cert is None and self.tls_key is None and self.tls_client_ca is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise InputError(
                "TLS needs a certificate and its key",
                expected="PILOTAGE_TLS_CERT and PILOTAGE_TLS_KEY",
                mend="set both, or none and no PILOTAGE_TLS_CLIENT_CA",
            )
        return TlsFiles(certificate=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)

    @property
    def scheme(self) -> str:
        """https with TLS files, else http."""
        return "http" if self.tls is None else "https"

    @classmethod
    def read(cls, environ: Mapping[str, str], **options: object) -> Settings:
        """Settings from options (None means not given), then environment, then defaults. Raises InputError."""

        def value(name: str, default: object) -> object:
            given = options.get(name)
            return given if given is not None else environ.get(f"PILOTAGE_{name.upper()}", default)

        return cls(
            home=Home(root=Path(str(value("home", ".pilotage"))).resolve()),
            database_url=str(value("database_url", "")) or None,
            host=str(value("host", cls.host)),
            gateway_port=_whole(value("gateway_port", cls.gateway_port), "gateway_port", 0, 65_535),
            console_port=_whole(value("console_port", cls.console_port), "console_port", 0, 65_535),
            workers=_whole(value("workers", min(2, os.cpu_count() or 1)), "workers", 1, 256),
            node=_plain_name(str(value("node", socket.gethostname().split(".")[0] or "node"))),
            journal_host=str(value("journal_host", cls.journal_host)),
            journal_port=_whole(value("journal_port", cls.journal_port), "journal_port", 0, 65_535),
            pull_lag_s=_whole(value("pull_lag_s", cls.pull_lag_s), "pull_lag_s", 1, 31_536_000),
            pull_lag_mib=_whole(value("pull_lag_mib", cls.pull_lag_mib), "pull_lag_mib", 1, 1 << 30),
            pull_mib_s=_whole(value("pull_mib_s", cls.pull_mib_s), "pull_mib_s", 1, 1 << 20),
            max_body_mib=_whole(value("max_body_mib", cls.max_body_mib), "max_body_mib", 1, _MOST_BODY_MIB),
            queue_delay_ms=_whole(value("queue_delay_ms", cls.queue_delay_ms), "queue_delay_ms", 0, 10_000),
            tls_cert=_file(str(value("tls_cert", ""))),
            tls_key=_file(str(value("tls_key", ""))),
            tls_client_ca=_file(str(value("tls_client_ca", ""))),
            trusted_proxies=_networks(str(value("trusted_proxies", "")), "trusted_proxies"),
            idempotency_hours=_whole(value("idempotency_hours", cls.idempotency_hours), "idempotency_hours", 1, 8_760),
            idempotency_mib=_whole(value("idempotency_mib", cls.idempotency_mib), "idempotency_mib", 1, 1 << 20),
            keyring_command=str(value("keyring_command", "")),
            witnesses=str(value("witnesses", "")),
        )


def _whole(value: object, name: str, least: int, most: int) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise InputError(
            f"setting {name} is not usable",
            got=value,
            expected=f"a whole number from {least} to {most}",
            mend=f"mend --{name.replace('_', '-')} or PILOTAGE_{name.upper()}",
        )
    return number


def _file(value: str) -> Path | None:
    return Path(value).resolve() if value else None


def _networks(value: str, name: str) -> tuple[Network, ...]:
    try:
        return parse_networks(each for each in value.split(",") if each.strip())
    except InputError as error:
        raise InputError(
            f"setting {name} is not usable",
            got=value,
            expected="networks with commas: 10.0.0.0/8,2001:db8::/32",
            mend=f"mend PILOTAGE_{name.upper()}",
            faults=error.faults,
        ) from error


def _url(value: str, name: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise InputError(
            f"setting {name} is not usable",
            got=value,
            expected="an address of a collector, such as http://127.0.0.1:4318/v1/traces",
            mend=f"mend PILOTAGE_{name.upper()}",
        )
    return value


def _plain_name(value: str) -> str:
    kept = "".join(c if c.isalnum() or c == "-" else "-" for c in value.lower()).strip("-")
    return kept[:63] or "node"
