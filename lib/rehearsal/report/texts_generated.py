"""What the page says of generators: how the general one learnt, who serves whom, and why."""

from collections import Counter
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import pandas as pd

from rehearsal.report.frames import ReportData
from rehearsal.report.reading import Reading
from rehearsal.report.rows import plain
from rehearsal.report.rows_generated import (
    CANDIDATES,
    better,
    candidate_place,
    number,
    score_place,
    verdict_of,
)
from rehearsal.report.scores import keyed
from rehearsal.report.terms_generated import GATE_SCORES

KINDS = {
    "vae": "VAE, a variational autoencoder",
    "gan": "GAN, a generative adversarial network",
    "mixture": "mixture, fitted by EM",
}
SERVED = {
    "segment": "a generator of its own: the general one with what the segment adds",
    "all": "the generator of all segments",
    "serving": "the generator of an earlier run",
    "resampled": "logged requests again, no generator",
}
_COUNTED = {
    "segment": "by a generator of {its} own",
    "all": "by the generator of all segments",
    "serving": "by the generator of an earlier run",
    "resampled": "by logged requests again, since no generator may",
}
_UNKNOWN = "not known"
_MAX_REASON = 240
"""Letters of a reason in the table of all segments; whole ones are in `synthesizers`."""

Record = Mapping[str, Any]


def generator_texts(run: Reading) -> dict[str, Any]:
    """Return what the sections on generators say, as plain values the template escapes."""
    data = run.data
    rows = _records(keyed(data.synthesizers[data.synthesizers["segment_id"].notna()]))
    order = {key: place for place, key in enumerate(run.labels)}
    rows.sort(key=lambda row: order.get(row["key"], len(order)))
    return {
        "base": _base(data.synthesizers),
        "served": [_served(row, run.labels) for row in rows],
        "served_summary": served_summary([row["served_by"] for row in rows]),
        "made_by": {row["key"]: served_words(row) for row in rows},
        "judged": [_judged(data, row) for row in rows if row["key"] in run.keys],
        "resampled": [
            row["key"] for row in rows if row["served_by"] == "resampled" and row["key"] in run.keys
        ],
        "oldest": 1 if data.rounds.empty else int(data.rounds["round"].min()),
        "compared": bool((keyed(data.rounds)["key"].value_counts() > 1).any()),
    }


def served_summary(served_by: list[str | None]) -> str:
    """Return how many drifting segments are served by whom, in one sentence; empty for none."""
    if not served_by:
        return ""
    counts = Counter(name if name in SERVED else None for name in served_by)
    parts = [
        f"{counts[name]} {words.format(its='its' if counts[name] == 1 else 'their')}"
        for name, words in _COUNTED.items()
        if counts[name]
    ]
    if counts[None]:
        parts.append(f"of {counts[None]} it is not known by whom")
    n = len(served_by)
    first = "1 drifting segment is" if n == 1 else f"{n} drifting segments are"
    return f"{first} served: {', '.join(parts)}."


def served_words(row: Record) -> str:
    """Return who serves a segment, in words, with the run that an earlier generator is of."""
    told = SERVED.get(row["served_by"] or "", _UNKNOWN)
    if row["served_by"] == "serving" and row["base_run_id"]:
        return f"{told}, {row['base_run_id']}"
    return told


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")
    ]


def _base(synthesizers: pd.DataFrame) -> dict[str, Any]:
    """Return the generator of all segments as facts, or why there is none."""
    rows = _records(synthesizers[synthesizers["segment_id"].isna()])
    if not rows:
        return {"facts": [], "failed": ""}
    row = rows[0]
    if row["status"] != "fitted":
        why = row["reason"] or "no reason is recorded"
        return {"facts": [], "failed": f"The generator of all segments was not fitted: {why}."}
    left = f", {row['n_left_out']:,} left out that break a rule" if row["n_left_out"] else ""
    private = (
        "not differentially private"
        if row["epsilon"] is None
        else f"epsilon {row['epsilon']:g}, delta {row['delta'] or 0:g}, of one user's requests"
    )
    nats = {name: _nats(row[name]) for name in ("validation_nats", "kl_nats")}
    facts = [
        ("Kind", KINDS.get(row["kind"], row["kind"] or _UNKNOWN)),
        ("Learnt from, rows", f"{row['n_rows'] or 0:,}{left}"),
        ("Epochs", f"{row['n_epochs']:,}" if row["n_epochs"] else "–"),
        ("Held-out loss", nats["validation_nats"]),
        ("Latent KL", nats["kl_nats"]),
        ("Trained on", row["device"] or _UNKNOWN),
        ("Privacy", private),
    ]
    return {"facts": facts, "failed": ""}


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f} nats per row"


def _served(row: Record, labels: Mapping[str, str]) -> dict[str, Any]:
    fitted = row["status"] == "fitted"
    return {
        "key": row["key"],
        "segment": labels.get(row["key"], row["key"]),
        "by": served_words(row),
        "n_rows": row["n_rows"],
        "general": row["base_nats"],
        "own": row["validation_nats"] if fitted else None,
        "gain": _gain(row) if fitted else "",
        "reason": shorten(row["reason"] or "", _MAX_REASON, placeholder=" …"),
    }


def _gain(row: Record) -> str:
    if row["base_nats"] is None or row["validation_nats"] is None:
        return ""
    return f"{row['validation_nats'] - row['base_nats']:+.3f}"


def _judged(data: ReportData, row: Record) -> dict[str, Any]:
    """Return what the gate said of one segment's candidates, in sentences."""
    shown = _records(data.gate[data.gate["segment_id"] == row["key"]])
    rounds = data.rounds[data.rounds["segment_id"] == row["key"]]
    why = rounds.loc[rounds["run_id"] == data.run_id, "why"]
    tried = list(dict.fromkeys(one["candidate"] for one in shown))
    tried.sort(key=candidate_place)
    return {
        "key": row["key"],
        "served": served_words(row),
        "why": "" if why.empty else plain(why.iloc[0]) or "",
        "on": _judged_on(shown, str(row["key"])),
        "tried": [
            _verdict(name, [one for one in shown if one["candidate"] == name]) for name in tried
        ],
    }


def _judged_on(shown: list[dict[str, Any]], key: str) -> str:
    if not shown:
        return "No generator was judged, since there was none to try."
    on, n = shown[0]["judged_on"], shown[0]["n_test"] or 0
    if on == key:
        return f"Judged on {n:,} held-out requests of the segment itself."
    return (
        f"Judged on {n:,} held-out requests of {on}: of its own it has too few to be judged by "
        "itself."
    )


def _verdict(candidate: str, scores: list[dict[str, Any]]) -> dict[str, Any]:
    refused = [one for one in scores if verdict_of(one) == "refused"]
    known = [one for one in scores if one["value"] is not None]
    refused.sort(key=lambda one: score_place(one["score"]))
    said = "; ".join(refusal(one) for one in refused)
    if not known:
        # It could not be judged, and its scores say why.
        said = next((one["note"] for one in scores if one["note"]), "")
    return {
        "name": CANDIDATES.get(candidate, candidate),
        "passed": bool(known) and not refused,
        "said": said or f"within all {len(known)} limits",
    }


def refusal(row: Record) -> str:
    """Return why one score refuses a generator, beside both ends of its scale."""
    known = GATE_SCORES.get(row["score"])
    title = known.title if known else row["score"]
    side = "below" if better(row) > 0 else "above"
    return (
        f"{title} {number(row['value'])} is {side} the limit of {number(row['limit'])} "
        f"(real halves {number(row['half_vs_half'])}, independent columns "
        f"{number(row['independent'])})"
    )
