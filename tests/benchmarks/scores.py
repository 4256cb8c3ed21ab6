"""Fidelity, utility and privacy of a synthetic table, for every contender alike.

    python tests/benchmarks/scores.py TRAINING.parquet TEST.parquet FOLDER

Reads FOLDER/synthetic.parquet, and FOLDER/likelihood.parquet where a contender has likelihoods
(`member`, `log_p`); writes FOLDER/scores.json. Shares no code with what it judges, and runs in an
environment with xgboost and sdmetrics (see bench_generators.py).
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sdmetrics.reports.single_table import QualityReport
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from xgboost import XGBClassifier

TARGET, POSITIVE = "income", ">50K"
ATTACKED_WITH = 20_000
"""Synthetic rows an attacker holds records against; more of them cost, and change little."""
BLOCK = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    training, test = pd.read_parquet(options.training), pd.read_parquet(options.test)
    synthetic = pd.read_parquet(options.folder / "synthetic.parquet")[list(training.columns)]
    began = time.process_time()
    # As many members as non-members, so that neither side is nearer by its size.
    members = training.sample(n=min(len(training), len(test)), random_state=1)
    scores = (
        fidelity(training, synthetic)
        | {"c2st_auc": c2st(test, synthetic), "tstr_auc": utility(synthetic, test)}
        | {"exact_share": exact_share(training, synthetic)}
        | nearness(members, test, synthetic)
    )
    likelihood = options.folder / "likelihood.parquet"
    if likelihood.is_file():
        known = pd.read_parquet(likelihood)
        scores["mia_likelihood"] = advantage(known["log_p"], known["member"])
    scores["scored_cpu_s"] = time.process_time() - began
    (options.folder / "scores.json").write_text(json.dumps(scores, indent=1))


def fidelity(real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, float]:
    """Column shapes, pair trends and their mean, by sdmetrics: 1 is alike."""
    kinds = {name: "numerical" if is_number(real[name]) else "categorical" for name in real}
    metadata = {"columns": {name: {"sdtype": kind} for name, kind in kinds.items()}}
    report = QualityReport()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report.generate(real, synthetic, metadata, verbose=False)
    parts = report.get_properties().set_index("Property")["Score"]
    return {
        "quality": float(report.get_score()),
        "shape": float(parts["Column Shapes"]),
        "pair": float(parts["Column Pair Trends"]),
    }


def is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def classifier() -> XGBClassifier:
    return XGBClassifier(
        n_estimators=200, max_depth=6, learning_rate=0.1, tree_method="hist",
        enable_categorical=True, n_jobs=1, random_state=1,
    )  # fmt: skip


def together(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Both tables' rows, categories as such and of the same codes in both."""
    rows = pd.concat([first, second], ignore_index=True)
    for name in rows:
        rows[name] = (
            rows[name].astype("float64")
            if is_number(first[name])
            else rows[name].astype(str).astype("category")
        )
    return rows


def c2st(test: pd.DataFrame, synthetic: pd.DataFrame) -> float:
    """AUC of telling rows the generator never saw from synthetic ones: .5 is no telling."""
    n = min(len(test), len(synthetic))
    rows = together(test[:n], synthetic.sample(n=n, random_state=1))
    made = np.repeat([0, 1], n)
    folds = StratifiedKFold(5, shuffle=True, random_state=1)
    odds = cross_val_predict(classifier(), rows, made, cv=folds, method="predict_proba")
    return float(roc_auc_score(made, odds[:, 1]))


def utility(fitted_on: pd.DataFrame, test: pd.DataFrame) -> float:
    """AUC on real rows of a classifier of income that was fitted on the other rows."""
    rows = together(fitted_on, test).drop(columns=TARGET)
    labels = pd.concat([fitted_on[TARGET], test[TARGET]]) == POSITIVE
    n = len(fitted_on)
    if labels[:n].nunique() < 2:
        return 0.5
    model = classifier().fit(rows[:n], labels[:n])
    return float(roc_auc_score(labels[n:], model.predict_proba(rows[n:])[:, 1]))


