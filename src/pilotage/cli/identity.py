"""Who acts: the person whose token is in PILOTAGE_TOKEN. And how a command opens the installation."""

from __future__ import annotations

import os

from pilotage.access.model import Person
from pilotage.access.service import authenticate
from pilotage.cli.main import Chosen
from pilotage.errors import Unauthenticated
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings

__all__ = ["acting", "opened", "settings_of"]


def settings_of(chosen: Chosen, **options: object) -> Settings:
    """The settings of a command: its options, then the environment, then defaults."""
    return Settings.read(os.environ, home=chosen.home, database_url=chosen.database_url, **options)


def opened(chosen: Chosen, *, create: bool = False) -> Installation:
    """The installation that the root options name."""
    return open_installation(settings_of(chosen), create=create)


def acting(installation: Installation) -> Person:
    """The person who runs the command. Raises Unauthenticated when PILOTAGE_TOKEN is not set or not known."""
    token = os.environ.get("PILOTAGE_TOKEN", "")
    if not token:
        raise Unauthenticated(
            "this command acts in somebody's name, and nobody's token is given",
            mend="export PILOTAGE_TOKEN=pt_... (an admin issues one: pilotage people add NAME --role ROLE)",
        )
    return authenticate(installation.control, token)
