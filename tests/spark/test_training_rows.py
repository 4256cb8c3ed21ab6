"""Which logged rows are used and for what: by their own ids, and before any wide join."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from small_log import make_settings, requests_frame, segment_of, write_inputs

from rehearsal.generate.training import stage as stage_module
from rehearsal.generate.training.plan import Parts, Share
from rehearsal.generate.training.prepare import Prepared, Sources
from rehearsal.generate.training.rows import first_rows, near_rows, part_of_row
from rehearsal.generate.training.stage import TEST, TRAINING, VALIDATION
from rehearsal.runtime import Job
from rehearsal.settings import Generator, Private
from rehearsal.tables.schemas import DRIFT_CONTRIBUTIONS, SEGMENT_PROFILES

pytestmark = pytest.mark.spark

N = 20_000
SETTINGS = Generator(test_share=0.1, validation_share=0.2)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    """Requests r0, r1, ... of segments s0 to s3 in turn, with their parts."""
    number = F.col("id").cast("string")
    frame = spark.range(N).select(
        F.concat(F.lit("r"), number).alias("request_id"),
        F.concat(F.lit("s"), (F.col("id") % 4).cast("string")).alias("segment_id"),
    )
    return frame.withColumn("part", part_of_row(SETTINGS)).cache()


def sizes(rows: DataFrame) -> dict[str, Parts]:
    counts = rows.groupBy("segment_id").agg(
        *(F.count_if(F.col("part") == part) for part in (TEST, VALIDATION, TRAINING))
    )
    return {row[0]: Parts(*row[1:]) for row in counts.collect()}


def test_parts_have_their_shares(rows: DataFrame) -> None:
    found = rows.groupBy("part").count().collect()
    # Six standard deviations of a binomial count of 20,000.
    for part, share in ((TEST, 0.1), (VALIDATION, 0.2), (TRAINING, 0.7)):
        n = next(row["count"] for row in found if row["part"] == part)
        assert abs(n - N * share) < 6 * (N * share * (1 - share)) ** 0.5


def test_a_private_runs_test_rows_are_those_of_other_runs_and_nothing_else_is_held_out(
    rows: DataFrame,
) -> None:
    private = part_of_row(SETTINGS.model_copy(update={"private": Private(epsilon=1)}))
    pairs = rows.groupBy("part", private.alias("private")).count().collect()
    assert {(row["part"], row["private"]) for row in pairs} == {
        (TEST, TEST), (VALIDATION, TRAINING), (TRAINING, TRAINING)
    }  # fmt: skip


def kept(rows: DataFrame, shares: list[Share], seed: int) -> pd.DataFrame:
    return first_rows(near_rows(rows, shares, seed)).toPandas()


def test_every_part_has_the_rows_planned_the_same_ones_however_they_are_spread(
    rows: DataFrame,
) -> None:
    logged = sizes(rows)
    shares = [
        Share("s2", 0, 1, logged["s2"], Parts(3, 0, 40)),
        Share("s0", 1, 0, logged["s0"], logged["s0"]._replace(test=0)),
    ]
    found = kept(rows, shares, 5)
    counts = found.groupby(["segment_id", "position", "bin", "part"])["place"].agg(["size", "max"])
    assert counts["size"].to_dict() == counts["max"].to_dict() == {
        ("s2", 0, 1, TEST): 3, ("s2", 0, 1, TRAINING): 40,
        ("s0", 1, 0, VALIDATION): logged["s0"].validation,
        ("s0", 1, 0, TRAINING): logged["s0"].training,
    }  # fmt: skip
    by_id = ["request_id"]
    again = kept(rows.repartition(7, "request_id"), shares, 5)
    pd.testing.assert_frame_equal(
        *(frame.sort_values(by_id, ignore_index=True) for frame in (found, again)),
    )
    other = kept(rows, shares, 6)
    cut = [set(frame.loc[frame["segment_id"] == "s2", "request_id"]) for frame in (found, other)]
    assert cut[0] != cut[1]


def test_of_a_part_cut_short_almost_nothing_else_goes_on(rows: DataFrame) -> None:
    logged = sizes(rows)["s2"]
    share = Share("s2", 0, 1, logged, Parts(0, 0, 100))
    n = near_rows(rows, [share], 5).count()
    # 100 + 8 x 10 + 8 are let through of 3,500, give or take six deviations.
    assert abs(n - 188) < 6 * 188**0.5


@pytest.fixture(scope="module")
def job(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path
) -> Job:
    folder = tmp_path_factory.mktemp("rows")
    made = Job(spark, make_settings(spark, folder, mlflow_template, requests_frame()), "r1")
    write_inputs(made)
    return made


def prepare(job: Job, seed: int | None = None, **generator: Any) -> Prepared:
    changed = job.settings.generator.model_copy(update=generator)
    update = {"generator": changed, "seed": seed or job.settings.seed}
    contributions = job.store.read(DRIFT_CONTRIBUTIONS, run_id="r1").toPandas()
    profiles = job.store.read(SEGMENT_PROFILES, run_id="r1").toPandas()
    sources = Sources(contributions, job.segments(), profiles)
    return Prepared(job.spark, job.settings.model_copy(update=update), sources)


def ids(prepared: Prepared, part: str) -> set[str]:
    found = prepared.planned_rows().where(F.col("part") == part).select("request_id").collect()
    return {row["request_id"] for row in found}


def test_no_run_trains_on_what_is_test_in_another_whatever_seed_and_segments(job: Job) -> None:
    narrow, wide = prepare(job, max_segments=1, seed=9), prepare(job)
    assert len(narrow.drifting) == 1
    assert len(wide.drifting) == 3
    tested = ids(wide, TEST)
    assert 150 < len(tested) < 300
    assert not tested & (ids(narrow, TRAINING) | ids(narrow, VALIDATION))
    assert ids(narrow, TEST) < tested


def test_what_a_segment_keeps_is_of_its_parts_in_proportion_and_context_has_no_test_rows(
    job: Job,
) -> None:
    prepared = prepare(job, max_segments=1, max_rows=200, context_rows=50)
    found = sizes(prepared.planned_rows())
    chosen = prepared.chosen[0]
    whole = prepared.drifting[0].logged
    assert sum(found[chosen]) == 200
    for held, all_held in zip(found[chosen], whole, strict=True):
        assert abs(held - 200 * all_held / sum(whole)) < 1
    for other in {"s/0", "s/1", "tiny"} - {chosen}:
        assert found[other].test == 0
        n = prepared.shares[[s.segment_id for s in prepared.shares].index(other)].logged
        assert sum(found[other]) == min(50, sum(n))
        assert sum(n) < (requests_frame()["uid"].map(segment_of) == other).sum()


def joins_above_the_hash_filter(rows: DataFrame) -> int:
    plan = rows._jdf.queryExecution().optimizedPlan().toString()  # noqa: SLF001
    # The filter compares the hash with what is planned of the segment, and so names this.
    above, found, _ = plan.partition("fraction#")
    assert found, plan
    return above.count("Join LeftOuter")


def test_attributes_are_joined_to_the_sample_alone_and_not_to_count(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = stage_module.read_users, []
    monkeypatch.setattr(stage_module, "read_users", lambda *a: times.append(1) or read(*a))
    prepared = prepare(job, max_rows=100)
    assert {share.n_kept for share in prepared.drifting} == {100, 23}
    assert times == []
    assert joins_above_the_hash_filter(prepared.planned_rows()) == 1
    assert times == [1]
    assert prepared.planned_rows().where("age > 20").count() > 150


def test_a_rule_on_an_attribute_is_kept_and_the_sample_is_as_large(job: Job) -> None:
    old = prepare(job, max_rows=100, ranges={"age": (30.0, 100.0)})
    assert joins_above_the_hash_filter(old.planned_rows()) == 1
    frame = old.planned_rows().select("segment_id", "age").toPandas()
    assert old.n_left_out > 0
    assert frame["age"].dropna().min() == 30
    found = frame.groupby("segment_id").size().to_dict()
    assert found == {share.segment_id: share.n_kept for share in old.drifting}
