"""What was planted in a simulated log is named: who drifts, and whether inputs or models changed.

Five groups of users are the segments. Three drift in some request types once app version 2 reaches
them: on the first day of the replay, and on a Thursday one and two weeks later. In a fourth the
experimental model answers their favourite type apart from a Thursday on, though nothing about the
requests changes; in the fifth, moreover, users no longer do what production expects.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import needs_browser, noted
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal import simulate
from rehearsal.configure import parse_settings
from rehearsal.drift.run import attribute_run
from rehearsal.jobs import step_2_replay_requests, step_3_score_drift
from rehearsal.report.data import read_report_data
from rehearsal.report.page import render
from rehearsal.report.texts_why import VERDICTS
from rehearsal.runtime import Job
from rehearsal.simulate import Simulation
from rehearsal.simulate.plan import CLASSES, REQUEST_TYPES, make_plan
from rehearsal.tables import schemas as tables
from rehearsal.tables.contract import TableContract

SIMULATION = Simulation(
    n_users=4000, seed=4, n_segments=5, n_drifting=3, requests_per_user=25, noise=0.1,
    start=datetime(2026, 1, 8, tzinfo=UTC), history_weeks=1, replay_weeks=3,
)  # fmt: skip
PLAN = make_plan(SIMULATION)
LATER = SIMULATION.replay_start + timedelta(weeks=1)
CONF = ("spark.sql.shuffle.partitions", "spark.sql.adaptive.enabled")
STARTS = {g: group.new_version_at for g, group in enumerate(PLAN.groups) if group.drifting}
AT_ONCE, *ROLLED_OUT = sorted(STARTS, key=lambda g: STARTS[g])
MODELS, OUTCOMES = (g for g in range(5) if g not in STARTS)

# Chooses each segment by its button in the table, and reads what the section on reasons shows.
CHOSEN = """
  const measure = document.getElementById("measure").value;
  const all = [];
  for (const name of NAMES) {
    click(document.querySelector(`button[data-pick='${name}']`));
    await drawn(`${name} ${measure}`);
    const blocks = [...document.querySelectorAll("#why [data-segment]:not([hidden])")];
    all.push({
      told: blocks.map((one) => [...one.querySelectorAll("h3, p")]
        .map((line) => line.textContent).join(" ")),
      rows: blocks.map((one) => [...one.querySelectorAll("tbody tr")]
        .map((line) => [...line.children].map((cell) => cell.textContent))),
    });
  }
  document.body.dataset.notes = JSON.stringify(all);
