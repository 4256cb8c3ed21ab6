"""Contributions of request types as a waterfall: parts from nothing to the whole drift."""

import pandas as pd

from rehearsal.report.glossary import METRIC_LABELS
from rehearsal.report.scores import parts_of

MAX_TYPES = 14
"""Request types shown apart, the strongest; the others are summed."""

REST, TOTAL = "all other request types", "the whole drift"
_KEYS = ["key", "part"]
_SUMS = ["share", "contribution", "request_share", "n_requests", "size_share", "size_contribution"]
_TOLD = ["statistic", "size_metric"]


def part_label(output: str, test: str, size_metric: str) -> str:
    """Name what breaches of an output."""
    kind = METRIC_LABELS.get(size_metric, size_metric)
    return f"{output}: {'its distribution' if test == 'distribution' else kind}"


def waterfall_rows(contributions: pd.DataFrame) -> pd.DataFrame:
    """Return per segment and test the request types, the rest summed, and the whole.

    A part goes from `start` to `end`, in shares of the drift; the next one goes on from there,
    in the order of `rank`. `after` names the row below, which the step leads to.

    Args:
        contributions: rows with a `key`, of the segments to draw.
    """
    frame = contributions
    if frame.empty:
        return pd.DataFrame(columns=[*_KEYS, "label", "request_type", "start", "end", "kind"])
    frame = frame.assign(
        part=parts_of(frame),
        label=[
            part_label(*one)
            for one in frame[["output", "test", "size_metric"]].itertuples(index=False, name=None)
        ],
    )
    frame[_SUMS] = frame[_SUMS].astype(float)
    made = [_steps(own) for _, own in frame.groupby(_KEYS, sort=False)]
    return pd.concat(made, ignore_index=True)


def _steps(own: pd.DataFrame) -> pd.DataFrame:
    rare = own["share"].abs().rank(method="first", ascending=False) > MAX_TYPES
    told = own.iloc[0]
    apart = own[~rare].sort_values("share", ascending=False, kind="stable")
    lines = [(one["request_type"], one[_SUMS], "") for _, one in apart.iterrows()]
    if rare.any():
        lines.append((REST, own.loc[rare, _SUMS].sum(min_count=1), "rest"))
    end = pd.Series([float(values["share"]) for _, values, _ in lines]).cumsum()
    whole = own[_SUMS].sum(min_count=1)
    names = [*(name for name, _, _ in lines), TOTAL]
    rows = [
        {
            "key": told["key"], "part": told["part"], "label": told["label"],
            "request_type": name, "rank": rank, "start": float(end[rank - 1]) if rank else 0.0,
            "end": float(end[rank]), "kind": kind or ("up" if values["share"] >= 0 else "down"),
            "after": names[rank + 1], **values.to_dict(),
        }
        for rank, (name, values, kind) in enumerate(lines)
    ]  # fmt: skip
    rows.append(
        {**rows[-1], **whole.to_dict(), "request_type": TOTAL, "rank": len(lines), "start": 0.0,
         "end": float(whole["share"]), "kind": "total", "after": None}
    )  # fmt: skip
    return pd.DataFrame(rows).assign(**{name: told[name] for name in _TOLD})
