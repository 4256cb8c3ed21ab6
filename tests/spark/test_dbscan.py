"""DBSCAN on Spark against scikit-learn on one machine."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from rehearsal.errors import ContractError
from rehearsal.segments.cluster.dbscan.cluster import dbscan, representatives
from rehearsal.segments.cluster.dbscan.epsilon import knee
from rehearsal.segments.cluster.dbscan.scatter import salts

EPS, MIN_POINTS = 1.0, 5


def two_blobs_and_noise() -> np.ndarray:
    rng = np.random.default_rng(8)
    blobs = [rng.normal(centre, 1.2, (150, 2)) for centre in (-6.0, 6.0)]
    lattice = rng.integers(-15, 15, (100, 2)) * 0.5
    return rng.permutation(np.concatenate([*blobs, lattice, np.repeat([[9.0, -9.0]], 40, axis=0)]))


def users_at(spark: SparkSession, points: np.ndarray, ids: list[str] | list[int]) -> DataFrame:
    frame = pd.DataFrame({"user_id": ids, "point": points.tolist()})
    return spark.createDataFrame(frame)


def expected(points: np.ndarray, ids: list[str] | list[int]) -> pd.DataFrame:
    """What scikit-learn finds in the rows in the order of the ids."""
    order = np.argsort(np.array(ids), kind="stable")
    fitted = DBSCAN(eps=EPS, min_samples=MIN_POINTS).fit(points[order])
    core = np.isin(np.arange(len(points)), fitted.core_sample_indices_)
    frame = {"cluster": fitted.labels_.astype(np.int32), "core": core}
    return pd.DataFrame(frame, index=pd.Index(np.array(ids)[order], name="user_id"))


@pytest.mark.parametrize(
    ("cells", "partitions", "as_text"),
    [(None, 1, False), (6, 3, True)],
    ids=["one box, numbers as ids", "six boxes, text as ids"],
)
def test_clusters_equal_those_of_scikit_learn(
    spark: SparkSession, cells: int | None, partitions: int, as_text: bool
) -> None:
    points = two_blobs_and_noise()
    # As text the order is 1, 10, 100: not that of the numbers.
    ids = [str(i) if as_text else i for i in range(len(points), 0, -1)]
    users = users_at(spark, points, ids).repartition(partitions)
    found = dbscan(users, EPS, MIN_POINTS, cells=cells)
    rows = found.rows.toPandas().set_index("user_id")
    true = expected(points, ids)
    pd.testing.assert_frame_equal(
        rows[["cluster", "core"]].sort_index(), true.sort_index(), check_index_type=False
    )
    place = dict(zip(ids, points.tolist(), strict=True))
    assert all(list(row.point) == place[row.Index] for row in rows.itertuples())
    assert found.n_users == len(points)
    assert found.n_clusters == true["cluster"].max() + 1
    assert found.n_core == true["core"].sum()
    assert found.n_noise == (true["cluster"] == -1).sum()
    assert found.solved.select(F.spark_partition_id()).distinct().count() == (cells or 1)
    check_representatives(found, rows)
    found.release()


def check_representatives(found, rows: pd.DataFrame) -> None:  # noqa: ANN001
    every = representatives(found, range(found.n_clusters), EPS, 10_000)
    assert not every.coarse
    core = rows[rows["core"]]
    where = {tuple(row.point): row.cluster for row in core.itertuples()}
    assert [where[tuple(point)] for point in every.points] == every.clusters.tolist()
    for cluster, members in core.groupby("cluster"):
        own = NearestNeighbors(n_neighbors=1).fit(every.points[every.clusters == cluster])
        assert own.kneighbors(np.stack(members["point"]))[0].max() <= EPS
    few = representatives(found, range(found.n_clusters), EPS, found.n_clusters)
    assert few.coarse
    assert sorted(few.clusters.tolist()) == list(range(found.n_clusters))
    assert len(few.points) == found.n_clusters
    with pytest.raises(ContractError, match="which leave fewer clusters"):
        representatives(found, range(found.n_clusters), EPS, found.n_clusters - 1)


def test_a_salt_is_put_into_the_partition_of_its_place(spark: SparkSession) -> None:
    for n in (1, 7, 64):
        frame = spark.createDataFrame([(int(salt),) for salt in salts(n)], "salt int")
        placed = frame.select(F.pmod(F.hash("salt"), F.lit(n))).toPandas()
        assert placed.iloc[:, 0].tolist() == list(range(n))


def test_points_that_cannot_be_clustered_are_refused(spark: SparkSession) -> None:
    def users(*points: list[float]) -> DataFrame:
        rows = list(enumerate(points))
        return spark.createDataFrame(rows, "user_id long, point array<double>")

    with pytest.raises(ContractError, match="there are no users to segment"):
        dbscan(users(), 1.0, 2)
    with pytest.raises(ContractError, match="1 to 2 coordinates"):
        dbscan(users([1.0], [1.0, 2.0]), 1.0, 2)
    with pytest.raises(ContractError, match=r"segments\.dbscan\.eps is 1e-09 .* scale"):
        dbscan(users([1.0, 5000.0]), 1e-9, 2)
    with pytest.raises(ContractError, match=r"segments\.dbscan\.eps is 0"):
        dbscan(users([1.0]), 0, 2)
    with pytest.raises(ContractError, match=r"fewer users than .*min_points=3"):
        knee(users([1.0], [2.0]), 3, seed=1)


def test_the_radius_is_read_off_exact_distances_and_not_off_the_partitioning(
    spark: SparkSession,
) -> None:
    points = two_blobs_and_noise()
    users = users_at(spark, points, list(range(len(points))))
    found = knee(users.repartition(3), MIN_POINTS, seed=1)
    exact, _ = NearestNeighbors(n_neighbors=MIN_POINTS).fit(points).kneighbors(points)
    curve = np.sort(exact[:, -1])
    shown = (np.array(found.shares) * len(points)).round().astype(int) - 1
    np.testing.assert_allclose(found.distances, curve[shown])
    assert 0.3 < found.eps < 2.0
    few = [knee(users.repartition(n), MIN_POINTS, seed=1, n_queries=50) for n in (1, 4)]
    assert few[0] == few[1]
