"""The witness: follow a log from another machine, confirm what continues, and shout when history does not."""

from __future__ import annotations

import random
import re
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from pilotage.cli.listening import listening
from pilotage.cli.output import as_json, json_option
from pilotage.cli.verifier_keys import VerifierKey
from pilotage.errors import PilotageError
from pilotage.kernel.clock import rfc3339
from pilotage.ledger.following import Follower, Round
from pilotage.ledger.log_client import LogClient
from pilotage.ledger.signing import parse_periods
from pilotage.ledger.witness import HistoryAlarm
from pilotage.ledger.witness_folder import WitnessFolder

__all__ = ["follow"]

ALARM, STALE = 4, 5
"""Exit codes: history contradicts itself; nothing was verified for too long."""

_MOST_BACKOFF_S = 60.0
_SPAN = re.compile(r"(\d{1,6})(s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class _Seconds(click.ParamType[int, object]):
    """A span such as 10s, 5m, 2h; plain digits are seconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SPAN.fullmatch(str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is no span such as 10s, 5m or 2h", param, ctx)
        return int(match[1]) * _SECONDS[match[2] or "s"]


@click.command("follow")
@click.argument("url", default="")
@click.option("--state", required=True, type=click.Path(file_okay=False, path_type=Path), help="The witness's folder.")
@click.option(
    "--vkey",
    type=VerifierKey(),
    required=True,
    help="The log's public key (pilotage audit vkey), got from somebody you trust.",
)
@click.option("--name", default="", help="The name of the witness's key, on the first run (default: this machine's).")
@click.option("--token", envvar="PILOTAGE_TOKEN", default="", help="A token of the role witness, or PILOTAGE_TOKEN.")
@click.option(
    "--listen", default="", metavar="HOST:PORT", help="Let the log bring its checkpoints (C2SP tlog-witness)."
)
@click.option(
    "--tls-certificate", type=click.Path(dir_okay=False, path_type=Path), help="With --listen: answer over TLS (PEM)."
)
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="The certificate's private key (PEM).")
@click.option("--once", is_flag=True, help="One round, then end.")
@click.option("--every", type=_Seconds(), default="10s", show_default=True, help="The time between two rounds.")
@click.option(
    "--stale-after", type=_Seconds(), default="10m", show_default=True, help="Alarm when nothing verified for so long."
)
@json_option
def follow(
    url: str,
    state: Path,
    vkey: str,
    name: str,
    token: str,
    listen: str,
    tls_certificate: Path | None,
    tls_key: Path | None,
    once: bool,
    every: int,
    stale_after: int,
    json_: bool,
) -> None:
    """Witness the log at URL from another machine.

    URL is such as http://host:8701/log. Verify that each checkpoint continues
    the last, cosign it, send the cosignature to the log. Needs no home.

    With --listen and no URL the log's steward brings its checkpoints here: POST /add-checkpoint.

    Exit code 4 when history was rewritten, forked or rolled back: the evidence is kept in the state folder. Exit code 5
    when nothing could be verified for --stale-after.
    """
    _check_way(url, listen, tls_certificate, tls_key)
    keys = parse_periods(vkey.splitlines())
    folder = WitnessFolder(state, name or f"{socket.gethostname().split('.')[0] or 'host'}/witness", keys)
    try:
        if listen:
            listening(folder, keys, listen, tls_certificate, tls_key)
            return
        watch = _Watch(Follower(LogClient(url, token), folder, keys), folder, every, stale_after, json_)
        watch.say_who(url)
        sys.exit(watch.once() if once else watch.run())
    finally:
        folder.close()


def _check_way(url: str, listen: str, certificate: Path | None, key: Path | None) -> None:
    """One way to the log, and TLS only where we answer ourselves. Raises click.UsageError."""
    if bool(url) == bool(listen):
        raise click.UsageError("name the log's URL, or --listen HOST:PORT: one of them")
    if (certificate is None) != (key is None) or (certificate is not None and not listen):
        raise click.UsageError("--tls-certificate and --tls-key belong together, and to --listen")


def _told_to_stop() -> threading.Event:
    """Set by Ctrl-C, which also interrupts: Python drops an interruption that comes while an object is destroyed."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    return stopped


@dataclass
class _Watch:
    """The loop around rounds, and its words."""

    follower: Follower
    folder: WitnessFolder
    every: int
    stale_after: int
    json_: bool
    told: str = ""

    def say_who(self, url: str) -> None:
        held = self.folder.held
        since = f"holding {held.size} entries" if held else "first run: what it shows now is the beginning"
        click.echo(f"witness {self.folder.key.vkey()}\nfollowing {url}, {since}", err=True)

    def once(self) -> int:
        """One round; what keeps it from the log is an error."""
        try:
            self._say(self.follower.round(int(time.time())))
        except HistoryAlarm as alarm:
            return self._shout(alarm)
        return 0

    def run(self) -> int:
        """Rounds until an alarm; Ctrl-C ends it."""
        last, failed = time.monotonic(), 0
        stopped = _told_to_stop()
        while not stopped.is_set():
            try:
                self._say(self.follower.round(int(time.time())))
                last, failed = time.monotonic(), 0
            except HistoryAlarm as alarm:
                return self._shout(alarm)
            except PilotageError as error:
                failed += 1
                self._say_failed(f"{error.what}: {error.got}", time.monotonic() - last)
            if time.monotonic() - last >= self.stale_after:
                return self._stale(time.monotonic() - last)
            time.sleep(self._pause(failed))
        raise KeyboardInterrupt

    def _pause(self, failed: int) -> float:
        if not failed:
            return float(self.every)
        longest = min(_MOST_BACKOFF_S, max(1.0, self.stale_after / 4))
        return min(longest, 0.5 * float(1 << min(failed, 10))) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def _say(self, done: Round) -> None:
        held = done.held
        facts = {
            "ok": True,
            "size": held.size,
            "root": held.root.hex(),
            "grown": done.grown,
            "cosigned": done.cosigned,
            "sent": done.cosigned and not done.unsent,
        }
        if self.json_:
            as_json(facts | ({"unsent": done.unsent} if done.unsent else {}))
        elif done.cosigned:
            how = f"proved by {done.proof_hashes} hashes" if done.proof_hashes else "as before"
            click.echo(
                f"{self._now()} ok: {held.size} entries (+{done.grown}), {how}, cosigned, root {held.root.hex()}"
            )
        if done.unsent and done.unsent != self.told:
            click.echo(f"{self._now()} the log did not take the cosignature: {done.unsent}", err=True)
        self.told = done.unsent

    def _say_failed(self, why: str, seconds: float) -> None:
        click.echo(f"{self._now()} not verified ({why}); {seconds:.0f} s since the last time", err=True)

    def _shout(self, alarm: HistoryAlarm) -> int:
        evidence = self.folder.keep_evidence(alarm, int(time.time()))
        if self.json_:
            as_json({"ok": False, "alarm": alarm.as_dict(), "evidence": str(evidence)})
        bar = click.style("!" * 78, fg="red", bold=True)
        word = click.style(f"ALARM [{alarm.code}]", fg="red", bold=True)
        click.echo(f"\a{bar}\n{self._now()} {word} {alarm}\n  evidence: {evidence}\n{bar}", err=True)
        return ALARM

    def _stale(self, seconds: float) -> int:
        if self.json_:
            as_json({"ok": False, "alarm": {"code": "log_stale", "message": "nothing verified", "seconds": seconds}})
        word = click.style("ALARM [log_stale]", fg="red", bold=True)
        click.echo(f"\a{self._now()} {word} the log could not be verified for {seconds:.0f} s", err=True)
        return STALE

    def _now(self) -> str:
        return rfc3339(time.time_ns() // 1_000)[:19] + "Z"
