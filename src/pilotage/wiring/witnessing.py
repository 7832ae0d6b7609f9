"""The active steward brings the published checkpoint to the witnesses that were declared, and keeps what they say."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from pilotage.errors import InputError, NotFound, PilotageError
from pilotage.ledger.sealing import Steward
from pilotage.ledger.submitting import ListeningWitness, Submitter, parse_witnesses
from pilotage.wiring.installation import Installation
from pilotage.wiring.keys import verifier_keys

__all__ = ["ask_witness", "declared_witnesses", "start_witnessing"]

_EVERY_S = 1.0
_MOST_BACKOFF_S = 60.0
_log = logging.getLogger(__name__)


def declared_witnesses(path: str) -> tuple[ListeningWitness, ...]:
    """The witnesses in the file that the setting names; none without. Raises InputError."""
    if not path:
        return ()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        mend = "mend PILOTAGE_WITNESSES"
        raise InputError("the file of witnesses cannot be read", got=error, expected=path, mend=mend) from error
    return parse_witnesses(text, path)


def start_witnessing(installation: Installation, steward: Steward, stop: threading.Event) -> None:
    """A thread for each declared witness: one that is slow or away delays no other, and no sealing."""
    for witness in declared_witnesses(installation.settings.witnesses):
        submitter = Submitter(
            witness, installation.home.ledger, installation.ledger_engine, lambda: verifier_keys(installation)
        )
        arguments = (submitter, lambda: steward.active, stop)
        threading.Thread(target=ask_witness, args=arguments, daemon=True, name="witness").start()


def ask_witness(
    submitter: Submitter, active: Callable[[], bool], stop: threading.Event, every_s: float = _EVERY_S
) -> None:
    """Until told to stop, while this steward is the active one. Troubles are logged, once each, and tried again."""
    complaint, failed = "", 0
    while not stop.wait(min(_MOST_BACKOFF_S, every_s * (1 << min(failed, 6)))):
        if not active():
            continue
        try:
            submitter.submit(int(time.time()))
            complaint, failed = "", 0
        except NotFound:
            continue  # nothing was published yet
        except (PilotageError, SQLAlchemyError, OSError) as error:
            failed += 1
            if str(error) != complaint:
                _log.error("no cosignature from %s: %s", submitter.witness.url, error)
            complaint = str(error)
