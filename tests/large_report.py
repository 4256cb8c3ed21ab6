"""A run of many segments, windows and all metrics, every tenth segment drifting since half-way.

Each of those that drift has tried three generators in each of forty rounds.
"""

import dataclasses
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from generators_report import BLURRED, GOOD, STALE, curve_rows, gate_rows_of, round_rows

from rehearsal.report.findings import drawn, findings
from rehearsal.report.frames import COLUMNS, ReportData

BINNED = ["kl_nats", "kl_reverse_nats", "js_nats", "js_distance", "psi", "tv_distance",
          "l_infinity_distance"]  # fmt: skip
VALUED = ["ks_distance", "wasserstein_distance"]
OUTPUTS = {
    "value": [*BINNED, *VALUED, "flip_rate", "mse", "relative_mse", "mae", "mean_change"],
    "class": [*BINNED, "flip_rate", "mean_kl_nats"],
    **{name: ["mean_change"] for name in ("expected_accuracy", "calibration", "log_loss")},
    **{name: ["mean_change", "kpi_relative_change"] for name in ("buy_rate", "accuracy")},
}
TESTS = dict.fromkeys([*BINNED, *VALUED], "distribution") | dict.fromkeys(
    ("mean_change", "kpi_relative_change"), "mean"
)
THRESHOLDS = {"kl_nats": 0.05, "kpi_relative_change": 0.1}
EDGES = [0.0612, 0.1347, 0.2218, 0.305, 0.4021, 0.5, 0.6103, 0.7219, 0.8614]
N_TYPES, N_ROUNDS = 30, 40
REFUSED = "; ".join(
    f"{who} refused: DCR share 0.611 is above gate.max_dcr_share 0.550; real halves reach 0.498, "
    "independent columns 0.503."
    for who in ("serving", "segment", "all")
)


