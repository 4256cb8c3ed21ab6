"""Step 5 whole: train, judge, and say who serves each drifting segment."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import Any

import pandas as pd

from rehearsal.generate.gate.candidates import ALL, RESAMPLED, SEGMENT, SERVING, Candidate
from rehearsal.generate.gate.in_turn import Bench
from rehearsal.generate.gate.run import TOGETHER, judge_candidates, judged_rows, target_of
from rehearsal.generate.rounds import Choice, Predecessor, choose, round_row
from rehearsal.generate.training.plan import Share
from rehearsal.generate.training.prepare import Prepared
from rehearsal.generate.training.progress import watching
from rehearsal.generate.training.stage import scratch_folder
from rehearsal.generate.training.train import (
    Trained,
    checkpoints_folder,
    segment_version,
    train,
)
from rehearsal.seeds import derive_seed, short_hash
from rehearsal.tables.source import source_version

_SAYS = {
    SEGMENT: "served by a generator of their own",
    ALL: "by the generator of all segments",
    SERVING: "by the generator of an earlier run",
    RESAMPLED: "by logged requests again: no generator passed its gate",
}
Tell = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What step 5 leaves: rows of three tables, less the run's id.

    Args:
        synthesizers: the generator of all segments first.
        scores: what everyone showed at the gate.
        rounds: who was compared.
        lost: why what served until now is gone, one entry per segment where it is.
    """

    synthesizers: list[Row]
    scores: pd.DataFrame
    rounds: list[Row]
    lost: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """The step in one line."""
        if not self.synthesizers:
            return "no segment drifts: nothing to fit"
        base, *segments = self.synthesizers
        failed = base["status"] != "fitted"
        why = f"the generator of all segments failed: {base['reason']}; " if failed else ""
        counts = Counter(row["served_by"] for row in segments)
        told = ", ".join(f"{counts[name]} {says}" for name, says in _SAYS.items() if counts[name])
        return f"{why}{len(segments)} drifting segments: {told}{self._lost}"

    @property
    def _lost(self) -> str:
        if not self.lost:
            return ""
        reasons = "; ".join(dict.fromkeys(self.lost))
        return f"; what served {len(self.lost)} of them until now cannot be judged: {reasons}"


def fit_generators(
    prepared: Prepared, run_id: str, predecessors: Mapping[str, Predecessor], tell: Tell
) -> Outcome:
    """Return who serves each drifting segment of the run, and what everyone showed at the gate.

    Trainings resume where an attempt on the same rows and settings was stopped, and what was
    finished is not trained again: who stores the outcome deletes `checkpoints_folder` then. A
    segment that fails is told with its reason; the others go on.

    Args:
        prepared: the training data.
        run_id: names the scratch folders.
        predecessors: segment -> what served it until now, which the fresh one is to beat.
        tell: told how far trainings are.
    """
    checkpoints = checkpoints_folder(prepared, run_id)
    prepared = replace(prepared, checkpoints=checkpoints)
    if not prepared.drifting:
        return Outcome([], pd.DataFrame(), [])
    try:
        name = f"generators-{short_hash(run_id)}"
        with (
            scratch_folder(prepared.settings, name) as folder,
            watching(f"{folder}/progress", tell),
        ):
            trained = train(prepared, folder, checkpoints)
        tell(f"judging the generators of {len(prepared.drifting)} segments")
        rows = [_base_row(prepared, trained)]
        rows += [_segment_row(prepared, trained, share) for share in prepared.drifting]
        scores = _judge(prepared, rows, predecessors)
    finally:
        prepared.close()
    return _decided(rows, scores, predecessors)


