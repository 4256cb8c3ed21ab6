"""Joint histograms and all measures of the windows that matter, per drawn segment."""

import numpy as np
import pandas as pd

from rehearsal.report.reading import Reading
from rehearsal.report.scores import first_day, keyed

WHOLE = "all"
"""How all windows together are keyed."""

_MAX_CELLS, _MAX_MEASURES = 80_000, 5_000
_JOINT_COLUMNS = ["key", "output", "window", "counts"]


def held_windows(run: Reading) -> pd.DataFrame:
    """Return (key, window, place): windows the page holds in full per segment, 0 the worst.

    As many as fit: all of a small run, and of a large one those furthest over the threshold.
    """
    cells, most = sum(one.size**2 for one in run.bins.values()), len(run.shown)
    fitting = min(
        _MAX_CELLS // (most * max(cells, 1)), _MAX_MEASURES // (most * max(len(run.measures), 1))
    )
    worst = pd.DataFrame(run.scores.groupby(["key", "window"], as_index=False)[["ratio"]].max())
    worst = worst.sort_values(
        ["key", "ratio", "window"], ascending=[True, False, False], na_position="last"
    )
    worst = worst.assign(place=worst.groupby("key").cumcount())
    return worst[worst["place"] < max(fitting, 1)][["key", "window", "place"]]


def joint_rows(run: Reading, held: pd.DataFrame) -> pd.DataFrame:
    """Return (key, output, window, counts): joint counts as text, row by row, 0 left empty.

    Windows are those held, and all of the run together.
    """
    frame = keyed(run.data.joints)
    frame = frame.assign(window=first_day(frame["window_start"]))
    wanted = set(held[["key", "window"]].itertuples(index=False, name=None))
    keys = set(held["key"])
    rows: list[tuple[str, str, str, str]] = []
    for bins in run.bins.values():
        own = frame[(frame["output"] == bins.output) & frame["key"].isin(keys)]
        for key, windows in own.groupby("key"):
            stored = zip(windows["window"], windows["joint_bins"], strict=True)
            joints = {str(window): bins.shown(joint) for window, joint in stored}
            whole = np.sum(list(joints.values()), axis=0)
            told = {name: one for name, one in joints.items() if (key, name) in wanted}
            rows += [
                (str(key), bins.output, name, _text(joint))
                for name, joint in ({WHOLE: whole} | told).items()
                if joint.any()
            ]
    return pd.DataFrame(rows, columns=_JOINT_COLUMNS)


def _text(joint: np.ndarray) -> str:
    return ",".join(str(n) if n else "" for n in joint.ravel().tolist())


def measure_rows(run: Reading, held: pd.DataFrame) -> pd.DataFrame:
    """Return every measure of the windows held, judged ones first."""
    place = {one.key: place for place, one in enumerate(run.measures)}
    frame = run.scores.merge(held[["key", "window"]], on=["key", "window"])
    frame = frame.assign(place=frame["measure"].map(place)).sort_values(
        ["key", "window", "place"], kind="stable", ignore_index=True
    )
    names = {
        "ci_low": "low", "ci_high": "high", "told": "status",
        "production_level": "production", "experimental_level": "experimental",
    }  # fmt: skip
    frame = frame.drop(columns="status").rename(columns=names)
    return frame[
        [
            "key", "window", "output", "metric", "test", "score", "production", "experimental",
            "low", "high", "threshold", "detectable", "q_value", "status",
        ]
    ]  # fmt: skip