"""


def favourite(group: int) -> str:
    return REQUEST_TYPES[Counter(PLAN.groups[group].types).most_common(1)[0][0]]


def shifted_log(log: DataFrame, group: Column) -> DataFrame:
    """Shift the experimental model in two groups from LATER on, and outcomes in one of them."""
    ours, later = group.isin(MODELS, OUTCOMES), F.col("requested_at") >= F.lit(LATER)
    kind = F.col("request_type")
    hit = reduce(Column.__or__, ((group == g) & (kind == favourite(g)) for g in (MODELS, OUTCOMES)))
    shift = F.when(hit & later, 2.0).otherwise(0.0)
    gains = (F.exp(shift), F.lit(1.0), F.exp(-shift))
    names = [f"experimental_p_{label}" for label in CLASSES]
    weights = [F.col(name) * gain for name, gain in zip(names, gains, strict=True)]
    odds = F.col("experimental_value") / (1 - F.col("experimental_value")) * F.exp(shift)
    moved = {name: weight / sum(weights[1:], weights[0])
             for name, weight in zip(names, weights, strict=True)}  # fmt: skip
    left = (group == OUTCOMES) & later
    return log.withColumns(
        moved | {
            "experimental_value": odds / (1 + odds),
            "app_version": F.when(ours, "1").otherwise(F.col("app_version")),
            "outcome": F.when(left, CLASSES[2]).otherwise(F.col("outcome")),
        }
    )  # fmt: skip


def settings_of(folder: Path) -> dict[str, Any]:
    def stored(side: str) -> dict[str, Any]:
        labels = {label: f"{side}_p_{label}" for label in CLASSES}
        return {"stored": {"value": f"{side}_value", "probabilities": labels}}

    keys = ("request_id", "user_id", "request_type", "requested_at")
    return {
        "seed": 3,
        "requests": {
            "path": str(folder / "requests"),
            "columns": {
                **{key: key for key in keys}, "continuous": ["amount", "duration_s"],
                "categorical": ["channel", "app_version"], "outcome": "outcome",
            },
        },
        "users": {
            "path": str(folder / "users"),
            "columns": {
                "user_id": "user_id", "continuous": ["age"], "categorical": ["country", "plan"],
            },
        },
        "models": {side: stored(side) for side in ("production", "experimental")},
        "replay": {"start": SIMULATION.replay_start, "end": SIMULATION.end},
        "output": {"path": str(folder / "warehouse")},
        "kpis": {
            "buy_rate": {"kind": "class_rate", "label": CLASSES[0]},
            "leave_rate": {"kind": "class_rate", "label": CLASSES[2]},
            "level": {"kind": "mean_value"},
            "leaves_per_level": {
                "kind": "ratio", "numerator": "leave_rate", "denominator": "level",
            },
        },
        # Few leave: on its own that is too little to tell what drives it.
        "drift": {"output_thresholds": {"leave_rate": {"kpi_relative_change": None}}},
    }  # fmt: skip


def fill(job: Job, contract: TableContract, rows: DataFrame, **keys: str) -> None:
    """Write rows of a contract whose other columns are null."""
    lacking = [f for f in contract.schema if f.name not in (*rows.columns, *keys)]
    nulls = {f.name: F.lit(None).cast(f.dataType) for f in lacking}
    job.store.replace(contract, rows.withColumns(nulls), **keys)


@pytest.fixture(scope="module")
def job(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The run, replayed, scored and attributed, with the planted groups as segments."""
    folder = tmp_path_factory.mktemp("drivers")
    groups = simulate.truth_users(spark, SIMULATION).withColumnRenamed("user_id", "who")
    log = simulate.requests(spark, SIMULATION, partitions=2)
    log = log.join(F.broadcast(groups), F.col("user_id") == F.col("who"))
    log = shifted_log(log, F.col("group")).drop("who", "group")
    log.write.format("delta").save(str(folder / "requests"))
    simulate.users(spark, SIMULATION).write.format("delta").save(str(folder / "users"))
    job = Job(spark, parse_settings(settings_of(folder)), "r1")
    since = F.lit(SIMULATION.start)
    named = groups.select(
        F.col("who").cast("string").alias("user_id"),
        F.concat(F.lit("g"), "group").alias("segment_id"),
        since.alias("valid_from"),
    )
    fill(job, tables.SEGMENTS, named, segmentation="main")
    one = spark.range(1).select(
        F.lit("v1").alias("segmentation_version"), since.alias("valid_from"),
        F.lit("kmeans").alias("method"), F.lit("reassign").alias("decision"), F.lit(5).alias("k"),
    )  # fmt: skip
    fill(job, tables.SEGMENTATIONS, one, segmentation="main", run_id="r1")
    profiles = named.groupBy("segment_id").agg(
        F.count("*").alias("n_users"), F.first("segment_id").alias("segment_name"),
        (F.count("*") / SIMULATION.n_users).alias("user_share"), F.lit(1).alias("rank"),
        F.lit("age").alias("feature"), F.lit(0.0).alias("effect_size"),
    )  # fmt: skip
    fill(job, tables.SEGMENT_PROFILES, profiles, run_id="r1")
    step_2_replay_requests.step(job)
    step_3_score_drift.step(job)
    attribute_run(job)
    return job


def rows_of(job: Job, contract: TableContract) -> pd.DataFrame:
    return job.store.read(contract, run_id=job.run_id).toPandas()


@pytest.fixture(scope="module")
def drivers(job: Job) -> pd.DataFrame:
    return rows_of(job, tables.DRIFT_DRIVERS)


@pytest.fixture(scope="module")
def reasons(job: Job) -> pd.DataFrame:
    return rows_of(job, tables.DRIFT_REASONS)


def breaches_of(rows: pd.DataFrame, group: int) -> Iterator[pd.DataFrame]:
    """The rows of each output and test of a group; there is at least one."""
    own = rows[rows["segment_id"] == f"g{group}"]
    assert len(own)
    for _, breach in own.groupby(["output", "test", "size_metric"]):
        yield breach


@pytest.mark.parametrize("group", ROLLED_OUT)
def test_the_planted_types_under_version_2_are_the_first_drivers(
    drivers: pd.DataFrame, group: int
) -> None:
    planted = {REQUEST_TYPES[t] for t in PLAN.groups[group].drifting}
    for breach in breaches_of(drivers, group):
        top = breach[breach["rank"] <= len(planted)]
        assert set(top["value_1"]) == planted
        assert set(top["dimension_2"].fillna("none")) <= {"app_version", "none"}
        assert set(top["status"]) == {"confirmed"}
        assert (breach[breach["rank"] > len(planted)]["share"] < top["share"].min()).all()


