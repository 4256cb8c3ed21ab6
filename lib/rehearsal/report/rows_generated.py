"""The rows behind the charts of generators: losses, scores on their scales, round after round."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rehearsal.report.frames import ReportData
from rehearsal.report.rows import plain
from rehearsal.report.scores import keyed
from rehearsal.report.terms_generated import GATE_SCORES

BASE_KEY = "all segments"
"""How the generator of all segments is keyed; `ALL_KEY` are the users of all segments."""

CANDIDATES = {
    "serving": "what served before",
    "segment": "with what the segment adds",
    "all": "the generator of all segments",
}
"""Who is tried at the gate, in that order."""

_NEAR = 0.15
_SPACES = ("half_vs_half", "independent", "limit")
_ENDS = {"independent": "independent columns", "half_vs_half": "real halves"}
"""Both ends of a scale by their columns."""

GATE = (
    "key", "score", "place", "line", "kind", "candidate", "at", "value", "told", "verdict", "note",
    "half", "independent", "limit", "limit_at", "limit_told",
)  # fmt: skip
ROUNDS = (
    "key", "round", "run", "fresh_auc", "serving_auc", "fresh_quality", "serving_quality", "kept",
    "keeps", "effect", "why",
)  # fmt: skip


def generator_rows(data: ReportData, shown: Collection[str]) -> dict[str, pd.DataFrame]:
    """Return the frames of the segments shown; losses of the generator of all segments too."""
    gate, rounds = (keyed(frame) for frame in (data.gate, data.rounds))
    return {
        "curves": _curves(data, {*shown, BASE_KEY}),
        "gate": gate_rows(gate[gate["key"].isin(shown)]),
        "rounds": round_rows(rounds[rounds["key"].isin(shown)]),
    }


def of_segments(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a `key`: the segment, or `BASE_KEY` where it is NULL."""
    ids = frame["segment_id"]
    return frame.assign(key=ids.where(ids.notna(), BASE_KEY).astype(str))


def _curves(data: ReportData, keys: Collection[str]) -> pd.DataFrame:
    names = {"train_nats": "training", "validation_nats": "held-out"}
    frame = of_segments(data.curves).rename(columns=names)
    frame = frame[frame["key"].isin(keys)]
    # Not the lowest loss: an epoch that learnt rows by heart is passed over.
    best = of_segments(data.synthesizers).set_index("key")["best_epoch"]
    return frame.assign(
        membership=[number(plain(value)) for value in frame["membership"]],
        kept=(frame["epoch"] == frame["key"].map(best)).astype(int),
    )[["key", "epoch", "training", "held-out", "membership", "kept"]]


def gate_rows(gate: pd.DataFrame) -> pd.DataFrame:
    """Return what is drawn of each segment's scores, line below line: `kind` says what it is.

    A score has a line per candidate tried, one for both ends of its scale and the limit, and an
    empty one. `at` is the place on the scale: 0 to 1, stretched to the numbers that are shown on
    it, better to the right whatever the score's direction. Numbers that would lie over another one
    are not told.
    """
    made = [
        row
        for (key, score), own in gate.groupby(["key", "score"], sort=False)
        for row in _lines(str(key), str(score), own.to_dict("records"))
    ]
    frame = pd.DataFrame(made, columns=list(GATE))
    return frame.sort_values(["key", "place", "score", "line"], kind="stable", ignore_index=True)


