"""Runs inside the box: opens the pilot's model and data, predicts, scores on held-out rows, tries to break it.

Standard input is one JSON object (see `probes.py`); each step writes one JSON line as soon as it is done, so that a
step which kills the process takes only itself and what comes after it.
"""

from __future__ import annotations

import json
import math
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilotage.assess.paired_auc import auc_error, auc_gain
from pilotage.evaluation.baseline import single_feature_baseline
from pilotage.evaluation.leakage.suite import find_leaks
from pilotage.evaluation.leakage.table import Table, Target, field_of
from pilotage.evaluation.metrics import auc, calibration, confusion
from pilotage.evaluation.slices import evaluate_slices
from pilotage.sandbox.messages import take_pipes

__all__ = ["main"]

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Step = dict[str, Any]

_MAX_ROWS = 60_000
_CALIBRATED, _FOUR_FIFTHS, _FEW = 0.05, 0.8, 100


def _step(criterion: str, level: float, summary: str, **figures: Any) -> Step:
    return {"criterion": criterion, "level": level, "summary": summary, "figures": figures}


class _Probe:
    """What the steps share: the request, the data, the model, the split and the scores."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.frame: Any = None
        self.model: Any = None
        self.features: list[str] = []
        self.labels: Labels = np.zeros(0, dtype=bool)
        self.train = self.test = np.zeros(0, dtype=np.int64)
        self.fitted: Any = None
        self.scores: Floats = np.zeros(0)
        self.baseline: Floats = np.zeros(0)

    # ---- data

    def data(self) -> Iterator[Step]:
        import pandas

        path = self.request["data"]
        read = {".parquet": pandas.read_parquet, ".jsonl": lambda p: pandas.read_json(p, lines=True)}
        reader = next((read[end] for end in read if path.endswith(end)), pandas.read_csv)
        self.frame = reader(path).head(_MAX_ROWS)
        rows, target = len(self.frame), self.request["target"]
        yield _step("data.present", 1, f"{rows} rows, {len(self.frame.columns)} columns were read", rows=rows)
        yield self._quality()
        if target in self.frame:
            self.labels = np.array([_plain(value) == self.request["positive"] for value in self.frame[target]])
            few = int(min(self.labels.sum(), (~self.labels).sum()))
            level = 1 if rows >= 1000 and few >= 200 else 0.5 if few >= 50 else 0
            said = f"{rows} rows, {few} of the rarer outcome"
            yield _step("data.volume", level, said, rows=rows, rarer=few, rate=float(self.labels.mean()))

    def _quality(self) -> Step:
        frame = self.frame
        subject = [name for name in (self.request["subject"],) if name in frame]
        nulls = {name: float(share) for name, share in frame.isna().mean().items() if share > 0.2}
        twice = int(frame.drop(columns=subject).duplicated().sum())
        ids = int(frame[subject[0]].duplicated().sum()) if subject else 0
        constant = [name for name in frame if frame[name].nunique(dropna=False) <= 1]
        faults = [
            f"{len(nulls)} columns with more than a fifth null" if nulls else "",
            f"{twice} duplicate rows" if twice > 0.01 * len(frame) else "",
            f"{len(constant)} constant columns" if constant else "",
        ]
        said = "; ".join(fault for fault in faults if fault)
        figures = {"nulls": nulls, "duplicates": twice, "repeated_subjects": ids, "constant": constant}
        good = f"no constant column, no column with many nulls, {twice} duplicate rows"
        return _step("data.quality", 0 if said else 1, said or good, **figures)

    # ---- model

    def load(self) -> Iterator[Step]:
        path = self.request["artefact"]
        started = time.perf_counter()
        try:
            self.model = _open(path)
        except ModuleNotFoundError as error:
            if error.name and (Path(self.request["root"]) / f"{error.name.split('.')[0]}.py").exists():
                raise
            yield {"unknown": "model.loads", "why": f"this installation lacks {error.name}, which the artefact needs"}
            return
        except Exception as error:  # noqa: BLE001 - whatever opening it raises is the finding
            yield _step("model.loads", 0, f"it does not load: {type(error).__name__}: {str(error)[:200]}")
            return
        milliseconds = 1000 * (time.perf_counter() - started)
        kind = type(self.model).__name__
        yield _step(
            "model.loads",
            1,
            f"it loads: {kind}, {milliseconds:.0f} ms with its libraries",
            kind=kind,
            ms=round(milliseconds, 1),
        )

    def predict(self) -> Iterator[Step]:
        if self.model is None or self.frame is None:
            return
        left_out = {self.request["target"], self.request["subject"], *self.request["ignore"]}
        named = getattr(self.model, "feature_names_in_", None)
        self.features = [str(n) for n in (named if named is not None else self.frame.columns) if str(n) not in left_out]
        sample = self.frame.head(200)
        try:
            scores = _score(self.model, sample[self.features])
            started = time.perf_counter()
            for at in range(20):
                _score(self.model, sample[self.features].iloc[at % len(sample) : at % len(sample) + 1])
            each = 1000 * (time.perf_counter() - started) / 20
        except Exception as error:  # noqa: BLE001 - whatever it raises on its own sample is the finding
            yield _step("model.predicts", 0, f"it fails on its own sample: {type(error).__name__}: {str(error)[:200]}")
            self.model = None
            return
        figures = {
            "rows": len(sample),
            "low": float(scores.min()),
            "high": float(scores.max()),
            "ms_per_row": round(each, 3),
        }
        if not np.isfinite(scores).all() or np.ptp(scores) == 0:
            yield _step("model.predicts", 0, "its scores are not finite, or all the same", **figures)
            self.model = None
            return
        said = (
            f"it predicts {len(sample)} rows of its sample at {each:.1f} ms, {scores.min():.3f} to {scores.max():.3f}"
        )
        yield _step("model.predicts", 1, said, **figures)
        used = [name for name in self.request["protected"] if name in self.features]
        if self.request["protected"]:
            said = f"the model reads {', '.join(used)}" if used else "the model reads no protected attribute"
            yield _step("governance.protected_inputs", 0 if used else 1, said, used=used)

    # ---- quality on held-out rows

    def evaluate(self) -> Iterator[Step]:
        if self.model is None or not 0 < self.labels.sum() < len(self.labels):
            return
        self._split()
        labels = self.labels[self.test]
        held = self.frame.iloc[self.test][self.features]
        shipped = _score(self.model, held)
        self.fitted = self._refit()
        self.scores = shipped if self.fitted is None else _score(self.fitted, held)
        area = auc(labels, self.scores) or 0.0
        flags = confusion(labels, self.scores, 0.5)
        accuracy = float(((self.scores >= 0.5) == labels).mean())
        half = 1.96 * auc_error(area, int(labels.sum()), int((~labels).sum()))
        figures: dict[str, Any] = {
            "auc": area,
            "auc_low": area - half,
            "auc_high": area + half,
            "accuracy": accuracy,
            "rows": len(labels),
        }
        figures |= {"auc_as_shipped": auc(labels, shipped), "recall_at_half": flags["recall"]}
        how = "fitted again without them"
        if self.fitted is None:
            how = "which it may have seen: it cannot be fitted again"
        said = f"AUC {area:.3f} ± {half:.3f} on {len(labels)} held-out rows, {how}"
        yield _step("model.held_out", 1 if self.fitted is not None else 0.5, said, **figures)

    def _split(self) -> None:
        """Stratified: the declared share of each class, drawn by the declared seed."""
        generator = np.random.default_rng(self.request["seed"])
        parts = []
        for value in (False, True):
            places = generator.permutation(np.flatnonzero(self.labels == value))
            parts.append(places[: max(1, round(self.request["holdout"] * len(places)))])
        self.test = np.sort(np.concatenate(parts))
        self.train = np.setdiff1d(np.arange(len(self.labels)), self.test)

    def _refit(self) -> Any:
        """The same pipeline fitted on the training part only; None when it cannot be."""
        try:
            from sklearn.base import clone

            target = self.frame.iloc[self.train][self.request["target"]]
            return clone(self.model).fit(self.frame.iloc[self.train][self.features], target)
        except Exception:  # noqa: BLE001 - a model that cannot be fitted again is still scored as shipped
            return None

    def against_baselines(self) -> Iterator[Step]:
        if not len(self.scores):
            return
        labels = self.labels[self.test]
        columns = [self._column(name) for name in self.features]
        rows = list(zip(*columns, strict=True))
        train = [rows[at] for at in self.train]
        name, single = single_feature_baseline(
            self.features, train, self.labels[self.train], [rows[at] for at in self.test]
        )
        yield self._leakage(columns, f"{name} alone reaches AUC {auc(labels, single) or 0.5:.3f}")
        area = auc(labels, self.scores) or 0.5
        half = 1.96 * auc_error(area, int(labels.sum()), int((~labels).sum()))
        said = f"AUC {area - 0.5:+.3f} [{area - 0.5 - half:+.3f}, {area - 0.5 + half:+.3f}] over the base rate"
        yield _step("model.beats_baseline", 1 if area - half > 0.5 else 0, said, gain=area - 0.5, half_width=half)
        rules = {f"a rule on {name} alone": single, "a decision tree of depth 3": self._tree(rows)}
        yield self._simpler({what: auc_gain(labels, self.scores, scores) for what, scores in rules.items()})

    def _leakage(self, columns: list[list[Any]], said: str) -> Step:
        """Whether a column, or rows on both sides of this split, give the answer away."""
        held_out = np.zeros(len(self.labels), dtype=bool)
        held_out[self.test] = True
        found = find_leaks(
            Table(
                fields=tuple(field_of(name, column) for name, column in zip(self.features, columns, strict=True)),
                target=Target(
                    name=self.request["target"],
                    questions={self.request["positive"]: self.labels},
                    values=self.labels.astype(np.float64),
                ),
                held_out=held_out,
            )
        )
        counts, words = found.counts(), "; ".join(each.said for each in found.findings[:5])
        level = 0.0 if counts["high"] else 0.5 if counts["medium"] else 1.0
        return _step("data.leakage", level, words or said, alone=said, **found.as_dict())

    def _simpler(self, gains: dict[str, tuple[float, float, float]]) -> Step:
        """Whether the model beats every simpler one beyond chance."""
        words = [f"{gain:+.3f} [{low:+.3f}, {high:+.3f}] over {what}" for what, (gain, low, high) in gains.items()]
        beaten = all(low > 0 for _, low, _ in gains.values())
        said = f"AUC {'; '.join(words)}" + ("" if beaten else ": not shown to be better")
        return _step("model.simpler", 1 if beaten else 0, said, gains=gains)

    def _tree(self, rows: list[tuple[Any, ...]]) -> Floats:
        """The held-out scores of a decision tree of depth 3 on the same split."""
        from sklearn.tree import DecisionTreeClassifier

        coded = np.column_stack([_coded(column) for column in zip(*rows, strict=True)])
        tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=20, random_state=0)
        tree.fit(coded[self.train], self.labels[self.train])
        return np.asarray(tree.predict_proba(coded[self.test])[:, 1], dtype=np.float64)

    def _column(self, name: str) -> list[Any]:
        """A feature's values: text for declared categories and text, float64 for numbers, None for null."""
        column = self.frame[name]
        words = name in self.request["categorical"] or column.dtype.kind not in "biuf"
        return [
            None if value is None or value != value else str(value) if words else float(value)
            for value in column.tolist()
        ]

    def quality(self) -> Iterator[Step]:
        if not len(self.scores):
            return
        labels, threshold = self.labels[self.test], self.request["threshold"]
        if self.scores.min() >= 0 and self.scores.max() <= 1:
            _, error = calibration(labels, self.scores)
            said = f"expected calibration error {error:.4f}, limit {_CALIBRATED}"
            yield _step("model.calibrated", 1 if error <= _CALIBRATED else 0, said, error=error)
        if self.request["declared"]:
            yield self._operating_point(labels, threshold)
        if entries := self._slices(self.request["slices"]):
            yield self._by_slice(entries)
        if entries := self._slices(self.request["protected"]):
            yield self._by_group(entries)

    def _operating_point(self, labels: Labels, threshold: float) -> Step:
        flagged = self.scores >= threshold
        count, hits, rate = int(flagged.sum()), int((flagged & labels).sum()), float(labels.mean())
        precision = hits / count if count else 0.0
        low = precision - 1.96 * math.sqrt(precision * (1 - precision) / count) if count else 0.0
        recall = hits / max(1, int(labels.sum()))
        said = f"from {threshold:g} up: {count / len(labels):.0%} of cases, {recall:.0%} of the positives, "
        said += f"{precision:.0%} right against {rate:.0%} at random"
        figures = {"flagged": count / len(labels), "recall": recall, "precision": precision, "rate": rate}
        return _step("business.operating_point", 1 if low > rate else 0, said, **figures)

    def _slices(self, names: Sequence[str]) -> list[dict[str, Any]]:
        labels, threshold = self.labels[self.test], self.request["threshold"]
        entries: list[dict[str, Any]] = []
        for name in names:
            if name in self.frame:
                column = self._column(name)
                entries += evaluate_slices(name, [column[at] for at in self.test], labels, self.scores, threshold)
        return [entry for entry in entries if entry["rows"] >= _FEW and entry["judged"]]

    def _by_slice(self, entries: list[dict[str, Any]]) -> Step:
        overall = auc(self.labels[self.test], self.scores) or 0.5
        poor = []
        for entry in entries:
            positives = round(entry["rate"] * entry["rows"])
            if entry["auc"] is not None and min(positives, entry["rows"] - positives) >= 10:
                error = auc_error(entry["auc"], positives, entry["rows"] - positives)
                if entry["auc"] + 1.96 * error < overall:
                    poor.append(f"{entry['column']} = {entry['slice']} (AUC {entry['auc']:.3f}, {entry['rows']} rows)")
        said = f"worse than the whole on {', '.join(poor)}" if poor else f"no worse on any of {len(entries)} slices"
        return _step("model.slices", 0 if poor else 1, said, slices=entries, poor=poor)

    def _by_group(self, entries: list[dict[str, Any]]) -> Step:
        """The lowest share of favourable answers of a group against the highest, per protected column."""
        ratios = {}
        for name in {entry["column"] for entry in entries}:
            shares = {entry["slice"]: 1 - entry["flagged"] for entry in entries if entry["column"] == name}
            if len(shares) > 1 and max(shares.values()) > 0:
                ratios[name] = min(shares.values()) / max(shares.values())
        worst = min(ratios, key=lambda name: ratios[name], default="")
        if not worst:
            return {"unknown": "governance.bias", "why": "no two groups with enough rows"}
        said = f"favourable answers between groups of {worst}: ratio {ratios[worst]:.2f}"
        harmed = ratios[worst] < _FOUR_FIFTHS
        said += ", below four fifths" if harmed else "; compared by machine, judged by nobody yet"
        return _step("governance.bias", 0 if harmed else 0.5, said, ratios=ratios, groups=entries)

    # ---- trying to break it

    def messy(self) -> Iterator[Step]:
        if self.model is None:
            return
        broken = [
            f"{what} in {name}" for name in self.features for what, row in self._messy(name) if not self._stands(row)
        ]
        tried = sum(len(list(self._messy(name))) for name in self.features)
        said = (
            f"{len(broken)} of {tried} messy rows break it, such as {broken[0]}"
            if broken
            else f"it answers {tried} messy rows"
        )
        level = 1 if not broken else 0.5 if len(broken) * 5 < tried else 0
        yield _step("model.messy_input", level, said, tried=tried, broken=broken[:20])

    def _messy(self, name: str) -> Iterator[tuple[str, Any]]:
        """One good row with one value spoilt: null, then an unseen category or an extreme number."""
        row = self.frame[self.features].iloc[:1].copy()
        number = row[name].dtype.kind in "biuf"
        category = name in self.request["categorical"] or not number
        worse = (float(self.frame[name].max()) + 97 if category else 1e12) if number else "__unseen__"
        for what, value in (
            ("a null", math.nan if number else None),
            ("an unseen category" if category else "1e12", worse),
        ):
            spoilt = row.copy()
            spoilt[name] = spoilt[name].astype("float64" if number else "object")
            spoilt.loc[spoilt.index[0], name] = value
            yield what, spoilt

    def _stands(self, row: Any) -> bool:
        try:
            return bool(np.isfinite(_score(self.model, row)).all())
        except Exception:  # noqa: BLE001 - any error is the finding
            return False


