from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from rehearsal import datasets, demo
from rehearsal.settings import Mlflow


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    ratings, users = datasets.movielens_log(datasets.fetch_movielens(lambda _: None))
    return ratings.merge(users, on="user_id")


def test_training_and_replay_do_not_overlap_and_each_has_enough(log: pd.DataFrame) -> None:
    early, late = (demo.training_rows(log, side) for side in ("production", "experimental"))
    assert early["rated_at"].max() < demo.EXPERIMENTAL_FROM <= late["rated_at"].min()
    assert late["rated_at"].max() < demo.REPLAY_START
    replayed = log[(log["rated_at"] >= demo.REPLAY_START) & (log["rated_at"] < demo.REPLAY_END)]
    assert len(replayed) >= 25_000
    assert len(early) + len(late) + len(replayed) == len(log)


def test_first_prepare_trains_useful_models_and_the_second_finds_them(
    spark: SparkSession, tmp_path: Path, mlflow_template: Path, log: pd.DataFrame
) -> None:
    import mlflow

    store = tmp_path / "mlflow.db"
    store.write_bytes(mlflow_template.read_bytes())
    settings = Mlflow(tracking_uri=f"sqlite:///{store}", artifacts=str(tmp_path / "artifacts"))
    figures = demo.prepare(spark, tmp_path / "source", settings, say=lambda _: None)
    assert set(figures) == {"production", "experimental"}
    assert all(figure["auc"] > 0.7 for figure in figures.values())
    assert demo.prepare(spark, tmp_path / "source", settings, say=lambda _: None) == {}

    rows = log[[*demo.NUMBERS, *demo.LABELS]].tail(3).astype({"age": float})
    rows.iloc[0] = None  # a film and a person nothing is known of
    for side in ("production", "experimental"):
        model = mlflow.pyfunc.load_model(f"models:/movielens@{side}")
        assert set(model.metadata.get_input_schema().input_names()) == set(rows.columns)
        likes = model.get_raw_model().predict_proba(rows)[:, 1]
        assert ((likes > 0) & (likes < 1)).all()
        assert len(set(likes)) == 3

    for file in (tmp_path / "artifacts").rglob("MLmodel"):
        file.unlink()
    assert set(demo.prepare(spark, tmp_path / "source", settings, say=lambda _: None)) == set(
        figures
    )