def _lines(key: str, score: str, own: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    known = [{name: plain(value) for name, value in one.items()} for one in own]
    known.sort(key=lambda one: candidate_place(one["candidate"]))
    first, sign = known[0], better(known[0])
    numbers = [first[name] for name in _SPACES] + [one["value"] for one in known]
    scale = Scale.over([value for value in numbers if value is not None], sign)
    title = GATE_SCORES[score].title if score in GATE_SCORES else score
    shared = {
        "key": key, "score": title, "place": score_place(score), "half": first["half_vs_half"],
        "independent": first["independent"], "limit": first["limit"],
        "limit_at": scale.at(first["limit"]), "limit_told": _limit(first["limit"], sign),
    }  # fmt: skip
    candidates = [
        {"kind": "candidate", "candidate": CANDIDATES.get(one["candidate"], one["candidate"]),
         "at": scale.at(one["value"]), "value": one["value"], "told": number(one["value"]),
         "verdict": verdict_of(one), "note": _note(one), "line": line}
        for line, one in enumerate(known)
    ]  # fmt: skip
    below = len(known)
    ends = [{"kind": "limit", "line": below}, *_ends(first, scale, below)]
    gap = {"kind": "gap", "line": below + 1, "limit_at": None}
    return [shared | row for row in (*candidates, *ends, gap)]


def _note(row: Mapping[Any, Any]) -> str | None:
    # Why a score refuses is a sentence above the chart, and long.
    return None if verdict_of(row) == "refused" else row["note"] or None


@dataclass(frozen=True)
class Scale:
    """From the worst number shown to the best one."""

    low: float
    high: float
    sign: int

    @classmethod
    def over(cls, values: list[float], sign: int) -> "Scale":
        """Return the scale that spans the values."""
        return cls(min(values), max(values), sign) if values else cls(0.0, 0.0, sign)

    def at(self, value: float | None) -> float | None:
        """Return the place of a value, 0 = worst and 1 = best; 1 where all are the same."""
        if value is None:
            return None
        if self.high == self.low:
            return 1.0
        share = (value - self.low) / (self.high - self.low)
        return share if self.sign > 0 else 1.0 - share


def _ends(row: Mapping[Any, Any], scale: Scale, line: int) -> list[dict[str, Any]]:
    taken = [place for place in [scale.at(row["limit"])] if place is not None]
    made = []
    for name, words in _ENDS.items():
        place = scale.at(row[name])
        if place is None:
            continue
        free = all(abs(place - other) > _NEAR for other in taken)
        told = number(row[name]) if free else ""
        made.append({"kind": words, "at": place, "told": told, "line": line})
        taken.append(place)
    return made


def candidate_place(candidate: str) -> int:
    """Return where a candidate stands among others."""
    known = list(CANDIDATES)
    return known.index(candidate) if candidate in known else len(known)


def score_place(score: str) -> int:
    """Return where a score stands among others."""
    known = list(GATE_SCORES)
    return known.index(score) if score in known else len(known)


def better(row: Mapping[Any, Any]) -> int:
    """Return 1 where a higher score is better, -1 where a lower one is."""
    return 1 if row["direction"] == "at least" else -1


def verdict_of(row: Mapping[Any, Any]) -> str:
    """Return the verdict on one score in a word; what cannot be computed refuses nobody."""
    if row["value"] is None:
        return "not computable"
    return "within the limit" if row["passed"] else "refused"


def _limit(limit: float | None, sign: int) -> str | None:
    return None if limit is None else f"{'≥' if sign > 0 else '≤'} {number(limit)}"


def number(value: float | None) -> str:
    """Return a score as it is told: three decimals, no minus before a zero."""
    return "–" if value is None else f"{value:.3f}".replace("-0.000", "0.000")


def round_rows(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return one row per segment and round, of segments that have more than one."""
    many = rounds.groupby("key")["round"].transform("nunique") > 1
    frame = rounds[many].sort_values(["key", "round"], kind="stable", ignore_index=True)
    names = {
        "run_id": "run", "fresh_c2st_auc": "fresh_auc", "serving_c2st_auc": "serving_auc",
    }  # fmt: skip
    frame = frame.rename(columns=names)
    return frame.assign(
        keeps=[_KEPT.get(kept, kept) for kept in frame["kept"]],
        effect=pd.Series(list(map(_effect, frame.to_dict("records"))), frame.index, dtype=object),
    )[list(ROUNDS)]


_KEPT = {
    "fresh": "the fresh one", "serving": "the serving one", "resampled": "none: logged requests",
}  # fmt: skip


def _effect(row: Mapping[Any, Any]) -> str | None:
    rate, low, high = (plain(row[f"effect_{name}"]) for name in ("per_1000", "ci_low", "ci_high"))
    if rate is None:
        return None
    span = "" if low is None or high is None else f" [{low:+.1f}, {high:+.1f}]"
    return f"{rate:+.1f}{span}"