def test_where_old_and_new_versions_mix_the_new_one_is_named(drivers: pd.DataFrame) -> None:
    found = drivers[(drivers["segment_id"] == f"g{ROLLED_OUT[0]}") & (drivers["rank"] == 1)]
    assert len(found)
    assert set(found["dimension_2"]) == {"app_version"}
    assert set(found["value_2"]) == {"2"}


@pytest.mark.parametrize("group", [AT_ONCE, MODELS])
def test_without_old_versions_the_types_alone_are_named(drivers: pd.DataFrame, group: int) -> None:
    planted = {REQUEST_TYPES[t] for t in PLAN.groups[group].drifting} or {favourite(group)}
    for breach in breaches_of(drivers, group):
        sure = breach[breach["status"] == "confirmed"]
        assert set(sure["value_1"]) == planted
        assert sure["dimension_2"].isna().all()


def test_a_types_contribution_is_that_of_drift_contributions(
    job: Job, drivers: pd.DataFrame
) -> None:
    keys = ["segment_id", "output", "test", "size_metric"]
    parts = rows_of(job, tables.DRIFT_CONTRIBUTIONS)
    singles = drivers[(drivers["dimension_1"] == "request_type") & drivers["dimension_2"].isna()]
    both = singles.merge(
        parts, left_on=[*keys, "value_1"], right_on=[*keys, "request_type"], suffixes=("", "_type")
    )
    assert len(both) == len(singles) > 3
    assert {"buy_rate", "leaves_per_level"} < set(both["output"])
    for name in ("contribution", "share", "n_requests", "request_share"):
        assert both[name].to_numpy() == pytest.approx(both[f"{name}_type"].to_numpy(), rel=1e-8)


@pytest.mark.parametrize("group", ROLLED_OUT)
def test_a_rollout_is_inputs_and_names_app_version(reasons: pd.DataFrame, group: int) -> None:
    for breach in breaches_of(reasons, group):
        (row,) = breach.to_dict("records")
        assert (row["verdict"], row["dimension"]) == ("inputs", "app_version"), row["reason"]
        assert row["mix_share"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("group", "verdict"),
    [(MODELS, "models"), (OUTCOMES, "outcomes"), (AT_ONCE, "no baseline")],
)
def test_what_else_changed_is_told_apart(reasons: pd.DataFrame, group: int, verdict: str) -> None:
    for breach in breaches_of(reasons, group):
        assert breach["verdict"].tolist() == [verdict], breach["reason"].tolist()


def test_every_dimensions_parts_add_to_the_change(reasons: pd.DataFrame) -> None:
    known = reasons[reasons["verdict"] != "no baseline"]
    for row in known.to_dict("records"):
        assert {part["dimension"] for part in row["dimensions"]} == {
            "request_type", "channel", "app_version", "country", "plan", "amount", "duration_s",
            "age", "hour of day", "part of week",
        }  # fmt: skip
        for part in row["dimensions"]:
            whole = part["mix_part"] + part["rate_part"]
            assert whole == pytest.approx(row["score_change"], rel=1e-9)


def test_accuracy_is_estimated_from_confidence_and_the_hits_of_the_baseline(
    reasons: pd.DataFrame,
) -> None:
    for group, word in ((MODELS, "models"), (OUTCOMES, "outcomes")):
        row = next(breaches_of(reasons, group)).iloc[0]
        both = row["production"], row["experimental"]
        for side in both:
            assert 0.3 < side["expected_accuracy"] < 0.9
            assert side["rescaled_accuracy"] == pytest.approx(side["expected_accuracy"], abs=0.05)
        production, experimental = (side["calibration_gap"] for side in both)
        assert experimental > production + 0.05  # more confident than it should be
        assert (abs(production) > 0.1) == (word == "outcomes")


@needs_browser
def test_the_report_tells_every_segments_reason_and_sub_populations_when_it_is_chosen(
    job: Job, drivers: pd.DataFrame, reasons: pd.DataFrame, tmp_path: Path
) -> None:
    names = [f"g{group}" for group in range(5)]
    noted_of = noted(render(read_report_data(job)), CHOSEN.replace("NAMES", str(names)), tmp_path)
    for name, blocks in zip(names, noted_of, strict=True):
        own = reasons[reasons["segment_id"] == name].sort_values(["output", "test"])
        assert len(own) == len(blocks["told"]) > 0
        assert len(blocks["rows"]) == len(own)
        for why, told, shown in zip(
            own.to_dict("records"), blocks["told"], blocks["rows"], strict=True
        ):
            assert told.startswith(f"{why['output']}: ")
            assert f"{VERDICTS[why['verdict']]}: {why['reason']}" in told
            same = drivers[["segment_id", "output", "test"]] == [name, why["output"], why["test"]]
            listed = drivers[same.all(axis=1)].sort_values("rank").head(5)
            assert [cells[0] for cells in shown] == [who(row) for row in listed.to_dict("records")]
            for cells, row in zip(shown, listed.to_dict("records"), strict=True):
                n, requests, drift, lift = (float(re.sub(r"[,%×]", "", one)) for one in cells[1:5])
                assert n == row["n_requests"]
                assert requests == pytest.approx(100 * row["request_share"], abs=0.06)
                assert drift == pytest.approx(100 * row["share"], abs=0.06)
                assert lift == pytest.approx(row["lift"], abs=0.06)
                assert cells[-1].endswith(row["status"])