def frame(name: str, values: pd.DataFrame | dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(values).reindex(columns=list(COLUMNS[name]))


def large_run(small: ReportData, n_windows: int) -> ReportData:
    """Return the run with scores of every segment of `small`, and what follows from them."""
    segments = [str(one) for one in small.profiles["segment_id"].unique()]
    windows = pd.date_range(datetime(2024, 1, 1), periods=n_windows, freq="7D")
    drifting = segments[::10]
    data = dataclasses.replace(
        small,
        scores=score_rows(segments, windows, drifting),
        onsets=onset_rows(windows, drifting),
        contributions=contribution_rows(drifting),
        **generator_frames(drifting),
        bins=frame("bins", {"output": ["value", "class"], "edges": [EDGES, []],
                            "classes": [[], ["buy", "browse", "leave"]]}),
    )  # fmt: skip
    shown = [one.key for one in drawn(data, findings(data))]
    keys = [None if key == "*" else key for key in shown]
    return dataclasses.replace(data, joints=joint_rows(keys, windows))


def score_rows(segments: list[str], windows: pd.DatetimeIndex, drifting: list[str]) -> pd.DataFrame:
    pairs = [f"{output} {metric}" for output, own in OUTPUTS.items() for metric in own]
    grid = pd.MultiIndex.from_product(
        [[None, *segments], windows, pairs], names=["segment_id", "window_start", "pair"]
    ).to_frame(index=False)
    random = np.random.default_rng(1)
    size = random.gamma(1.5, 0.006, len(grid))
    grid[["output", "metric"]] = grid["pair"].str.split(" ", expand=True)
    threshold = grid["metric"].map(THRESHOLDS)
    late = grid["window_start"] >= windows[n_half(windows)]
    red = grid["segment_id"].isin(drifting) & late & threshold.notna()
    size = np.where(red, 0.15 + size, size)
    seen = random.gamma(4, 0.002, len(grid))
    q_values = np.where(red, 10 ** -random.uniform(3, 9, len(grid)), random.uniform(0.1, 1.0))
    below = [f"below the threshold; {one:.2g} or more would have shown" for one in seen]
    over = [f"over the threshold and significant (q {q:.2g})" for q in q_values]
    return frame("scores", grid.assign(
        window_end=grid["window_start"] + pd.Timedelta(days=7), granularity="week",
        test=grid["metric"].map(TESTS).fillna("size"), score_bias_corrected=size,
        ci_low=size * 0.83, ci_high=size * 1.21, q_value=q_values, threshold=threshold,
        threshold_origin=np.where(threshold.isna(), "none", "set"), detectable=seen,
        n_requests=random.integers(800, 9000, len(grid)),
        n_users=random.integers(200, 700, len(grid)),
        status=np.where(red, "red", "green"), reason=np.where(red, over, below),
    ))  # fmt: skip


def n_half(windows: pd.DatetimeIndex) -> int:
    return len(windows) // 2


def onset_rows(windows: pd.DatetimeIndex, drifting: list[str]) -> pd.DataFrame:
    half = n_half(windows)
    rows = [
        {"segment_id": one, "output": output, "test": test, "window_start": windows[half],
         "earliest_window_start": windows[half - 1], "latest_window_start": windows[half + 1],
         "last_window_start": windows[-1]}
        for one in drifting
        for output, test in (("value", "distribution"), ("class", "distribution"),
                             ("buy_rate", "mean"), ("accuracy", "mean"))
    ]  # fmt: skip
    return frame("onsets", pd.DataFrame(rows))


def contribution_rows(drifting: list[str]) -> pd.DataFrame:
    random = np.random.default_rng(2)
    rows = []
    for segment in drifting:
        for output, test in (("value", "distribution"), ("class", "distribution"),
                             ("buy_rate", "mean"), ("accuracy", "mean")):  # fmt: skip
            parts = np.sort(random.normal(0.3, 1.0, N_TYPES))[::-1]
            shares = parts / parts.sum()
            rows += [
                {"segment_id": segment, "output": output, "test": test, "n_requests": 1200 + i,
                 "request_type": f"request type {i}", "request_share": 1 / N_TYPES,
                 "contribution": 40 * shares[i], "share": shares[i], "statistic": 40.0,
                 "size_metric": "kl_nats" if test == "distribution" else "mean_change",
                 "size_contribution": 0.2 * shares[i],
                 "size_share": shares[i], "rank": i + 1}
                for i in range(N_TYPES)
            ]  # fmt: skip
    return frame("contributions", pd.DataFrame(rows))


def generator_frames(drifting: list[str]) -> dict[str, pd.DataFrame]:
    served = ("segment", "all", "serving", "resampled")
    synthesizers = [
        {"segment_id": None, "kind": "vae", "status": "fitted", "n_rows": 300_000, "n_epochs": 60,
         "best_epoch": 58, "validation_nats": 7.6, "kl_nats": 2.0, "device": "cpu",
         "base_run_id": "r1"},
        *({"segment_id": one, "kind": "vae", "status": "fitted", "served_by": served[i % 4],
           "n_rows": 900 + i, "n_epochs": 60, "best_epoch": 58, "base_nats": 7.4,
           "validation_nats": 7.2 + i / 1000, "base_run_id": "r1", "reason": REFUSED}
          for i, one in enumerate(drifting)),
    ]  # fmt: skip
    tried = {"serving": STALE, "segment": BLURRED, "all": GOOD}
    scores = [
        row
        for segment in drifting
        for candidate, values in tried.items()
        for row in gate_rows_of(segment, candidate, values)
    ]
    curves = [row for one in (None, *drifting) for row in curve_rows(one, 9.5, 60)]
    made = {"synthesizers": synthesizers, "curves": curves, "gate": scores,
            "rounds": round_rows(drifting, N_ROUNDS)}  # fmt: skip
    return {name: frame(name, pd.DataFrame(rows)) for name, rows in made.items()}


def joint_rows(segments: list[str | None], windows: pd.DatetimeIndex) -> pd.DataFrame:
    """Most answers stay, the others go to bins near by."""
    random = np.random.default_rng(3)
    rows = []
    for output, k in (("value", len(EDGES) + 1), ("class", 3)):
        apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
        for segment in segments:
            for window in windows:
                joint = random.poisson(500 * np.exp(-1.6 * apart))
                rows.append(
                    {"segment_id": segment, "output": output, "window_start": window,
                     "joint_bins": joint.ravel()}
                )  # fmt: skip
    return frame("joints", pd.DataFrame(rows))
