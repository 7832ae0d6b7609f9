"""Judge a release anew, or any file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from pilotage.access.model import require
from pilotage.cli.evaluation_text import show_evaluation, show_stability
from pilotage.cli.identity import acting, opened
from pilotage.cli.main import Chosen
from pilotage.cli.output import as_json, errors_console, json_option, progress_bar, show_facts
from pilotage.errors import InputError
from pilotage.evaluation.bootstrap import ROUNDS
from pilotage.evaluation.predictions import KINDS, Asked, judge_predictions
from pilotage.evaluation.refits import FEWEST, MOST
from pilotage.kernel.documents import refuse
from pilotage.releases.again import Labelled, evaluate_again, fit_again, labelled_rows, measure_load, prove_together
from pilotage.releases.bearing import SECONDS
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.store import find_release
from pilotage.rollout.service import live_systems
from pilotage.storage.database import reading
from pilotage.systems.evaluating import Costs, EvaluationRules, evaluation_faults
from pilotage.wiring.installation import Installation

__all__ = ["evaluate"]

_AMOUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")


@click.command()
@click.argument("ref", required=False)
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Labelled rows for REF (default: the data that it was built from).",
)
@click.option("--latency", is_flag=True, help="Measure REF at its declared load instead.")
@click.option("--stability", is_flag=True, help="Fit the model of REF again instead, under other seeds, in its box.")
@click.option("--together", is_flag=True, help="Prove anew instead that rows of REF may share a call here.")
@click.option(
    "--seeds", type=click.IntRange(FEWEST, MOST), default=10, show_default=True, help="Refits of a kind, at most."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 86_400), default=120.0, show_default=True, help="For all refits together."
)
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
def evaluate(
    chosen: Chosen,
    /,
    ref: str | None,
    data: Path | None,
    latency: bool,
    stability: bool,
    together: bool,
    seeds: int,
    seconds: float,
    predictions: Path | None,
    html: Path | None,
    json_: bool,
    **given: Any,
) -> None:
    """Judge release REF anew, on record; or any file of predictions, with no release at all.

    \b
    pilotage evaluate credit-default@1 --data labelled.csv
    pilotage evaluate credit-default@1 --latency
    pilotage evaluate credit-default@1 --stability --seeds 10
    pilotage evaluate credit-default@1 --together
    pilotage evaluate --predictions scored.csv --target defaulted --prediction score
    """
    if (ref is None) == (predictions is None):
        what = (
            "nothing is named that could be judged" if ref is None else "a release and a file of predictions are named"
        )
        expected = "REF, or --predictions FILE"
        raise InputError(what, expected=expected, mend="name the one or the other; see --help")
    if ref is not None and latency:
        _load(chosen, ref, data, json_)
        return
    if ref is not None and stability:
        _stability(chosen, ref, data, seeds, seconds, json_)
        return
    if ref is not None and together:
        _together(chosen, ref, data, json_)
        return
    if ref is not None:
        found = _release(chosen, ref, data, given["rounds"])
    else:
        with progress_bar("evaluating") as tell:
            found = judge_predictions(predictions or Path(), _asked(given), progress=tell)
    if html is not None:
        _write(html, found)
    if json_:
        as_json(found)
        return
    show_evaluation(found)
    if html is not None:
        click.echo(f"report: {html}")


def _labelled(chosen: Chosen, ref: str, data: Path | None) -> tuple[Installation, Release, LoadedRelease, Labelled]:
    installation = opened(chosen)
    require(acting(installation), "release.build")
    with reading(installation.control) as connection:
        made = find_release(connection, ref)
    loaded = open_release(installation.releases, made.digest)
    return installation, made, loaded, labelled_rows(loaded, data)


def _release(chosen: Chosen, ref: str, data: Path | None, rounds: int) -> dict[str, Any]:
    installation, made, loaded, labelled = _labelled(chosen, ref, data)
    with progress_bar("scoring") as tell:
        return evaluate_again(installation.control, loaded, made.name, labelled, rounds=rounds, progress=tell)


def _load(chosen: Chosen, ref: str, data: Path | None, json_: bool) -> None:
    installation, made, loaded, labelled = _labelled(chosen, ref, data)
    load = loaded.system().evaluation.load
    with errors_console().status(f"asking {load.rows_per_second:g} rows a second for {SECONDS:g} s"):
        found = measure_load(installation.control, loaded, labelled)
    if json_:
        as_json(msgspec.to_builtins(found) | {"release": made.digest, "holds": found.holds})
        return
    show_facts(
        [
            ("release", f"{made.name}  {made.digest}"),
            ("asked", f"{found.rows:,} rows at {found.rate:g} a second; {found.answered_rate:g} a second came back"),
            ("answered in", f"{found.p50_ms:.2f} ms half, {found.p95_ms:.2f} ms 95 %, {found.p99_ms:.2f} ms 99 %"),
            ("memory", f"{found.memory_mb:,.0f} MB, of which {found.base_mb:,.0f} MB before the release was opened"),
            ("first answer", f"{found.start_ms:,.0f} ms after it was opened"),
            ("verdict", "holds" if found.holds else "; ".join(found.broken)),
        ]
    )


def _stability(chosen: Chosen, ref: str, data: Path | None, seeds: int, seconds: float, json_: bool) -> None:
    installation, made, loaded, labelled = _labelled(chosen, ref, data)
    with progress_bar("fitting again") as tell:
        found = fit_again(installation.control, loaded, labelled, seeds=seeds, seconds=seconds, progress=tell)
    if json_:
        as_json(found | {"release": made.digest})
    else:
        show_facts([("release", f"{made.name}  {made.digest}")])
        show_stability(found)
    if not found["measured"]:
        raise SystemExit(1)


def _together(chosen: Chosen, ref: str, data: Path | None, json_: bool) -> None:
    """Prove, and let gateways go by it where the release is live."""
    installation, made, loaded, labelled = _labelled(chosen, ref, data)
    with errors_console().status("asking every row alone and in company"):
        found = prove_together(installation.control, loaded, labelled)
    live = any(each.release == made.digest for each in live_systems(installation.control))
    plan = installation.rollout.publish().version if live else 0
    if json_:
        as_json(found.as_facts() | {"release": made.digest, "plan": plan or None})
        return
    allowed = f"up to {min(found.most, found.declared)} rows may share a call"
    words = allowed if found.most > 1 and found.declared > 1 else f"row by row: {found.why or 'so declared'}"
    gain = ", ".join(f"{size} rows {times:g} times" for size, times in found.gain.items())
    show_facts(
        [
            ("release", f"{made.name}  {made.digest}"),
            ("verdict", words),
            ("asked", ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found.rows.items())),
            ("as fast as alone", gain or "not measured"),
            ("environment", found.environment),
            ("gateways", f"follow with plan {plan}" if plan else "not live: it counts once it is promoted"),
        ]
    )


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
