"""Nodes in a running installation: the steward pulls their journals, a node runs under the name it was invited by."""

from __future__ import annotations

import threading
from dataclasses import replace

from sqlalchemy import Engine

from pilotage.errors import Conflict, PilotageError
from pilotage.ledger.sealing import Steward
from pilotage.nodes.model import Node
from pilotage.nodes.pulling import NodePull, PullLimits, run_pulls
from pilotage.nodes.service import identity_of, nodes_of, reader_of, register
from pilotage.storage.database import open_engine
from pilotage.wiring.installation import Installation
from pilotage.wiring.settings import Settings

__all__ = ["check_own_name", "node_settings", "pull_journals"]


def pull_journals(installation: Installation, steward: Steward, stop: threading.Event) -> None:
    """Until told to stop, pull what nodes journalled, whenever the steward holds the lease."""
    settings = installation.settings
    limits = PullLimits(
        bytes_per_s=float(settings.pull_mib_s << 20),
        lag_s=float(settings.pull_lag_s),
        lag_bytes=settings.pull_lag_mib << 20,
    )

    def make(node: Node) -> NodePull:
        reader = reader_of(installation.home)
        if reader is None:
            raise PilotageError(
                "this home lacks the steward's certificate for nodes", mend="copy nodes.json from the first steward"
            )
        return NodePull(
            node=node,
            reader=reader,
            root=installation.home.journal,
            control=installation.control,
            ledger=installation.ledger_engine,
            limits=limits,
        )

    run_pulls(stop, lambda: steward.active, make, installation.control)


def node_settings(settings: Settings, name: str) -> Settings:
    """The settings of a gateway node: its name is that of its invitation. Registers it, where there is a database.

    Raises NotFound before `pilotage node join`, Conflict when the name is another one or another home is that node.
    """
    identity = identity_of(settings.home)
    if name and name != identity.name:
        raise Conflict("this home is another node", got=name, expected=identity.name, mend="leave --node out")
    if settings.database_url:
        engine = open_engine(settings.database_url)
        try:
            register(engine, identity)
        finally:
            engine.dispose()
    return replace(settings, node=identity.name)


def check_own_name(control: Engine, name: str) -> None:
    """The steward's own gateways must not write where copies of a node's journal lie. Raises Conflict."""
    if any(node.name == name for node in nodes_of(control)):
        raise Conflict(
            "another machine was invited as a node of this name", got=name, mend="set PILOTAGE_NODE to another name"
        )
