"""Judge a release anew, or any file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pilotage.cli.evaluation_text import show_evaluation
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, json_option, progress_bar
from pilotage.errors import InputError
from pilotage.evaluation.bootstrap import ROUNDS
from pilotage.evaluation.predictions import KINDS, Asked, judge_predictions
from pilotage.kernel.documents import refuse
from pilotage.systems.evaluating import Costs, EvaluationRules, evaluation_faults

__all__ = ["evaluate"]

_AMOUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")


@click.command()
@click.option(
    "--predictions",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="CSV (also .gz), JSON lines or Parquet.",
)
@click.option("--target", default="", metavar="COLUMN", help="What was true.")
@click.option("--prediction", default="", metavar="COLUMN", help="The score, class or amount that was predicted.")
@click.option("--kind", type=click.Choice(KINDS), help="What is predicted (default: found from the target).")
@click.option("--positive", default="", metavar="VALUE", help="The class that the score is of (default: the larger).")
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Scores from here on count as positive.")
@click.option("--group", default="", metavar="COLUMN", help="The query of a ranked row; else rows that go together.")
@click.option("--baseline", "baselines", multiple=True, metavar="COLUMN", help="Predictions to be beaten; repeat.")
@click.option("--slice", "--slices", "slices", multiple=True, metavar="COLUMN", help="Judge its values apart; repeat.")
@click.option("--time", default="", metavar="COLUMN", help="Dates: judge period by period.")
@click.option("--quantile", "quantiles", multiple=True, metavar="Q=COLUMN", help="A predicted quantile, as 0.9=p90.")
@click.option("--interval", nargs=2, metavar="LOW HIGH", help="The columns of a prediction interval.")
@click.option("--cost", "costs", multiple=True, metavar="NAME=AMOUNT", help="As false_negative=900; repeat.")
@click.option("--unit", default="", metavar="UNIT", help="Of the costs, such as EUR.")
@click.option("--at", "cuts", multiple=True, type=click.IntRange(1, 10_000), help="Places of a ranking (5 and 10).")
@click.option("--rounds", type=click.IntRange(100, 100_000), default=ROUNDS, show_default=True, help="Bootstraps.")
@click.option("--seed", type=int, default=2026, show_default=True, help="Of the bootstraps.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a report, too.")
@json_option
@click.pass_obj
def evaluate(chosen: Chosen, /, predictions: Path | None, html: Path | None, json_: bool, **given: Any) -> None:
    """Judge a file of predictions: figures with 95 % intervals, calibration, costs, slices, and what they mean.

    \b
    pilotage evaluate --predictions scored.csv --target defaulted --prediction score
    """
    if predictions is None:
        raise InputError("nothing is named that could be judged", expected="--predictions FILE", mend="name a file")
    with progress_bar("evaluating") as tell:
        found = judge_predictions(predictions, _asked(given), progress=tell)
    if html is not None:
        _write(html, found)
    if json_:
        as_json(found)
        return
    show_evaluation(found)
    if html is not None:
        click.echo(f"report: {html}")


def _asked(given: dict[str, Any]) -> Asked:
    missing = [f"--{name}" for name in ("target", "prediction") if not given[name]]
    if missing:
        raise InputError(
            "the columns to judge are not named", expected=" and ".join(missing), mend="name them; see --help"
        )
    return Asked(
        target=given["target"],
        prediction=given["prediction"],
        kind=given["kind"] or "",
        positive=given["positive"],
        threshold=given["threshold"],
        group=given["group"],
        baselines=given["baselines"],
        slices=given["slices"],
        time=given["time"],
        quantiles=dict(map(_quantile, given["quantiles"])),
        span=given["interval"] or None,
        costs=_costs(given["costs"], given["unit"]),
        rounds=given["rounds"],
        seed=given["seed"],
        **({"cuts": tuple(sorted(set(given["cuts"])))} if given["cuts"] else {}),
    )


def _quantile(text: str) -> tuple[float, str]:
    share, _, column = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not (0 < value < 1 and column):
        raise InputError("a quantile cannot be read", got=text, expected="Q=COLUMN", mend="such as 0.9=p90")
    return value, column


def _costs(texts: tuple[str, ...], unit: str) -> Costs | None:
    amounts = {}
    for text in texts:
        name, _, amount = text.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            name = ""
        if name not in _AMOUNTS:
            expected = f"NAME=AMOUNT, NAME one of {', '.join(_AMOUNTS)}"
            raise InputError("a cost cannot be read", got=text, expected=expected, mend="such as false_negative=900")
    rules = EvaluationRules(costs=Costs(unit=unit, **amounts))
    refuse("--cost", list(evaluation_faults(rules)))
    return rules.matrix


def _write(path: Path, found: dict[str, Any]) -> None:
    from pilotage.web.evaluation_report import evaluation_report

    try:
        path.write_text(evaluation_report(found), encoding="utf-8")
    except OSError as error:
        raise InputError("the report cannot be written", got=error, mend="name a file in a folder you own") from error
