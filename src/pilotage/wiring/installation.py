"""One installation, opened: databases migrated, keyring read, readers and writers of the ledger at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from sqlalchemy import Engine

from pilotage.access.identities import Bearers
from pilotage.errors import NotFound, PilotageError
from pilotage.ledger.erasure_list import apply_erasure_list
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.keyring_source import KeyringSource
from pilotage.ledger.queries import Ledger
from pilotage.ledger.sealing import Steward
from pilotage.nodes.copies import mend_copies
from pilotage.profiles.model import ReferenceProfile
from pilotage.releases.load import open_release
from pilotage.releases.sealed_rows import rows_key
from pilotage.replay.environments import Environments
from pilotage.replay.explanations import Explanations
from pilotage.rollout.service import Rollout
from pilotage.storage import outbox
from pilotage.storage.database import open_engine, reading, url_of, writing
from pilotage.storage.home import Home
from pilotage.storage.migrate import migrate
from pilotage.storage.objects import Objects
from pilotage.wiring.settings import Settings

__all__ = ["Installation", "open_installation", "seal_outbox"]


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What every process and command works with."""

    settings: Settings
    control: Engine
    ledger_engine: Engine
    keyrings: KeyringSource = field(repr=False)
    profile_of: Callable[[str], ReferenceProfile | None]

    @property
    def home(self) -> Home:
        return self.settings.home

    @property
    def keyring(self) -> Keyring:
        """The keyring as it is now: a rotation changes it while processes run."""
        return self.keyrings.current()

    @property
    def releases(self) -> Path:
        return self.home.releases

    @property
    def objects(self) -> Objects:
        return Objects(root=self.home.objects)

    @property
    def environments(self) -> Environments:
        """What was kept of the serving environments that decisions name."""
        return Environments(self.home)

    @property
    def rollout(self) -> Rollout:
        """What changes what is live."""
        key, *older = (key.public_key().public_bytes_raw().hex() for key in self.keyring.stewards)
        return Rollout(control=self.control, home=self.home, steward_key=key, older_steward_keys=tuple(older))

    @cached_property
    def bearers(self) -> Bearers:
        """Who bears tokens of trusted issuers."""
        return Bearers(self.control, self.home.issuers)

    def ledger(self) -> Ledger:
        """A reader of the ledger, which can open payloads."""
        return Ledger(home=self.home, engine=self.ledger_engine, keyring=self.keyring)

    @property
    def explanations(self) -> Explanations:
        """What makes explanations and keeps them on record."""
        return Explanations(
            ledger=self.ledger(),
            control=self.control,
            releases=self.releases,
            steward_public=self.keyring.steward_public,
            rows_key=rows_key(self.keyring),
        )

    def steward(self, holder: str) -> Steward:
        """The one that seals; inactive until it acquires the lease."""
        return Steward(
            home=self.home,
            control=self.control,
            ledger=self.ledger_engine,
            keyring=self.keyring,
            holder=holder,
            profile_of=self.profile_of,
            keyring_now=self.keyrings.current,
            prepare=lambda: mend_copies(self.home.journal),
        )

    def close(self) -> None:
        """Return the database connections."""
        self.control.dispose()
        self.ledger_engine.dispose()


def open_installation(settings: Settings, *, create: bool = False) -> Installation:
    """Open the installation in the settings' home. Raises NotFound when there is none and `create` is false."""
    home = settings.home
    keyrings = KeyringSource(home.keyring, os.environ, settings.keyring_command)
    if not create and not (keyrings.exists() and home.root.is_dir()):
        raise NotFound(
            f"there is no installation in {home.root}",
            mend="run: pilotage up, or name the right folder with --home",
        )
    home.create()
    keyrings.current()
    control = open_engine(url_of(home, "control", settings.database_url))
    ledger_engine = open_engine(url_of(home, "ledger", settings.database_url))
    migrate(control, "control")
    migrate(ledger_engine, "ledger")
    seal_outbox(control, keyrings.current())
    apply_erasure_list(home, ledger_engine)
    return Installation(
        settings=settings,
        control=control,
        ledger_engine=ledger_engine,
        keyrings=keyrings,
        profile_of=_profiles_in(home.releases),
    )


def seal_outbox(control: Engine, keyring: Keyring) -> None:
    """Let private parts of control events wait sealed to the steward's newest key."""
    key, *older = (key.public_key().public_bytes_raw() for key in keyring.stewards)
    with reading(control) as connection:
        done = outbox.is_sealed_to(connection, key)
    if not done:
        with writing(control) as connection:
            outbox.seal_to(connection, key, older)


def _profiles_in(releases: Path) -> Callable[[str], ReferenceProfile | None]:
    @lru_cache(maxsize=64)
    def profile_of(release: str) -> ReferenceProfile | None:
        try:
            return open_release(releases, release).profile
        except PilotageError:
            # A decision of a release that is no longer here is sealed all the same, uncounted.
            return None

    return profile_of
