"""One round of a witness: fetch, verify, keep, cosign, send. In this order, so that nothing unverified is cosigned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.errors import PilotageError
from pilotage.ledger.log_client import LogClient
from pilotage.ledger.signing import KeyPeriod
from pilotage.ledger.witness import Held, HistoryAlarm, check_next
from pilotage.ledger.witness_folder import WitnessFolder

__all__ = ["Follower", "Round"]

_AGAIN_S = 600
"""An unchanged head is cosigned again after this time, so that its cosignature says how fresh the log is."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round found. `grown` entries since the last one; `cosigned` whether a new cosignature was made;
    `unsent` why the log did not take it, empty when it did or none was made.
    """

    held: Held
    grown: int
    cosigned: bool
    proof_hashes: int
    unsent: str = ""


class Follower:
    """Follows one log into one folder."""

    def __init__(self, log: LogClient, folder: WitnessFolder, keys: Sequence[KeyPeriod]) -> None:
        self._log, self._folder, self._keys = log, folder, keys
        self._unsent = ""

    def round(self, now_s: int) -> Round:
        """Verify what the log shows now. Raises HistoryAlarm; Unavailable, NotFound or InputError of the connection."""
        before = self._folder.held
        shown = self._log.checkpoint()
        try:
            verified = check_next(before, shown, self._keys, self._log.tiles)
        except HistoryAlarm as alarm:
            if alarm.code != "log_rolled_back":
                raise
            # A cache on the way may be behind; a log that was put back stays so.
            verified = check_next(before, self._log.checkpoint(), self._keys, self._log.tiles)
        held, grown = verified.held, verified.held.size - (before.size if before else 0)
        changed = before is None or grown > 0
        if changed:
            self._folder.keep(held)
        due = changed or now_s - self._folder.cosigned_at() >= _AGAIN_S
        if due and held.size:
            self._unsent = self._folder.cosign(now_s)
        why = self._send()
        return Round(held=held, grown=grown, cosigned=due, proof_hashes=len(verified.proof), unsent=why)

    def _send(self) -> str:
        """Hand over the newest cosignature; a log that does not take it is told again next time."""
        if not self._unsent:
            return ""
        try:
            self._log.send(self._folder.key.vkey(), self._unsent)
        except PilotageError as error:
            return f"{error.what}: {error.got}"
        self._unsent = ""
        return ""
