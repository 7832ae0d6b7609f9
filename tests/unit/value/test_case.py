"""What a business case comes to, and the sheet that it is read from."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.cli.main import Chosen
from pilotage.cli.value import value
from pilotage.errors import InputError
from pilotage.value.case import judge
from pilotage.value.model import INPUTS, Case, Estimate
from pilotage.value.sheet import blank_sheet, parse_sheet
from pilotage.web.console.value_pages import case_file

FIGURES: dict[str, tuple[float, float, float]] = {
    "volume": (8_000, 10_000, 12_000),
    "adoption": (0.4, 0.6, 0.8),
    "minutes": (8, 12, 20),
    "wage": (40, 40, 40),
    "false_positive_rate": (0.05, 0.06, 0.08),
    "false_positive_cost": (5, 10, 20),
    "investment": (50_000, 80_000, 150_000),
}


def case(years: int = 3, **changed: tuple[float, float, float]) -> Case:
    figures = {**FIGURES, **changed}
    inputs = {name: Estimate(low=low, likely=likely, high=high) for name, (low, likely, high) in figures.items()}
    return Case(name="Referral", currency="EUR", years=years, inputs=inputs)


def certain(given: Case) -> Case:
    fixed = {name: Estimate(low=e.likely, likely=e.likely, high=e.likely) for name, e in given.inputs.items()}
    return msgspec.structs.replace(given, inputs=fixed)


def test_without_a_doubt_every_figure_is_the_likely_one() -> None:
    found = judge(certain(case()), draws=1_000)
    saving = 8.0 - 0.6
    yearly = 10_000 * 0.6 * saving
    assert (found.cost_today, found.saving) == (8.0, pytest.approx(saving))
    expected = -80_000 + sum(yearly / 1.08**year for year in (1, 2, 3))
    assert found.npv == pytest.approx(expected)
    spread = found.npv_spread
    assert [spread.p10, spread.p50, spread.p90, found.npv_best, found.npv_worst] == pytest.approx([expected] * 5)
    assert found.levers == [] and found.loses == (expected < 0)
    assert found.years[-1].cumulative == pytest.approx(expected)
    assert found.delay_a_month == pytest.approx(yearly / 12)
    assert found.break_even_accuracy == pytest.approx(1 - 8.0 / 10) and found.accuracy == pytest.approx(0.94)


def test_draws_have_the_mean_and_spread_of_their_three_figures() -> None:
    """Of the investment alone, the value's mean is that at (low + 4 likely + high) / 6, whatever the seed."""
    given = certain(case())
    investment = Estimate(low=50_000, likely=80_000, high=200_000)
    given = msgspec.structs.replace(given, inputs={**given.inputs, "investment": investment})
    found = [judge(given, draws=50_000, seed=seed) for seed in (1, 2)]
    mean = (50_000 + 4 * 80_000 + 200_000) / 6
    alpha = 1 + 4 * 30_000 / 150_000
    beta = 1 + 4 * 120_000 / 150_000
    drawn = 50_000 + 150_000 * np.random.default_rng(9).beta(alpha, beta, 200_000)
    gains = found[0].npv + 80_000
    assert drawn.mean() == pytest.approx(mean, rel=0.01)
    for each in found:
        assert each.npv_spread.p50 == pytest.approx(gains - np.median(drawn), abs=1_500)
        assert each.npv_spread.p10 == pytest.approx(gains - np.quantile(drawn, 0.9), abs=2_500)
    assert found[0].npv_spread != found[1].npv_spread and found[0] == judge(given, draws=50_000, seed=1)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(set(FIGURES) - {"wage"})), st.floats(0.1, 3), min_size=1, max_size=5))
def test_no_corner_is_better_than_the_best_nor_worse_than_the_worst(scales: dict[str, float]) -> None:
    """Against every corner of up to five uncertain inputs."""
    base = certain(case())
    inputs = dict(base.inputs)
    for name, scale in scales.items():
        low, likely, high = (each * scale for each in FIGURES[name])
        most = INPUTS[name].most
        inputs[name] = Estimate(low=min(low, most), likely=min(likely, most), high=min(high, most))
    given = msgspec.structs.replace(base, inputs=inputs)
    found = judge(given, draws=1_000)
    corners = []
    for ends in product((0, 1), repeat=len(scales)):
        at = {n: (inputs[n].low, inputs[n].high)[end] for n, end in zip(scales, ends, strict=True)}
        fixed = {**inputs, **{n: Estimate(low=v, likely=v, high=v) for n, v in at.items()}}
        corners.append(judge(msgspec.structs.replace(given, inputs=fixed), draws=1_000).npv)
    assert found.npv_best == pytest.approx(max(corners)) and found.npv_worst == pytest.approx(min(corners))
    assert found.npv_worst <= found.npv <= found.npv_best


def test_the_verdict() -> None:
    assert judge(case(investment=(1e9, 2e9, 3e9))).verdict == "stop"
    assert judge(case(investment=(0, 1, 2))).verdict == "pays"
    doubtful = judge(case())
    assert doubtful.verdict == "may pay" and 0.1 < doubtful.loses < 1


