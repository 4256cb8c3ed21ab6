"""Why the drawn segments drift, in words: what changed, and which sub-populations bring it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rehearsal.report.reading import Reading
from rehearsal.report.rows import plain
from rehearsal.report.rows_parts import part_label
from rehearsal.report.scores import keyed

MAX_DRIVERS = 5
"""Sub-populations told per segment and breach; all are in drift_drivers."""

VERDICTS = {
    "inputs": "the requests changed",
    "models": "the models answer the same requests apart",
    "outcomes": "production became wrong about what happens",
    "mixed": "more than one cause",
    "no baseline": "no windows before the drift to compare with",
}
_KEYS = ["key", "output", "test", "size_metric"]


def why(run: Reading) -> list[dict[str, Any]]:
    """Return one block per drawn segment and breach with a reason or sub-populations."""
    reasons, drivers = (
        dict(iter(frame[frame["key"].isin(run.keys)].groupby(_KEYS)))
        for frame in map(keyed, (run.data.reasons, run.data.drivers))
    )
    named = {one: place for place, one in enumerate(run.keys)}
    parts = sorted({*reasons, *drivers}, key=lambda part: (named[str(part[0])], part))
    blocks = []
    for part in parts:
        key, output, test, metric = (str(one) for one in part)
        told = reasons[part].iloc[0] if part in reasons else None
        blocks.append(
            {
                "key": key,
                "title": part_label(output, test, metric),
                "verdict": None if told is None else VERDICTS.get(told["verdict"], told["verdict"]),
                "reason": None if told is None else plain(told["reason"]),
                "drivers": _drivers(drivers[part]) if part in drivers else [],
            }
        )
    return blocks


def _drivers(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "who": _who(row),
            "n_requests": plain(row["n_requests"]),
            "request_share": plain(row["request_share"]),
            "share": plain(row["share"]),
            "lift": plain(row["lift"]),
            "q_value": plain(row["q_value"]),
            "confirmed": row["status"] == "confirmed",
        }
        for row in rows.sort_values("rank").head(MAX_DRIVERS).to_dict("records")
    ]


def _who(row: Mapping[Any, Any]) -> str:
    pairs = [(row[f"dimension_{i}"], row[f"value_{i}"]) for i in (1, 2)]
    return " and ".join(
        f"{name} {value}" if str(value).startswith(("< ", ">= ")) else f"{name} = {value}"
        for name, value in pairs
        if plain(name) is not None
    )
