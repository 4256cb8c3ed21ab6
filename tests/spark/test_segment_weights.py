import pytest
from pyspark.sql import SparkSession

from rehearsal.segments.features import Feature
from rehearsal.segments.kmeans import assign, fit_kmeans
from rehearsal.settings import KMeansSegments


@pytest.mark.parametrize(("ignored", "deciding"), [("time", 1), ("profile", 0)])
def test_a_feature_group_with_weight_zero_does_not_place_anyone(
    spark: SparkSession, ignored: str, deciding: int
) -> None:
    # Four equal camps: morning or evening people, young or old.
    values = {f"u{i}": [float(i % 2), float(i // 2 % 2)] for i in range(40)}
    rows = spark.createDataFrame(list(values.items()), "user_id string, features array<double>")
    settings = KMeansSegments.model_validate(
        {"k_min": 2, "k_max": 2, "fit_sample_users": 100, "group_weights": {ignored: 0}}
    )
    features = [Feature("evening", "time"), Feature("old", "profile")]
    placed = assign(rows, fit_kmeans(rows, features, settings, seed=1)).collect()
    camps = {(row.segment_id, values[row.user_id][deciding]) for row in placed}
    assert len({segment for segment, _ in camps}) == len(camps) == 2
