"""An installation with people, a release waiting at its gate and sealed decisions; and a way to call commands in it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pilotage.access.service import issue_token
from pilotage.cli.main import main
from pilotage.ledger.journal import JournalWriter
from pilotage.releases.model import Release
from pilotage.storage.home import Home
from pilotage.testing.governance import GovernedHome
from pilotage.wiring.installation import open_installation
from pilotage.wiring.settings import Settings
from tests.ledger_world import decision, rejected

Called = tuple[int, str, str]
Call = Callable[..., Called]


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A home on disk, the tokens of its people by role, and a release that nobody approved yet."""

    root: Path
    tokens: dict[str, str]
    release: Release


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("cli") / "home"
    installation = open_installation(Settings(home=Home(root=root)), create=True)
    governed = GovernedHome(root, installation.control)
    governed.rollout = installation.rollout
    tokens = {
        role: issue_token(installation.control, person, by=governed.admin).text
        for role, person in governed.people.items()
    }
    release = governed.release()

    async def journal() -> None:
        writer = JournalWriter(root / "journal" / "node", worker=0, steward_key=installation.keyring.steward_public)
        await writer.open()
        for number in range(6):
            await writer.record(*decision(f"customer-{number}", score=number / 10))
        await writer.record(*rejected("customer-9"))
        await writer.close()

    asyncio.run(journal())
    steward = installation.steward(holder="tests")
    assert steward.acquire()
    while steward.seal().more:
        pass
    steward.release()
    installation.close()
    return Installed(root=root, tokens=tokens, release=release)


@pytest.fixture
def call(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Call]:
    """Call `pilotage WORDS` in the installation as the person in a role; (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    for name in ("PILOTAGE_TOKEN", "PILOTAGE_HOME", "PILOTAGE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def called(*words: str, role: str = "", home: Path | None = installed.root, token: str = "") -> Called:
        if role or token:
            monkeypatch.setenv("PILOTAGE_TOKEN", token or installed.tokens[role])
        else:
            monkeypatch.delenv("PILOTAGE_TOKEN", raising=False)
        place = ["--home", str(home)] if home is not None else []
        monkeypatch.setattr(sys, "argv", ["pilotage", *place, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0 if code is None else 1), out, err

    yield called