def test_levers_come_with_where_they_turn() -> None:
    found = judge(case())
    spans = [each.span for each in found.levers]
    assert spans == sorted(spans, reverse=True) and "wage" not in [each.name for each in found.levers]
    turning = next(each for each in found.levers if each.turns_at is not None)
    at = {turning.name: (turning.turns_at, turning.turns_at, turning.turns_at)}
    assert judge(case(**at)).npv == pytest.approx(0.0, abs=1.0)  # type: ignore[arg-type]  # it is not None


def test_a_blank_sheet_asks_everything_and_is_refused_until_it_is_filled_in() -> None:
    text = blank_sheet("A: name # with signs", {"false_positive_rate": Estimate(low=0.1, likely=0.2, high=0.3)})
    assert all(name in text for name in INPUTS)
    with pytest.raises(InputError) as caught:
        parse_sheet(text.encode(), "sheet")
    needed = {name for name, each in INPUTS.items() if each.default is None}
    assert {str(each["path"]) for each in caught.value.faults} == {f"inputs.{name}" for name in needed}
    filled = text
    for name in needed:
        filled = filled.replace(f"  {name}: {{low: , likely: , high: ", f"  {name}: {{low: 0.1, likely: 0.2, high: 0.3")
    read = parse_sheet(filled.encode(), "sheet")
    assert read.name == "A: name # with signs" and set(read.inputs) == needed | {"false_positive_rate"}
    assert read.inputs["false_positive_rate"].likely == 0.2


def sheet(**changed: Any) -> bytes:
    inputs = {name: dict(zip(("low", "likely", "high"), each, strict=True)) for name, each in FIGURES.items()}
    inputs |= changed.pop("inputs", {})
    document = {"name": "Referral", "currency": "EUR", "years": 3, "ramp": [1.0], "inputs": inputs, **changed}
    return yaml.safe_dump({name: each for name, each in document.items() if each is not None}).encode()


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"years": 0}, "years"),
        ({"ramp": [1.5]}, "ramp"),
        ({"ramp": []}, "ramp"),
        ({"name": " "}, "name"),
        ({"name": "a \x1b[2J b"}, "name"),
        ({"currency": "a very long one"}, "currency"),
        ({"inputs": {"volume": None}}, "inputs.volume"),
        ({"inputs": {"volume": {"low": 2, "likely": 1, "high": 3}}}, "inputs.volume"),
        ({"inputs": {"volume": {"low": 1, "likely": float("nan"), "high": 3}}}, "inputs.volume"),
        ({"inputs": {"adoption": {"low": 0.5, "likely": 0.7, "high": 70}}}, "inputs.adoption"),
        ({"inputs": {"minutes": {"low": -1, "likely": 0.7, "high": 70}}}, "inputs.minutes"),
        ({"inputs": {"volumes": {"low": 1, "likely": 1, "high": 1}}}, "inputs.volumes"),
        ({"inputs": {"volume": {"low": "many", "likely": 1, "high": 1}}}, "inputs.volume.low"),
        ({"attribution": "surely"}, "attribution"),
    ],
)
def test_a_sheet_with_a_fault_is_refused_with_its_place(changed: dict[str, Any], path: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_sheet(sheet(**changed), "sheet")
    assert path in [each["path"] for each in caught.value.faults]
    assert all(each["mend"] for each in caught.value.faults)


def test_figures_with_source_and_date_are_no_assumptions() -> None:
    told = {"low": 8, "likely": 12, "high": 20, "source": "time study", "date": "2026-03-01"}
    text = sheet(inputs={"minutes": told}).replace(b"'2026-03-01'", b"2026-03-01")
    found = judge(parse_sheet(text, "sheet"))
    assert "minutes" not in found.assumptions and "volume" in found.assumptions


def test_commands(tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(value, words, obj=Chosen())

    blank, filled, page = tmp_path / "blank.yaml", tmp_path / "filled.yaml", tmp_path / "page.html"
    assert run("sheet", "--out", str(blank)).exit_code == 0 and "volume" in blank.read_text()
    assert isinstance(run("sheet", "--out", str(blank)).exception, InputError), "nothing is overwritten"
    filled.write_bytes(sheet(name="<b>Referral [red]"))
    result = run("case", str(filled), "--html", str(page))
    assert result.exit_code == 0 and "Referral [red]" in result.output and "may pay" in result.output
    assert "false_positive_cost" in result.output
    told = json.loads(run("case", str(filled), "--json").output)
    assert told["verdict"] == "may pay" and told["npv_spread"]["p10"] < told["npv"] < told["npv_spread"]["p90"]
    text = page.read_text()
    assert "&lt;b&gt;Referral" in text and "<b>" not in text and "://" not in text
    hopeless = {"investment": {"low": 1e9, "likely": 1e9, "high": 1e9}}
    filled.write_bytes(sheet(inputs=hopeless))
    result = run("case", str(filled))
    assert result.exit_code == 3 and "stop" in result.output


def test_the_page_says_what_it_comes_to() -> None:
    assert "Stop." in case_file(judge(case(investment=(1e9, 1e9, 1e9))))
    assert "It pays" in case_file(judge(case(investment=(1, 2, 3))))
    assert "What it hangs on" not in case_file(judge(certain(case())))
