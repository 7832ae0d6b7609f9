"""Where an installation keeps its state: one folder, named once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home"]


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder of one installation (default `./.pilotage`); every path in it is a property here."""

    root: Path

    @property
    def control_database(self) -> Path:
        return self.root / "control.db"

    @property
    def ledger_database(self) -> Path:
        return self.root / "ledger.db"

    @property
    def keyring(self) -> Path:
        """Secrets, mode 0600."""
        return self.root / "keyring.json"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def journal(self) -> Path:
        """`journal/<node>/<worker>-<n>.log`."""
        return self.root / "journal"

    @property
    def ledger(self) -> Path:
        """Published log: `checkpoint`, `tile/...`, and `segments/<system>/<day>/...`."""
        return self.root / "ledger"

    @property
    def environments(self) -> Path:
        """Serving environments of decisions: what was kept of each, and the ones that replay rebuilt."""
        return self.root / "environments"

    @property
    def erasures(self) -> Path:
        """The ids of destroyed keys: what a restored database must lose again."""
        return self.root / "erasures"

    @property
    def plan_file(self) -> Path:
        """The digest-checked serving plan from which a worker starts when the database is away."""
        return self.root / "plan.json"

    @property
    def stops(self) -> Path:
        """What is stopped on this node, with the database or without."""
        return self.root / "stops.json"

    @property
    def nodes(self) -> Path:
        """The authority of nodes and the steward's client certificate, mode 0600."""
        return self.root / "nodes.json"

    @property
    def node(self) -> Path:
        """Who this home is as a node of another steward, mode 0600."""
        return self.root / "node.json"

    @property
    def idempotency(self) -> Path:
        """Answers kept for idempotency keys on this node."""
        return self.root / "idempotency"

    @property
    def issuers(self) -> Path:
        """The public keys of trusted issuers of tokens, as they were last read."""
        return self.root / "issuers"

    @property
    def pipelines(self) -> Path:
        """What pipelines work on and made, by digest, and their lineage."""
        return self.root / "pipelines"

    @property
    def run(self) -> Path:
        """What belongs to the running processes: pid file, endpoints, logs."""
        return self.root / "run"

    def create(self) -> Home:
        """Make the folder (mode 0700) and return self."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self
