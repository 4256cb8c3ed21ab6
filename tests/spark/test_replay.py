"""Both models on the same requests: what is scored, what is set aside, what stops the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.errors import ModelError, SourceError
from rehearsal.replay.replay import replay_requests
from rehearsal.settings import Settings

MakeSettings = Callable[..., Settings]
SaveModel = Callable[..., Path]


@pytest.fixture
def requests(spark: SparkSession) -> DataFrame:
    """Five admitted requests; user 9 has no profile, and one type was never seen in history."""
    rows = [
        ("a", "1", "search", 9.5, "app"),
        ("b", "2", "search", 9.5, "web"),
        ("c", "9", "browse", None, None),
        ("d", "1", "never seen", 1.0, "app"),
        ("e", "2", "buy", 5.0, "app"),
    ]
    schema = "request_id string, user_id string, request_type string, amount double, channel string"
    frame = spark.createDataFrame(rows, schema)
    return frame.withColumn("requested_at", F.lit("2026-03-03").cast("timestamp"))


@pytest.fixture
def users(spark: SparkSession) -> DataFrame:
    rows = [("1", 25.0, "PL"), ("2", 60.0, "PT")]
    return spark.createDataFrame(rows, "user_id string, age double, country string")


def test_one_row_per_request_holds_both_outputs(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings
) -> None:
    kpis = {
        "yes_rate": {"kind": "class_rate", "label": "yes"},
        "level": {"kind": "mean_value"},
        "level_per_yes": {"kind": "ratio", "numerator": "level", "denominator": "yes_rate"},
    }
    found = replay_requests(requests, users, make_settings(kpis=kpis), "calls")
    rows = {row["request_id"]: row for row in found.rows.collect()}
    assert set(rows) == set("abde")
    young, old = rows["a"], rows["b"]
    assert young["classes"] == ["no", "yes"]
    # The experimental model shifts the searches of the young alone.
    expected = 1 / (1 + np.exp(-(4.5 + 0.05 * np.sin(9500 * 2.5) + 1.5)))
    assert young["experimental"]["value"] == pytest.approx(expected)
    assert old["experimental"]["value"] < young["experimental"]["value"]
    assert young["experimental"]["probabilities"][1] == young["experimental"]["value"]
    assert young["kpis"]["yes_rate"]["production"] == 1.0
    assert set(young["kpis"]) == {"yes_rate", "level"}, "a request has no ratio of its own"
    assert rows["d"]["request_type"] == "never seen"


def test_a_user_without_a_profile_is_set_aside_where_the_model_needs_it(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings
) -> None:
    found = replay_requests(requests, users, make_settings(), "calls")
    (row,) = found.rejected.collect()
    assert row["reason"] == "production takes age as a whole number, and it is missing"
    assert '"request_id":"c"' in row["row_json"]


def test_requests_a_model_cannot_score_are_set_aside(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings, save_model: SaveModel
) -> None:
    settings = make_settings(models=pair(save_model, fault="nan"))
    found = replay_requests(requests, users, settings, "calls")
    assert sorted(row["request_id"] for row in found.rows.collect()) == ["d", "e"]
    rejected = found.rejected.where("reason LIKE 'experimental%'").collect()
    assert {row["reason"] for row in rejected} == {
        "experimental returned probabilities that are not finite"
    }
    assert '"request_id":"a"' in rejected[0]["row_json"] + rejected[1]["row_json"]


def test_a_model_that_returns_a_wrong_shape_stops_before_the_replay(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings, save_model: SaveModel
) -> None:
    settings = make_settings(models=pair(save_model, fault="short"))
    with pytest.raises(ModelError, match="returned 3 rows for 4 requests"):
        replay_requests(requests, users, settings, "calls")


def test_a_model_that_wants_an_unmapped_column_names_it(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings
) -> None:
    with pytest.raises(ModelError, match="takes age, which the configuration does not map; add"):
        replay_requests(requests, None, make_settings(users=None), "calls")


def test_a_model_that_is_not_there_is_named(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings
) -> None:
    models = {"production": {"uri": "models:/ghost@live"}, "experimental": {"uri": "x"}}
    with pytest.raises(ModelError, match="models.production.uri: cannot load models:/ghost@live"):
        replay_requests(requests, users, make_settings(models=models), "calls")


def test_an_empty_range_is_told_with_its_dates(
    requests: DataFrame, users: DataFrame, make_settings: MakeSettings
) -> None:
    with pytest.raises(SourceError, match="no valid request between replay.start 2026-03-02"):
        replay_requests(requests.limit(0), users, make_settings(), "calls")


def test_outputs_stored_in_the_log_are_taken_as_they_are(
    requests: DataFrame, make_settings: MakeSettings
) -> None:
    log = requests.withColumns(
        {
            "old_yes": F.lit(0.25),
            "old_no": F.when(F.col("request_id") == "b", 0.9).otherwise(0.75),
            "new_yes": F.when(F.col("request_id") != "c", 0.5),
            "new_no": F.lit(0.5),
        }
    )
    stored = {
        name: {"stored": {"probabilities": {"no": f"{short}_no", "yes": f"{short}_yes"}}}
        for name, short in (("production", "old"), ("experimental", "new"))
    }
    found = replay_requests(log, None, make_settings(models=stored), "calls")
    rows = {row["request_id"]: row for row in found.rows.collect()}
    assert set(rows) == {"a", "d", "e"}
    assert rows["a"]["production"]["probabilities"] == [0.75, 0.25]
    assert rows["a"]["experimental"]["value"] == 0.5
    assert rows["a"]["production_model"] == "stored"
    assert sorted(row["reason"] for row in found.rejected.collect()) == [
        "experimental has no stored probability for some class",
        "production's stored probabilities are negative or do not sum to 1",
    ]


def pair(save_model: SaveModel, **config: Any) -> dict[str, Any]:
    """A sound production model and an experimental one with this configuration."""
    sides = {"production": {"shift": 0.0}, "experimental": {"shift": 0.0, **config}}
    return {name: {"uri": str(save_model(f"{name}-pair", **c))} for name, c in sides.items()}
