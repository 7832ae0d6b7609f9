"""The witness that listens: its words on the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from pilotage.kernel.clock import rfc3339
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.witness import HistoryAlarm
from pilotage.ledger.witness_folder import WitnessFolder
from pilotage.ledger.witness_service import WitnessService
from pilotage.wiring.witness_server import listen, serve_witness

__all__ = ["listening"]


def listening(
    folder: WitnessFolder, keys: Sequence[KeyPeriod], address: str, certificate: Path | None, key: Path | None
) -> None:
    """Answer `POST /add-checkpoint` until SIGTERM or Ctrl-C. A fork is shouted; nothing of it is cosigned."""

    def shout(alarm: HistoryAlarm) -> None:
        evidence = folder.keep_evidence(alarm, int(time.time()))
        word = click.style(f"ALARM [{alarm.code}]", fg="red", bold=True)
        moment = rfc3339(time.time_ns() // 1_000)[:19] + "Z"
        click.echo(f"\a{moment} {word} {alarm}\n  evidence: {evidence}", err=True)

    listener = listen(address)
    host, port = listener.getsockname()[:2]
    scheme = "http" if certificate is None else "https"
    held = f"holding {folder.held.size} entries" if folder.held else "nothing cosigned yet"
    click.echo(f"witness {folder.key.vkey()}\nlistening on {scheme}://{host}:{port}, {held}", err=True)
    service = WitnessService(folder, keys, lambda: int(time.time()), shout)
    serve_witness(service, listener, certificate, key)
