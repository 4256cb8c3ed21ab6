"""Round after round of one history of segments, up to who makes the synthetic requests.

Round 1 fits a generator on the first 20 days. Round 2 has the next 20 days, and a generator that
is not given the time to learn. Round 3 has the same days, and the time; but the one that serves is
known by then to show disagreements. No segment adds anything itself. Run 4 is made by hand: a
segment for each who can serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from small_log import (
    START,
    load_step,
    make_settings,
    requests_frame,
    sorted_rows,
    whole_rows,
    write_drift,
    write_inputs,
)

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.loading import load_segment_generator
from rehearsal.generate.predecessors import History, read_history
from rehearsal.generate.rounds import Predecessor
from rehearsal.runtime import Job
from rehearsal.settings import Private
from rehearsal.tables.schemas import (
    EFFECTS,
    GENERATOR_ROUNDS,
    GENERATOR_SCORES,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
    SYNTHETIC_REQUESTS,
)
from rehearsal.tables.source import open_source

STEPS = ("step_5_fit_generators", "step_6_synthesize_requests")
TARGETED = [("buy", 300, 0.6), ("browse", 200, 0.3), ("refund", 20, 0.1)]
# Half of 520 logged requests, by share.
BUDGET = {"buy": 156, "browse": 78, "refund": 26}
LEARNT_NOTHING = {"max_epochs": 1, "learning_rate": 1e-9}
# What a generator of so few rows shows elsewhere is mostly chance.
C2ST_ALONE = {
    "max_c2st": 0.8, "min_shapes": 0, "min_pairs": 0, "min_utility": 0, "max_dcr_share": 1,
    "max_nndr_gap": 1, "max_exact": 1, "max_membership": 1,
}  # fmt: skip
VERSION = "rehearsal_synthesizer_version"
OWN = ["uid", "kind", "at", "amount", "items", "device", "due", "label"]


def segment_of_four(user: int) -> str:
    return f"s/{user % 4}"


def log() -> pd.DataFrame:
    """Nobody sends a refund in the first 20 days, and one user of s/1 one later."""
    frame = requests_frame(n=4000, days=40)
    late = frame["at"] >= START + timedelta(days=21)
    place = frame.index[late & (frame["uid"].map(segment_of_four) == "s/1")][0]
    frame.loc[place, ["kind", "label"]] = ["refund", "no"]
    return frame


@dataclass(frozen=True)
class Rounds:
    """The jobs of three rounds, and what steps 5 and 6 said of each."""

    jobs: dict[str, Job]
    said: dict[str, list[str]]

    def rows(self, contract: Any, run_id: str, by: str = "segment_id") -> list[dict[str, Any]]:
        found = sorted_rows(self.jobs[run_id], contract, by)
        return [row.asDict(recursive=True) for row in found]

    def round_of(self, run_id: str) -> dict[str, Any]:
        (row,) = self.rows(GENERATOR_ROUNDS, run_id)
        return row

    def served(self, run_id: str) -> dict[str, Any]:
        _, row = self.rows(SYNTHESIZERS, run_id)
        return row


def job_of(job: Job, run_id: str, days: int, **generator: Any) -> Job:
    settings = job.settings
    begin = START + timedelta(days=days)
    replay = settings.replay.model_copy(update={"start": begin, "end": begin + timedelta(days=20)})
    changed = {"replay": replay, "generator": settings.generator.model_copy(update=generator)}
    return Job(job.spark, settings.model_copy(update=changed), run_id)


@pytest.fixture(scope="module")
def rounds(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path
) -> Rounds:
    folder = tmp_path_factory.mktemp("rounds")
    generator = {
        "kind": "vae", "min_rows": 10_000, "bins": 8, "hidden": 16, "latent": 2, "max_epochs": 12,
        "batch_rows": 64, "min_count": 5, "learning_rate": 1e-2, "gate": C2ST_ALONE,
    }  # fmt: skip
    settings = make_settings(
        spark, folder, mlflow_template, log(), generator=generator,
        augment={"synthetic_share": 0.5, "max_request_types": 3},
    )  # fmt: skip
    first = Job(spark, settings, "r1")
    write_inputs(first, (), segment_of_four)
    jobs = {
        "r1": first,
        "r2": job_of(first, "r2", 20, **LEARNT_NOTHING),
        "r3": job_of(first, "r3", 20),
    }
    said = {}
    for run_id, job in jobs.items():
        write_drift(job, ["s/1"], TARGETED)
        # Run 4 samples from what round 3 leaves.
        steps = STEPS if run_id != "r3" else STEPS[:1]
        said[run_id] = [load_step(name).step(job) for name in steps]
        if run_id == "r2":
            write_effect(job)
    return Rounds(jobs, said)


def write_effect(job: Job) -> None:
    shown = {"scope": "segment", "segment_id": "s/1", "effect_per_1000": 4.0, "effect_ci_low": 0.5}
    rows = whole_rows(job, pd.DataFrame([shown]), EFFECTS)
    job.store.replace(EFFECTS, rows, run_id=job.run_id)


def synthetic_of(job: Job) -> pd.DataFrame:
    rows = job.store.read(SYNTHETIC_REQUESTS, rehearsal_run_id=job.run_id)
    return rows.toPandas().sort_values("req no", ascending=False, ignore_index=True)


def test_the_first_round_has_nobody_to_beat(rounds: Rounds) -> None:
    row = rounds.round_of("r1")
    assert (row["round"], row["kept"], row["serving_version"]) == (1, "fresh", None), row["why"]
    assert rounds.served("r1")["synthesizer_version"] == row["fresh_version"]
    assert rounds.served("r1")["base_run_id"] == "r1"


def test_a_fresh_generator_that_learnt_nothing_does_not_replace_the_one_that_serves(
    rounds: Rounds,
) -> None:
    row, first, served = rounds.round_of("r2"), rounds.served("r1"), rounds.served("r2")
    assert (row["round"], row["kept"], row["serving_run_id"]) == (2, "serving", "r1"), row["why"]
    assert row["why"].startswith("the fresh one did not pass its gate: C2ST AUC ")
    assert row["fresh_c2st_auc"] > row["serving_c2st_auc"]
    assert row["fresh_version"] != row["serving_version"] == first["synthesizer_version"]
    scores = pd.DataFrame(rounds.rows(GENERATOR_SCORES, "r2"))
    passed = scores.groupby(["candidate", "synthesizer_version"])["passed"].all()
    assert passed.to_dict() == {
        ("serving", row["serving_version"]): True, ("all", row["fresh_version"]): False
    }  # fmt: skip
    assert (served["served_by"], served["base_run_id"]) == ("serving", "r1")
    for name in ("synthesizer_version", "weights", "profile"):
        assert served[name] == first[name]
    assert "1 by the generator of an earlier run" in rounds.said["r2"][0]


def test_the_serving_generators_requests_lie_in_the_days_replayed_now(rounds: Rounds) -> None:
    version = rounds.served("r1")["synthesizer_version"]
    for run_id, days in (("r1", 0), ("r2", 20)):
        made = synthetic_of(rounds.jobs[run_id])
        assert set(made[VERSION]) == {version}
        begin = START + timedelta(days=days)
        assert made["at"].between(begin, begin + timedelta(days=20)).all()


def test_a_type_that_nobody_sent_gives_no_rows_and_one_never_learnt_gives_all_of_them(
    rounds: Rounds,
) -> None:
    asked = {"r1": BUDGET | {"refund": 0}, "r2": BUDGET}
    for run_id, budget in asked.items():
        made = synthetic_of(rounds.jobs[run_id])
        counts = made["kind"].value_counts()
        assert {kind: counts.get(kind, 0) for kind in budget} == budget
        written = sum(budget.values())
        assert f"{written} of 260 budgeted requests" in rounds.said[run_id][1]
    frame = log()
    (user,) = frame.loc[frame["kind"] == "refund", "uid"]
    refunds = made[made["kind"] == "refund"]
    assert set(refunds["uid"]) == {user}
    assert refunds["label"].isin(["yes", "no"]).all()


def test_of_two_as_good_the_one_known_to_show_disagreements_stays_however_often_it_was_kept(
    rounds: Rounds,
) -> None:
    row = rounds.round_of("r3")
    assert (row["round"], row["kept"], row["serving_run_id"]) == (3, "serving", "r1"), row["why"]
    assert row["why"].startswith("as good (C2ST AUC ")
    assert row["why"].endswith("and known to show +4.0 disagreements per 1,000")
    assert (row["serving_effect_per_1000"], row["serving_effect_ci_low"]) == (4.0, 0.5)
    assert rounds.served("r3")["base_run_id"] == "r1"


def test_a_round_done_again_leaves_the_same_rows(rounds: Rounds) -> None:
    job = rounds.jobs["r2"]
    tables = ((SYNTHESIZERS, "segment_id"), (GENERATOR_SCORES, "score"), (GENERATOR_ROUNDS, "why"))
    before = [rounds.rows(contract, "r2", by) for contract, by in tables]
    assert load_step(STEPS[0]).step(job) == rounds.said["r2"][0]
    assert [rounds.rows(contract, "r2", by) for contract, by in tables] == before
    first = history_before(rounds.jobs["r1"])
    assert (first.round, first.predecessors) == (1, {})


@pytest.fixture(scope="module")
def by_hand(rounds: Rounds) -> Job:
    """Run 4, in which every segment is served by another, its requests made."""
    job = Job(rounds.jobs["r3"].spark, rounds.jobs["r3"].settings, "r4")
    base, kept = rounds.rows(SYNTHESIZERS, "r3")
    base |= {"base_run_id": "r4"}
    fresh = {"base_run_id": "r4", "weights": None}
    changed = {
        "s/0": {"served_by": "all", "synthesizer_version": "general"} | fresh,
        "s/1": {},
        "s/2": {"served_by": "resampled", "synthesizer_version": "refused"} | fresh,
        "s/3": {"served_by": "segment", "synthesizer_version": "own", "base_run_id": "r4",
                "weights": adapter(base)},
    }  # fmt: skip
    rows = pd.DataFrame([base, *(kept | {"segment_id": s} | row for s, row in changed.items())])
    whole = whole_rows(job, rows.assign(run_id="r4"), SYNTHESIZERS)
    job.store.replace(SYNTHESIZERS, whole, run_id="r4")
    write_drift(job, list(changed), TARGETED)
    # Of the other segments nobody sends refunds.
    said = load_step(STEPS[1]).step(job)
    assert said.startswith(f"{3 * 234 + 260} of 1,040 budgeted requests")
    assert "1 of them with logged requests again" in said
    return job


def adapter(base: dict[str, Any]) -> bytes:
    """An adapter that changes nothing."""
    # Torch is imported where it is used: the tests of other files run without it.
    from safetensors.torch import save

    from rehearsal.generate.models.adapter import identity
    from rehearsal.generate.models.vae import ConditionalVAE

    layout = Codec.from_json(base["codec_json"]).layout(1)
    generator = load_segment_generator(base["kind"], layout, bytes(base["weights"]), None)
    assert isinstance(generator, ConditionalVAE)
    return save({name: one[0].clone() for name, one in identity(generator.decoder, 1).items()})


def test_synthetic_requests_say_who_made_them_whoever_serves(rounds: Rounds, by_hand: Job) -> None:
    made = synthetic_of(by_hand)
    versions = made.groupby("rehearsal_segment_id")[VERSION].unique().map(list).to_dict()
    serving = rounds.served("r1")["synthesizer_version"]
    assert versions == {"s/0": ["general"], "s/1": [serving], "s/2": ["resampled"], "s/3": ["own"]}
    assert made["req no"].is_unique
    assert made["req no"].max() < 0
    begin = START + timedelta(days=20)
    assert made["at"].between(begin, begin + timedelta(days=20)).all()
    # One generator, one budget, one seed: the requests of round 2.
    again = made.loc[made["rehearsal_segment_id"] == "s/1", OWN].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, synthetic_of(rounds.jobs["r2"])[OWN])


def test_resampled_requests_are_logged_ones_under_new_ids(by_hand: Job) -> None:
    made = synthetic_of(by_hand)
    again = made[made["rehearsal_segment_id"] == "s/2"]
    logged = open_source(by_hand.spark, by_hand.settings.requests, "requests").toPandas()
    seen = set(logged[OWN].astype(str).itertuples(index=False, name=None))
    assert set(again[OWN].astype(str).itertuples(index=False, name=None)) <= seen
    assert set(again["uid"].map(segment_of_four)) == {"s/2"}
    assert again["kind"].value_counts().to_dict() == {"buy": 156, "browse": 78}


def test_a_run_killed_before_its_synthesizers_are_stored_is_done_again_and_hides_no_other(
    rounds: Rounds, tmp_path: Path
) -> None:
    job = rounds.jobs["r3"]
    output = job.settings.output.model_copy(update={"path": str(tmp_path)})
    settings = job.settings.model_copy(update={"output": output})
    first = Job(job.spark, settings, "r1")
    stopped(first, 1, "s/1")
    profiles = job.store.read(SEGMENT_PROFILES, run_id="r1").toPandas()
    assert read_history(first.store, "main", "r1", profiles, ["s/1"]) == History(1, {})
    killed, later = (Job(job.spark, job.settings, run_id) for run_id in ("r5", "r6"))
    before = history_before(killed)
    assert before.predecessors["s/1"].candidate is not None
    stopped(killed, before.round, "s/1", "s/9")
    found = history_before(later, ["s/1", "s/9"])
    assert found.round == before.round + 1
    assert found.predecessors["s/1"] == before.predecessors["s/1"]
    assert found.predecessors["s/9"].lost.startswith("what serves s/9 of run r5 is gone from")
    job.store.change(GENERATOR_ROUNDS, "DELETE FROM {table} WHERE run_id = 'r5'", {})


def test_only_what_serves_drifting_segments_is_read_and_they_share_their_generator(
    by_hand: Job,
) -> None:
    stopped(by_hand, 4, "s/0", "s/3")  # but its synthesizers are there
    later = Job(by_hand.spark, by_hand.settings, "r5")
    found = history_before(later, ["s/0", "s/3"]).predecessors
    both = [found[segment].candidate for segment in ("s/0", "s/3")]
    assert [one.added is None for one in both if one] == [True, False]
    assert both[0] is not None
    assert both[1] is not None
    assert both[0].base is both[1].base, "or a closure over all holds it once per segment"
    assert list(history_before(later, ["s/3"]).predecessors) == ["s/3"]


def test_what_was_fitted_without_privacy_may_not_serve_where_it_is_asked_for(
    rounds: Rounds,
) -> None:
    job = job_of(rounds.jobs["r3"], "r3", 20, private=Private(epsilon=8.0))
    before = serving_before(job)
    assert (before.candidate, before.run_id) == (None, "r1")
    assert before.lost == (
        "the generator of all segments of run r1 was fitted without privacy, which "
        "generator.private asks for now"
    )


def test_what_an_earlier_run_left_is_told_where_it_is_damaged_or_gone(
    rounds: Rounds, by_hand: Job
) -> None:
    job, base = rounds.jobs["r2"], "run_id = 'r1' AND segment_id IS NULL"
    store, whole = by_hand.store, serving_before(job)
    assert whole.candidate is not None
    damage = f"UPDATE {{table}} SET profiles_json = :text WHERE {base}"
    store.change(SYNTHESIZERS, damage, {"text": "{"})
    damaged = serving_before(job)
    told = "of the generator of run r1 the axes that describe segments are damaged: "
    assert damaged.lost.startswith(told)
    assert damaged == replace(whole, candidate=None, lost=damaged.lost)
    store.change(SYNTHESIZERS, f"DELETE FROM {{table}} WHERE {base}", {})
    said = load_step(STEPS[0]).step(job)
    gone = "the generator of all segments of run r1 is gone from table synthesizers: that run was"
    assert f"what served 1 of them until now cannot be judged: {gone}" in said
    row = rounds.round_of("r2")
    assert (row["kept"], row["serving_run_id"]) == ("resampled", "r1")
    assert row["serving_version"] == whole.version
    assert row["why"].startswith("no generator passed its gate: C2ST AUC ")
    assert f"; the one that served cannot be judged: {gone}" in row["why"]
    store.change(SYNTHESIZERS, "DELETE FROM {table} WHERE run_id = 'r1'", {})
    assert serving_before(job).lost.startswith("what serves s/1 of run r1 is gone from table")


def history_before(job: Job, segments: Sequence[str] = ("s/1",)) -> History:
    profiles = job.store.read(SEGMENT_PROFILES, run_id="r1").toPandas()
    return read_history(job.store, "main", job.run_id, profiles, segments)


def serving_before(job: Job) -> Predecessor:
    """What served s/1 when the job's run began."""
    return history_before(job).predecessors["s/1"]


def stopped(job: Job, round_number: int, *segments: str) -> None:
    """Leave what a run leaves that is killed before its synthesizers are stored."""
    rows = pd.DataFrame({"segment_id": segments, "segmentation": "main", "kept": "fresh"})
    rows = rows.assign(round=round_number, fresh_version="never stored")
    job.store.replace(GENERATOR_ROUNDS, whole_rows(job, rows, GENERATOR_ROUNDS), run_id=job.run_id)