def _base_row(prepared: Prepared, trained: Trained) -> Row:
    base, budget = trained.base, prepared.budget
    best = base.get("best", {})
    return {
        "segment_id": None,
        "synthesizer_version": trained.version,
        "kind": prepared.kind,
        "status": base["status"],
        "reason": base.get("reason"),
        "n_rows": sum(share.n_kept for share in prepared.shares),
        "n_left_out": prepared.n_left_out,
        "n_epochs": len(base.get("curve", [])),
        "best_epoch": best.get("epoch"),
        "validation_nats": _known(best.get("validation_nats")),
        "kl_nats": best.get("kl_nats"),
        "device": base.get("device"),
        "curves": _curve(base.get("curve", [])),
        "source_version": source_version(prepared.spark, prepared.settings.requests),
        "fingerprint": trained.snapshot.fingerprint,
        "epsilon": budget.epsilon if budget else None,
        "delta": budget.private.delta if budget else None,
        "codec_json": prepared.codec.to_json(),
        "profiles_json": prepared.axes.to_json(),
        "weights": base.get("weights"),
    }


def _curve(points: Sequence[Row]) -> list[Row]:
    return [{name: _known(value) for name, value in point.items()} for point in points]


def _known(value: float | None) -> float | None:
    """Return None for NaN: a private training tells no loss."""
    return None if value is None or isnan(value) else value


def _segment_row(prepared: Prepared, trained: Trained, share: Share) -> Row:
    added = trained.added.get(share.position)
    row = {
        "segment_id": share.segment_id,
        "synthesizer_version": segment_version(prepared, trained.snapshot, share),
        "kind": prepared.kind,
        "n_rows": share.n_kept,
        "fingerprint": trained.snapshot.fingerprints.get(share.position),
        "profile": [float(value) for value in prepared.vectors[share.position]],
    }
    return row | _training_told(prepared, trained, share, added)


def _training_told(prepared: Prepared, trained: Trained, share: Share, added: Row | None) -> Row:
    least = prepared.settings.generator.min_rows
    if trained.base["status"] != "fitted":
        return {"status": "failed", "reason": "the generator of all segments failed"}
    if added is not None and added["status"] == "failed":
        return {"status": "failed", "reason": added["reason"]}
    # Not trained: a few rows less than planned may have been left, or too few of them held out.
    if share.n_learnt < least or (added is not None and not added["curve"]):
        learnt = f"{share.n_training} requests to train on and {share.n_validation} held out"
        return {
            "status": "insufficient_data",
            "reason": f"{learnt}: generator.min_rows is {least}, and a few must be held out",
        }
    if added is None:
        return {"status": "no_gain", "reason": f"a {prepared.kind} has nothing to add per segment"}
    gained = added["weights"] is not None
    gain = added["base_nats"] - added["adapted_nats"]
    best = min(added["curve"], key=lambda point: point["validation_nats"]) if gained else {}
    told = f"held-out loss {added['base_nats']:.3f} nats, {gain:+.3f} less with an adapter"
    return {
        "status": "fitted" if gained else "no_gain",
        "reason": None if gained else f"{told}: within what chance gives",
        "n_epochs": len(added["curve"]),
        "best_epoch": best.get("epoch"),
        "base_nats": added["base_nats"],
        "validation_nats": added["adapted_nats"] if gained else added["base_nats"],
        "device": trained.base.get("device"),
        "curves": _curve(added["curve"]),
        "weights": added["weights"],
    }


