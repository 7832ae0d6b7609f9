"""A real release with a whole evaluation, live at a stage, with its gate passed; and what its papers are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pilotage.kernel.clock import now_us
from pilotage.papers.gather import Dossier, gather
from pilotage.papers.model import Kind
from pilotage.papers.service import Made, make_paper
from pilotage.releases.load import open_release
from pilotage.releases.model import Release
from pilotage.storage.home import Home
from pilotage.testing.governance import GovernedHome
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.settings import Settings


@dataclass(frozen=True, kw_only=True)
class PaperWorld:
    """An installation with a live release, and a candidate that nobody backtested."""

    installation: Installation
    live: Release
    candidate: Release

    def dossier(self, release: Release) -> Dossier:
        """What is known of a release."""
        loaded = open_release(self.installation.releases, release.digest)
        return gather(self.installation.control, release, loaded, now_us())

    def paper(self, release: Release, kind: Kind, against: str = "") -> Made:
        """One paper."""
        here = self.installation
        return make_paper(here.control, here.objects, here.releases, release.digest, kind, against=against)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperWorld]:
    root: Path = tmp_path_factory.mktemp("papers") / "home"
    installation = open_installation(Settings(home=Home(root=root)), create=True)
    governed = GovernedHome(root, installation.control)
    governed.rollout = installation.rollout
    live = governed.promoted(evaluated=True)
    candidate = governed.release(0.6, evaluated=True)
    yield PaperWorld(installation=installation, live=live, candidate=candidate)
    installation.close()