def who(row: dict[str, Any]) -> str:
    literals = [(row["dimension_1"], row["value_1"]), (row["dimension_2"], row["value_2"])]
    told = [
        f"{name} {value}" if value[0] in "<>" else f"{name} = {value}"
        for name, value in literals
        if name is not None
    ]
    return " and ".join(told)


def test_a_rerun_in_other_partitions_leaves_the_same_rows(job: Job) -> None:
    explained = (tables.DRIFT_DRIVERS, tables.DRIFT_REASONS)
    before = [rows_of(job, contract) for contract in explained]
    conf = job.spark.conf
    kept = {name: str(conf.get(name)) for name in CONF}
    conf.set("spark.sql.shuffle.partitions", "5")
    conf.set("spark.sql.adaptive.enabled", "false")
    try:
        attribute_run(job)
    finally:
        for name, value in kept.items():
            conf.set(name, value)
    for contract, rows in zip(explained, before, strict=True):
        order = [n for n in ("segment_id", "output", "test", "size_metric", "rank") if n in rows]
        again = rows_of(job, contract).sort_values(order, ignore_index=True)
        first = rows.sort_values(order, ignore_index=True)
        pd.testing.assert_frame_equal(again.astype(str), first.astype(str))


def test_what_all_users_do_is_split_over_the_requests_of_all_segments(job: Job) -> None:
    scores, parts = (rows_of(job, t) for t in (tables.DRIFT_SCORES, tables.DRIFT_CONTRIBUTIONS))
    red = scores[(scores["status"] == "red") & scores["segment_id"].isna()]
    every = parts[parts["segment_id"].isna()]
    tests = ["output", "test"]
    assert set(map(tuple, every[tests].to_numpy())) == set(map(tuple, red[tests].to_numpy()))
    for (output, test), own in every.groupby(tests):
        held = red[(red["output"] == output) & (red["test"] == test)]
        assert own["share"].sum() == pytest.approx(1)
        assert own["contribution"].sum() == pytest.approx(own["statistic"].iloc[0])
        assert own["n_requests"].sum() in {
            int(n) for n in held.groupby("metric")["n_requests"].sum()
        }


def test_without_a_breach_every_table_is_there_and_empty(job: Job) -> None:
    calm = Job(job.spark, job.settings, "calm")
    scores = job.store.read(tables.DRIFT_SCORES, run_id=job.run_id)
    job.store.replace(tables.DRIFT_SCORES, scores.withColumn("status", F.lit("green")),
                      run_id="calm")  # fmt: skip
    assert attribute_run(calm).empty
    assert rows_of(calm, tables.DRIFT_CONTRIBUTIONS).empty
    assert rows_of(calm, tables.DRIFT_DRIVERS).empty
    assert rows_of(calm, tables.DRIFT_REASONS).empty
    assert not rows_of(job, tables.DRIFT_REASONS).empty


def test_features_that_are_missing_throughout_name_nothing(job: Job, tmp_path: Path) -> None:
    # The log is gone since the replay: every feature is missing; type, time and profile are not.
    log = job.spark.read.format("delta").load(str(job.settings.requests.path))
    log.limit(0).write.format("delta").save(str(tmp_path / "requests"))
    changed = job.settings.model_dump(by_alias=True)
    changed["requests"]["path"] = str(tmp_path / "requests")
    attribute_run(Job(job.spark, parse_settings(changed), job.run_id))
    named = rows_of(job, tables.DRIFT_DRIVERS)
    used = {*named["dimension_1"], *named["dimension_2"].dropna()}
    assert "request_type" in used
    assert not used & {"channel", "app_version", "amount", "duration_s"}
    verdicts = rows_of(job, tables.DRIFT_REASONS).set_index("segment_id")["verdict"]
    assert set(verdicts[[f"g{group}" for group in ROLLED_OUT]]) == {"models"}
