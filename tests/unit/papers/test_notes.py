"""Release notes tell whose answer changes as the recorded backtest counted it, and for which groups most."""

from __future__ import annotations

import msgspec
import pytest

from pilotage.kernel.clock import now_us
from pilotage.papers.model import Figure
from pilotage.replay.against import Known, Reckoning
from pilotage.replay.backtest import Backtest, Limits, Tally, Trial
from pilotage.replay.backtesting import keep_backtest
from tests.unit.papers.conftest import PaperWorld
from tests.unit.papers.test_papers import at, lines


def recorded(world: PaperWorld) -> Backtest:
    """A hundred decisions: of 60 who rent 12 are now referred, of 40 owners 2 are now approved."""
    tally = Tally(known=Known(reckoning=Reckoning(positive="1", adverse="refer", favourable="approve", costs={})))
    for number in range(100):
        rents = number < 60
        old = ("approve", 0.3) if rents else ("refer", 0.7)
        new = ("refer", 0.6) if number < 12 else ("approve", 0.4) if number >= 98 else old
        home = ("home", "rent" if rents else "own")
        tally.add(world.live.digest, Trial(outcome="answered", old=old, new=new, segments=[home]))
    return tally.report(
        system=world.candidate.system,
        candidate=world.candidate.digest,
        environment="sha256:" + "e" * 64,
        window={},
        at=now_us(),
        limits=Limits(),
        costs={},
        seconds=1.0,
    )


@pytest.fixture(scope="module")
def kept(world: PaperWorld) -> Backtest:
    found = recorded(world)
    keep_backtest(world.installation.control, world.installation.objects, found, "tests")
    return found


def test_the_notes_say_what_the_backtest_counted(world: PaperWorld, kept: Backtest) -> None:
    made = world.paper(world.candidate, "notes")
    text = made.markdown
    assert "Of 100 decisions that both answered, 14.00% would be answered otherwise" in text
    assert "| approve | refer | 12 |" in text and "| refer | approve | 2 |" in text
    assert text.index("| home: rent | 60 | 20.00%") < text.index("| home: own | 40 | 5.00%")
    assert "beyond the limits" in text and "Nobody let this release" not in text
    document = msgspec.to_builtins(kept)
    figures = [p for line in lines(made.paper) for p in line if isinstance(p, Figure) and p.source == "backtest"]
    assert len(figures) > 20 and all(at(document, each.path) == each.value for each in figures)
    (source,) = [each for each in made.paper.sources if each.name == "backtest"]
    assert source.id and source.address == f"/backtests/{source.id}"


def test_notes_against_another_release_than_the_backtests_are_read_with_care(world: PaperWorld, kept: Backtest) -> None:
    assert kept.champions == {world.live.digest: 100}
    assert "read with care" not in world.paper(world.candidate, "notes").markdown
    same = world.paper(world.candidate, "notes", against=world.candidate.name).markdown
    assert "nothing changes" in same