def exact_share(training: pd.DataFrame, synthetic: pd.DataFrame) -> float:
    """Share of synthetic rows that are training rows, value by value."""
    same = {name: training[name].dtype for name in training if is_number(training[name])}
    rounded = synthetic.assign(
        **{name: synthetic[name].round().astype(d) for name, d in same.items()}
    )
    known = pd.MultiIndex.from_frame(training)
    return float(pd.MultiIndex.from_frame(rounded).isin(known).mean())


def nearness(
    members: pd.DataFrame, test: pd.DataFrame, synthetic: pd.DataFrame
) -> dict[str, float]:
    """Share of synthetic rows nearer to training than to unseen rows; the attack by distance."""
    space = Gower(members)
    near, far = space.points(members), space.points(test)
    attack = space.points(synthetic[:ATTACKED_WITH])
    some = space.points(synthetic[: len(test)])
    to_members, to_test = space.nearest(some, near), space.nearest(some, far)
    nearer = (to_members < to_test) + 0.5 * (to_members == to_test)
    distance = np.concatenate([space.nearest(near, attack), space.nearest(far, attack)])
    member = np.repeat([True, False], [len(members), len(test)])
    return {
        "dcr_share": float(nearer.mean()),
        "mia_distance": advantage(pd.Series(-distance), pd.Series(member)),
    }


class Gower:
    """Gower's distance: a category apart counts 1, a number its difference by the range."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.numbers = [name for name in rows if is_number(rows[name])]
        self.categories = {
            name: sorted(rows[name].unique()) for name in rows if name not in self.numbers
        }
        self.low = rows[self.numbers].min()
        self.width = (rows[self.numbers].max() - self.low).replace(0, 1)

    def points(self, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Scaled numbers, shape (n, numbers), and indicators of categories."""
        numbers = ((rows[self.numbers] - self.low) / self.width).to_numpy(np.float32)
        flags = [rows[name].to_numpy()[:, None] == np.array(known, dtype=object)[None]
                 for name, known in self.categories.items()]  # fmt: skip
        return numbers, np.concatenate(flags, axis=1).astype(np.float32)

    def nearest(
        self, rows: tuple[np.ndarray, np.ndarray], among: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Distance of each row to the nearest of the others, shape (n,)."""
        found = []
        columns = np.ascontiguousarray(among[0].T)
        for start in range(0, len(rows[0]), BLOCK):
            numbers, flags = (part[start : start + BLOCK] for part in rows)
            distance = len(self.categories) - flags @ among[1].T
            for j, column in enumerate(columns):
                distance += np.abs(numbers[:, j, None] - column[None])
            found.append(distance.min(axis=1))
        return np.concatenate(found)


def advantage(score: pd.Series, member: pd.Series) -> float:
    """True minus false positives of "a high score was trained on".

    The threshold is the best of one half and is measured on the other, both ways round, since a
    threshold chosen and measured on the same rows finds an advantage in noise.
    """
    values, truth = score.to_numpy(np.float64), member.to_numpy(bool)
    half = np.random.default_rng(1).random(len(values)) < 0.5
    return float(np.mean([_measured(values, truth, half), _measured(values, truth, ~half)]))


def _measured(values: np.ndarray, truth: np.ndarray, chosen_on: np.ndarray) -> float:
    order = np.argsort(-values[chosen_on], kind="stable")
    ranked = truth[chosen_on][order]
    gain = np.cumsum(ranked) / ranked.sum() - np.cumsum(~ranked) / (~ranked).sum()
    threshold = values[chosen_on][order][int(np.argmax(gain))]
    said, rest = values[~chosen_on] >= threshold, truth[~chosen_on]
    return float(said[rest].mean() - said[~rest].mean())


if __name__ == "__main__":
    main()
