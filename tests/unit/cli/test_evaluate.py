"""`pilotage evaluate` on a file of predictions: words, tables, pictures, JSON and a report."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pilotage.cli.main import main


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    generator = np.random.default_rng(3)
    chance = generator.beta(1, 3, 800)
    labels = (generator.random(800) < chance).astype(int)
    path = tmp_path / "scored.csv"
    with path.open("w", newline="") as file:
        rows = zip(
            labels, chance.round(4), generator.random(800).round(4), generator.choice(["a", "<b>"], 800), strict=True
        )
        csv.writer(file).writerows([("truth", "score", "rival", "place"), *rows])
    return path


def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, terminal: bool = False
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["pilotage", "evaluate", *words])
    monkeypatch.setenv("COLUMNS", "80")
    if terminal:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


ASKED = ("--target", "truth", "--prediction", "score", "--baseline", "rival", "--slice", "place", "--rounds", "200")


def test_what_it_means_comes_before_the_figures(
    scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = ("--unit", "EUR", "--cost", "false_positive=1", "--cost", "false_negative=5")
    code, out, _ = called(monkeypatch, capsys, "--predictions", str(scored), *ASKED, *costs, terminal=True)
    assert code == 0 and out.index("better by more than chance") < out.index("Figures")
    assert "█" in out and "│" in out and "EUR" in out and "place: <b>" in out
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out).splitlines()
    assert max(map(len, lines)) <= 80


def test_json_and_report_hold_the_same(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    code, out, _ = called(monkeypatch, capsys, "--predictions", str(scored), *ASKED, "--json", "--html", str(report))
    found, page = json.loads(out), report.read_text()
    assert code == 0 and found["against"]["rival"]["beaten"]
    assert f"{found['metrics']['auc']:.4f}" in page and found["source"]["digest"] in page
    assert "place: &lt;b&gt;" in page and "<b>" not in page
    assert "src=" not in page and "href=" not in page and "@import" not in page, "it needs nothing else"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--predictions FILE"),
        (("--predictions", "none.csv", "--target", "a"), "--prediction"),
        (("--predictions", "none.csv", *ASKED), "no such file"),
        (("--predictions", "none.csv", *ASKED, "--cost", "false_negative"), "NAME=AMOUNT"),
        (("--predictions", "none.csv", *ASKED, "--cost", "false_negative=nan", "--unit", "EUR"), "no amount"),
        (("--predictions", "none.csv", *ASKED, "--cost", "false_negative=1"), "names no unit"),
        (("--predictions", "none.csv", *ASKED, "--quantile", "9=x"), "Q=COLUMN"),
    ],
)
def test_a_wrong_call_says_its_mend(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = called(monkeypatch, capsys, *words)
    assert code == 1 and said in err and "Traceback" not in err
