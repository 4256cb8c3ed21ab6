"""Step 5 with `generator.private` on a small log, some of whose users must not show."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.configure import parse_settings
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.fit import Outcome, fit_generators
from rehearsal.generate.models.private_em import PASSES
from rehearsal.generate.publish import publish
from rehearsal.generate.training.plan import plan_private
from rehearsal.generate.training.prepare import Prepared, Sources
from rehearsal.generate.training.private_rows import rows_of_users
from rehearsal.generate.training.rows import count_sound, first_rows, near_rows, part_of_row
from rehearsal.generate.training.stage import TEST, TRAINING
from rehearsal.settings import Gate, Settings
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import SYNTHESIZERS

pytestmark = pytest.mark.spark

START = datetime(2024, 3, 1)
N_USERS, PER_USER = 1_000, 3
HERMIT, CROWD = "hermit", "crowd"  # a user with rows unlike all others, and one with many of them


def log() -> pd.DataFrame:
    rng, n = np.random.default_rng(5), N_USERS * PER_USER
    users = np.repeat(np.arange(N_USERS), PER_USER)
    kind = np.where(rng.random(n) < 0.4, "buy", "browse")
    common = pd.DataFrame(
        {
            "user": [f"u{user}" for user in users],
            "kind": kind,
            "day": rng.integers(0, 10, n),
            "amount": np.where(kind == "buy", rng.integers(20, 60, n), 0).astype(float),
            "device": np.where(rng.random(n) < 0.7, "phone", "desk"),
        }
    )
    strange = [(HERMIT, 2, "abacus", 7.7e9), (CROWD, 300, "telegraph", -6.5e8)]
    rows = [
        pd.DataFrame(
            {"user": [user] * count, "kind": "buy", "day": 5, "amount": amount, "device": device}
        )
        for user, count, device, amount in strange
    ]
    frame = pd.concat([common, *rows], ignore_index=True)
    frame["at"] = START + pd.to_timedelta(frame.pop("day") * 86_400 + 40_000, unit="s")
    return frame.assign(id=[f"r{number}" for number in range(len(frame))])


@pytest.fixture(scope="module")
def settings(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path
) -> Settings:
    folder = tmp_path_factory.mktemp("private")
    (folder / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    spark.createDataFrame(log()).write.parquet(str(folder / "log"))
    columns = {
        "request_id": "id", "user_id": "user", "request_type": "kind", "requested_at": "at",
        "continuous": ["amount"], "categorical": ["device"],
    }  # fmt: skip
    stored = {"stored": {"value": "amount"}}
    return parse_settings(
        {
            "seed": 4,
            "requests": {"path": str(folder / "log"), "format": "parquet", "columns": columns},
            "models": {"production": stored, "experimental": stored},
            "output": {"path": str(folder / "out")},
            "mlflow": {
                "tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "art")
            },
            "replay": {"start": START, "end": START + timedelta(days=10)},
            "generator": {
                "bins": 8, "components": 5, "min_count": 1,
                "private": {"epsilon": 8, "max_user_rows": 2},
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(
    spark: SparkSession, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    members = [(user, "even" if number % 2 else "odd") for number, user in enumerate(
        [*(f"u{n}" for n in range(N_USERS)), HERMIT, CROWD])]  # fmt: skip
    contributions = pd.DataFrame(
        {
            "segment_id": "odd", "output": "value", "test": "distribution",
            "request_type": ["buy", "browse"], "n_requests": [300, 200], "request_share": 0.5,
            "contribution": [0.9, 0.1], "share": [0.9, 0.1], "statistic": 9.0,
            "size_metric": "kl_nats", "size_contribution": [0.9, 0.1], "size_share": [0.9, 0.1],
            "rank": [1, 2],
        }
    )  # fmt: skip
    profiles = pd.DataFrame(
        {"segment_id": ["even", "odd"], "feature": "requests", "effect_size": [-1.0, 1.0]}
    )
    held = spark.createDataFrame(members, "user_id string, segment_id string")
    kept = str(tmp_path_factory.mktemp("kept"))
    return Prepared(spark, settings, Sources(contributions, held, profiles), kept)


@pytest.fixture(scope="module")
def outcome(prepared: Prepared) -> Outcome:
    return fit_generators(prepared, "p1", {}, lambda _: None)


def test_step_5_tells_what_the_account_says_and_knows_nothing_of_a_single_user(
    spark: SparkSession, prepared: Prepared, outcome: Outcome
) -> None:
    base, segment = outcome.synthesizers
    assert (base["status"], base["kind"]) == ("fitted", "mixture"), base["reason"]
    assert segment["served_by"] in ("all", "resampled")
    assert prepared.budget is not None
    assert len(prepared.budget.releases) == 1 + PASSES
    assert base["epsilon"] == prepared.budget.epsilon == pytest.approx(8.0, rel=1e-6)
    assert base["epsilon"] <= 8.0
    frame = pd.DataFrame(outcome.synthesizers).assign(run_id="p1")
    table = to_spark(spark, frame.reindex(columns=SYNTHESIZERS.schema.names), SYNTHESIZERS)
    row = table.where("segment_id IS NULL").collect()[0]
    assert (row["epsilon"], row["delta"]) == (base["epsilon"], 1e-6)
    assert row["validation_nats"] is None
    assert [point["validation_nats"] for point in row["curves"]] == [None]
    codec = Codec.from_json(row["codec_json"])
    kept = {column.name: getattr(column, "kept", ()) for column in codec.columns}
    assert kept["request_type"] == ("browse", "buy")
    assert kept["device"] == ("desk", "phone")
    told = row["codec_json"]
    assert not [word for word in ("abacus", "telegraph", HERMIT, CROWD) if word in told]
    numeric = next(c for c in codec.generated if c.name == "amount").numeric  # type: ignore[union-attr]
    shown = [*numeric.atoms, *numeric.lows, *numeric.highs]
    assert -100 < min(shown) <= max(shown) < 200


def test_a_private_synthesizer_is_logged_without_losses(
    settings: Settings, outcome: Outcome
) -> None:
    import mlflow

    run_id = publish(settings, "p1", outcome.synthesizers, outcome.scores)
    client = mlflow.MlflowClient()
    metrics = client.get_run(str(run_id)).data.metrics
    assert "all/kl_nats" in metrics
    assert not [name for name, value in metrics.items() if np.isnan(value)]
    card = mlflow.artifacts.load_text(
        f"{client.get_run(str(run_id)).info.artifact_uri}/cards/odd.md"
    )
    assert "not covered: the scores below" in card


def test_an_attempt_that_goes_on_draws_no_second_noise(prepared: Prepared, tmp_path: Path) -> None:
    first, again = prepared.codec, replace(prepared).codec
    assert first == again
    generator = prepared.settings.generator
    stricter = generator.model_copy(update={"gate": Gate(max_c2st=0.6)})
    settings = prepared.settings.model_copy(update={"generator": stricter})
    assert replace(prepared, settings=settings).codec == first
    assert replace(prepared, checkpoints=str(tmp_path)).codec != first
    prepared.close()


def rows_of(spark: SparkSession, users: Any) -> DataFrame:
    rows = [(f"r{user}-{n}", f"u{user}", f"s{user % 3}") for user in users for n in range(6)]
    return spark.createDataFrame(rows, "request_id string, user_id string, segment_id string")


def test_a_user_who_leaves_changes_no_other_users_row(
    spark: SparkSession, prepared: Prepared
) -> None:
    generator = prepared.settings.generator

    def used(users: Any) -> dict[str, tuple[str, str, int]]:
        held = rows_of_users(rows_of(spark, users), 4, 3).withColumn("part", part_of_row(generator))
        counts, _ = count_sound(held, F.lit(False))
        shares = plan_private(counts, ["s0"], ["s0", "s1", "s2"], generator)
        planned = first_rows(near_rows(held, shares, 3))
        found = planned.select("request_id", "user_id", "part", "position").collect()
        return {row[0]: tuple(row[1:]) for row in found}

    everyone, without = used(range(40)), used(range(1, 40))
    assert without == {key: row for key, row in everyone.items() if row[0] != "u0"}
    assert {row[1] for row in everyone.values()} == {TEST, TRAINING}
    # All but the test rows of the segments that do not drift.
    test = [row for row in everyone.values() if row[1] == TEST]
    assert {row[2] for row in test} == {0}
    assert 0 < len(test) < 30
    assert 120 < len(everyone) < 160


def test_more_rows_than_the_driver_is_to_hold_are_refused(prepared: Prepared) -> None:
    from rehearsal.errors import SettingsError

    generator = prepared.settings.generator.model_copy(update={"max_total_rows": 1_000})
    settings = prepared.settings.model_copy(update={"generator": generator})
    with pytest.raises(SettingsError, match=r"1,8\d\d requests, generator.max_total_rows is 1,000"):
        _ = replace(prepared, settings=settings).shares