def _judge(
    prepared: Prepared, rows: Sequence[Row], predecessors: Mapping[str, Predecessor]
) -> pd.DataFrame:
    """Return a row per segment, candidate and score. Bounded by these three."""
    gate = prepared.settings.generator.gate
    few = {s.segment_id for s in prepared.drifting if s.n_test < gate.min_rows}
    judged_as = {
        share.segment_id: TOGETHER if share.segment_id in few else share.segment_id
        for share in prepared.drifting
    }
    n_test = sum(share.n_test for share in prepared.drifting)
    candidates = _candidates(rows[0], rows[1:], judged_as, predecessors)
    if not candidates or n_test < gate.min_rows:
        return pd.DataFrame()
    bench = Bench(
        candidates,
        prepared.codec.to_json(),
        target_of(prepared.codec, prepared.settings.requests.columns.outcome),
        gate,
        derive_seed(prepared.seed, "gate"),
        prepared.settings.generator.task_minutes * 60,
    )
    # Without a generator of all segments, only what an earlier run left is judged.
    tried = {segment: name for segment, name in judged_as.items() if name in candidates}
    looked_at = judged_rows(prepared.sound_rows, prepared.codec, tried)
    found = judge_candidates(looked_at, bench).toPandas()
    each = pd.DataFrame({"segment_id": list(judged_as), "judged_as": list(judged_as.values())})
    return each.merge(found, on="judged_as").rename(columns={"judged_as": "judged_on"})


def _candidates(
    base: Row,
    rows: Sequence[Row],
    judged_as: Mapping[str, str],
    predecessors: Mapping[str, Predecessor],
) -> dict[str, list[Candidate]]:
    """Return judged as -> who is tried: what serves, with the segment's own, the general one."""
    profiles = {row["segment_id"]: row["profile"] for row in rows}

    def candidate(name: str, row: Row, added: bytes | None) -> Candidate:
        return Candidate(
            name, row["synthesizer_version"], base["kind"], base["codec_json"], base["weights"],
            added, profiles,
        )  # fmt: skip

    tried: dict[str, list[Candidate]] = {}
    for row in rows:
        segment, own = row["segment_id"], judged_as[row["segment_id"]]
        before = predecessors[segment].candidate if segment in predecessors else None
        if own != TOGETHER and before is not None:
            tried.setdefault(own, []).append(before)
        if base["status"] != "fitted":
            continue
        if own != TOGETHER and row.get("weights") is not None:
            tried.setdefault(own, []).append(candidate(SEGMENT, row, row["weights"]))
        if own != TOGETHER or own not in tried:
            tried.setdefault(own, []).append(candidate(ALL, base, None))
    return tried


def _decided(
    rows: Sequence[Row], scores: pd.DataFrame, predecessors: Mapping[str, Predecessor]
) -> Outcome:
    """Return all rows, with who serves each segment and why."""
    base, *segments = rows
    made, rounds = [base | {"served_by": None, "base_run_id": None}], []
    for row in segments:
        segment = row["segment_id"]
        own = scores[scores["segment_id"] == segment] if len(scores) else scores
        judged = set(own["candidate"]) if len(own) else set()
        before = _met(predecessors.get(segment), judged)
        choice = choose(own, before)
        versions = {SEGMENT: row["synthesizer_version"], ALL: base["synthesizer_version"]}
        rounds.append(round_row(segment, versions, own, before, choice))
        version = versions.get(choice.served_by, row["synthesizer_version"])
        made.append(_served(row | {"synthesizer_version": version}, before, choice))
    served = [predecessors[s["segment_id"]] for s in segments if s["segment_id"] in predecessors]
    return Outcome(made, scores, rounds, [one.lost for one in served if one.candidate is None])


def _met(before: Predecessor | None, judged: Collection[str]) -> Predecessor | None:
    """Return what served, as one that cannot be judged where it was not."""
    if before is None or before.candidate is None or SERVING in judged:
        return before
    return replace(before, candidate=None, lost="too few of the segment's requests are held out")


def _served(row: Row, before: Predecessor | None, choice: Choice) -> Row:
    served = row | {"served_by": choice.served_by, "why": choice.why, "base_run_id": None}
    kept = before.candidate if before is not None else None
    if choice.served_by != SERVING or before is None or kept is None:
        return served
    # What it is made of is the earlier run's; what this run trained is in generator_scores.
    return served | {
        "synthesizer_version": kept.version,
        "kind": kept.kind,
        "weights": kept.added,
        "profile": kept.profiles[row["segment_id"]],
        "base_run_id": before.run_id,
    }
