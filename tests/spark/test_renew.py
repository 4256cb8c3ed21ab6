"""From one run's segments to the next one's: what is fitted, and who is called what."""

from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from shared import plain_settings

from rehearsal.segments.adapt.renew import Past, Renewal, renew
from rehearsal.segments.feature import Feature
from rehearsal.segments.model import SegmentModel
from rehearsal.segments.place_users import place_users
from rehearsal.segments.timeline import fingerprint
from rehearsal.settings import Settings

FEATURES = (Feature("requests", "activity"), Feature("age", "profile"))
SCHEMA = (
    "user_id string, n_requests bigint, value double, features array<double>, "
    "previous_segment_id string, previous_pending_id string, previous_pending_runs int"
)


class Crowd:
    """Users around two places, with the segments they were in before."""

    def __init__(self, spark: SparkSession, sizes: tuple[int, int], before: dict[str, str]) -> None:
        random = np.random.default_rng(2)
        self.rows = spark.createDataFrame(
            [
                (user, 5, None, [float(x) for x in random.normal(5.0 * place, 0.2, 2)],
                 before.get(user), None, None)
                for place, n in enumerate(sizes)
                for user in (f"{'ab'[place]}{i:03d}" for i in range(n))
            ],
            SCHEMA,
        )  # fmt: skip

    def choose(self) -> tuple[Feature, ...]:
        return FEATURES

    def describe(self, features: tuple[Feature, ...]) -> DataFrame:
        assert features == FEATURES
        return self.rows


def settings(**segments: Any) -> Settings:
    return plain_settings(segments={"k_min": 2, "k_max": 3} | segments)


def placed(crowd: Crowd, renewal: Renewal, chosen: Settings) -> dict[str, str]:
    rows = place_users(crowd.rows, renewal.model, chosen.segments.adapt, 1, renewal.exact).collect()
    renewal.release()
    return {row["user_id"]: row["segment_id"] for row in rows}


@pytest.mark.parametrize("method", ["kmeans", "bisecting", "mixture", "dbscan"])
def test_a_segment_keeps_its_id_when_another_becomes_the_larger_one(
    spark: SparkSession, method: str
) -> None:
    chosen = settings(method=method, dbscan={"eps": 0.5, "min_points": 5})
    first_crowd = Crowd(spark, (120, 60), {})
    first = renew(first_crowd, None, chosen)
    assert first.decision == "fit"
    before = placed(first_crowd, first, chosen)
    assert {user[0] + before[user] for user in before} == {"as1", "bs2"}

    past = Past(first.model, "v1", fingerprint(chosen), first.stability)
    second_crowd = Crowd(spark, (60, 240), before)
    second = renew(second_crowd, past, chosen)
    assert second.decision in ("warm_refit", "cold_refit")
    assert "psi" in second.reason
    after = placed(second_crowd, second, chosen)
    assert {user[0] + after[user] for user in after} == {"as1", "bs2"}
    assert {event.event for event in second.events} == {"survived"}
    assert second.model.next_number == 3


def test_users_who_behave_as_before_are_placed_by_the_fit_in_force(spark: SparkSession) -> None:
    chosen = settings()
    crowd = Crowd(spark, (120, 60), {})
    first = renew(crowd, None, chosen)
    past = Past(first.model, "v1", fingerprint(chosen), first.stability)
    again = renew(Crowd(spark, (120, 60), placed(crowd, first, chosen)), past, chosen)
    assert (again.decision, again.version) == ("reassign", "v1")
    assert again.model is past.model
    assert again.measured["psi"] == pytest.approx(0)
    assert again.measured["cost_ratio"] == pytest.approx(1)


def test_changed_settings_ask_for_a_new_fit_and_are_named(spark: SparkSession) -> None:
    chosen = settings()
    crowd = Crowd(spark, (120, 60), {})
    first = renew(crowd, None, chosen)
    past = Past(first.model, "v1", fingerprint(chosen), first.stability)
    found = renew(Crowd(spark, (120, 60), placed(crowd, first, chosen)), past, settings(restarts=2))
    assert found.decision == "cold_refit"
    assert "segments.restarts: 10 there, 2 here" in found.reason


def test_a_history_goes_on_from_a_run_that_found_nobody_dense(spark: SparkSession) -> None:
    crowd = Crowd(spark, (120, 60), {})
    for assign_noise in (False, True):
        lonely = {"eps": 1e-6, "min_points": 5, "assign_noise": assign_noise}
        chosen = settings(method="dbscan", dbscan=lonely)
        first = renew(crowd, None, chosen)
        before = placed(crowd, first, chosen)
        assert set(before.values()) == {"noise"}
        model = SegmentModel.from_json(first.model.to_json())
        past = Past(model, "v1", fingerprint(chosen), {})
        noise_before = Crowd(spark, (120, 60), before)
        assert renew(noise_before, past, chosen).decision == "reassign"
        wider = settings(method="dbscan", dbscan=lonely | {"eps": 0.5})
        found = renew(noise_before, past, wider)
        assert found.model.segments == ("s1", "s2")
        assert [event.event for event in found.events] == ["born", "born"]


def test_fewer_places_than_segments_are_fitted_from_scratch(spark: SparkSession) -> None:
    def crowd(*sizes: int, before: dict[str, str] | None = None) -> Crowd:
        made = Crowd(spark, (1, 1), {})
        made.rows = spark.createDataFrame(
            [
                (f"{place}-{i}", 5, None, [float(place), float(place % 2)],
                 (before or {}).get(f"{place}-{i}"), None, None)
                for place, n in enumerate(sizes) for i in range(n)
            ],
            SCHEMA,
        )  # fmt: skip
        return made

    chosen = settings(k_min=2, k_max=4, min_segment_share=0)
    first = renew(crowd(60, 60, 70, 10), None, chosen)
    assert len(first.model.segments) == 4
    before = placed(crowd(60, 60, 70, 10), first, chosen)
    past = Past(first.model, "v1", fingerprint(chosen), first.stability)
    found = renew(crowd(65, 65, 70, before=before), past, chosen)
    assert found.decision == "cold_refit"
    assert set(found.model.segments) < set(first.model.segments)
    assert sorted(event.event for event in found.events) == ["died"] + ["survived"] * 3