def _plain(value: Any) -> str:
    """A label as text; 1, 1.0 and True are "1"."""
    return f"{float(value):g}" if isinstance(value, (int, float, np.number, np.bool_)) else str(value)


def _coded(column: Sequence[Any]) -> Floats:
    """Numbers as they are, categories as their rank in order of text; null is -1e9."""
    words = sorted({value for value in column if isinstance(value, str)})
    ranks = {word: float(at) for at, word in enumerate(words)}
    return np.array([-1e9 if value is None else ranks[value] if isinstance(value, str) else value for value in column])


def _open(path: str) -> Any:
    if path.endswith((".pkl", ".pickle")):
        try:
            return pickle.loads(Path(path).read_bytes())  # noqa: S301 - this process is the box made for it
        except (pickle.UnpicklingError, ValueError):
            pass
    import joblib

    return joblib.load(path)


def _score(model: Any, rows: Any) -> Floats:
    """One score a row: the probability of the last class, else the decision function, else the prediction."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(rows), dtype=np.float64)[:, -1]
    ask = model.decision_function if hasattr(model, "decision_function") else model.predict
    return np.asarray(ask(rows), dtype=np.float64).reshape(len(rows), -1)[:, 0]


def main() -> None:
    """Read the request, run the steps in order, write each result at once."""
    reader, writer = take_pipes()
    request = json.loads(reader.read())
    sys.path.append(request["root"])
    warnings.simplefilter("ignore")
    probe = _Probe(request)
    steps: list[Callable[[], Iterator[Step]]] = [probe.data] if request["data"] else []
    steps += [probe.load, probe.predict, probe.messy, probe.evaluate, probe.against_baselines, probe.quality]
    for step in steps if request["artefact"] else steps[:1]:
        try:
            for result in step():
                writer.write(json.dumps(result, default=str).encode() + b"\n")
        except Exception as error:  # noqa: BLE001 - one step that fails leaves its criteria unknown, the others go on
            why = f"{type(error).__name__}: {str(error)[:300]}"
            writer.write(json.dumps({"unknown": step.__name__, "why": why}).encode() + b"\n")
        writer.write(json.dumps({"done": step.__name__}).encode() + b"\n")
        writer.flush()


if __name__ == "__main__":
    main()
