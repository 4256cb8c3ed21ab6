"""The demo: MovieLens-100K as a request log, and two models trained on it in earnest.

Production is a logistic regression fitted when the site was eight weeks old; experimental is
gradient boosting on the six weeks after. Neither has seen the time that is replayed.
"""

import logging
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from rehearsal import datasets
from rehearsal.datasets import CATEGORICAL, CONTINUOUS, LIKE
from rehearsal.seeds import derive_seed, short_hash
from rehearsal.settings import Mlflow
from rehearsal.tracking import connect

MODEL = "movielens"
# conf/demo.yml repeats the replay's: whole months, which are its windows.
EXPERIMENTAL_FROM = datetime(1997, 11, 17, tzinfo=UTC)
REPLAY_START = datetime(1998, 1, 1, tzinfo=UTC)
REPLAY_END = datetime(1998, 5, 1, tzinfo=UTC)
NUMBERS = [*CONTINUOUS, "age"]
LABELS = ["genre", *CATEGORICAL, "gender", "occupation"]
_RARE = 20
_STAMP = "prepared.txt"
_TAG = "rehearsal.demo"


def prepare(
    spark: SparkSession, folder: Path, settings: Mlflow, say: Any = print
) -> dict[str, dict[str, float]]:
    """Make the source tables and the registered models, unless they are there already.

    Args:
        spark: a session with Delta.
        folder: where the tables `ratings` and `users` go.
        settings: the MLflow store; models are registered as `movielens`, aliases production and
            experimental.
        say: gets a line on each thing that is made.

    Returns:
        What was trained: model -> `accuracy` and `auc` on the time replayed; empty if nothing.
    """
    files = datasets.fetch_movielens(say)
    stamp = _stamp()
    marker = folder / _STAMP
    if not marker.is_file() or marker.read_text() != stamp:
        datasets.write_movielens(spark, folder, files)
        marker.write_text(stamp)
    mlflow = connect(settings)
    if _registered(mlflow, stamp):
        return {}
    ratings, users = datasets.movielens_log(files)
    log = ratings.merge(users, on="user_id", validate="many_to_one")
    return {side: _publish(mlflow, side, log, stamp) for side in ("production", "experimental")}


def production_model() -> Any:
    """Return the unfitted production model: linear, missing numbers at the mean."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    labels = OneHotEncoder(handle_unknown="ignore", min_frequency=_RARE)
    columns = ColumnTransformer([("numbers", numbers, NUMBERS), ("labels", labels, LABELS)])
    return make_pipeline(columns, LogisticRegression(max_iter=2000))


def experimental_model() -> Any:
    """Return the unfitted experimental model: trees, missing values as a branch of their own."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    labels = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan,
        encoded_missing_value=np.nan, min_frequency=_RARE,
    )  # fmt: skip
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("labels", labels, LABELS)])
    trees = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=100, max_leaf_nodes=15, min_samples_leaf=50,
        early_stopping=False, random_state=derive_seed(0, "experimental"),
    )  # fmt: skip
    return make_pipeline(columns, trees)


def training_rows(log: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return what a model is fitted on: early for production, later for experimental."""
    at = log["rated_at"]
    if side == "production":
        return log[at < EXPERIMENTAL_FROM]
    return log[(at >= EXPERIMENTAL_FROM) & (at < REPLAY_START)]


def _publish(mlflow: Any, side: str, log: pd.DataFrame, stamp: str) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, roc_auc_score

    model = production_model() if side == "production" else experimental_model()
    rows = training_rows(log, side)
    model.fit(_inputs(rows), rows["outcome"])
    replayed = log[(log["rated_at"] >= REPLAY_START) & (log["rated_at"] < REPLAY_END)]
    likes = model.predict_proba(_inputs(replayed))[:, list(model.classes_).index(LIKE)]
    liked = (replayed["outcome"] == LIKE).to_numpy()
    figures = {
        "accuracy": float(accuracy_score(liked, likes > 0.5)),  # noqa: PLR2004 - the likelier class
        "auc": float(roc_auc_score(liked, likes)),
    }
    example = _inputs(rows).head(5)
    # The demo's own models, made on this machine: its warning about foreign pickles says nothing.
    logging.getLogger("mlflow.sklearn").setLevel(logging.ERROR)
    with mlflow.start_run(run_name=f"{MODEL}-{side}"):
        mlflow.log_params({"trained_from": rows["rated_at"].min(), "n_requests": len(rows)})
        mlflow.log_metrics({f"replay_{name}": figure for name, figure in figures.items()})
        logged = mlflow.sklearn.log_model(
            model, name=side, input_example=example,
            signature=mlflow.models.infer_signature(example, model.predict_proba(example)),
            # Fitted pipelines are objects of scikit-learn; nothing but pickle holds them whole.
            serialization_format="cloudpickle",
            pip_requirements=[f"{name}=={version(name)}" for name in ("scikit-learn", "pandas")],
        )  # fmt: skip
    made = mlflow.register_model(logged.model_uri, MODEL, tags={_TAG: stamp})
    mlflow.MlflowClient().set_registered_model_alias(MODEL, side, made.version)
    return figures


def _inputs(log: pd.DataFrame) -> pd.DataFrame:
    return log[[*NUMBERS, *LABELS]].astype(dict.fromkeys(NUMBERS, float))


def _registered(mlflow: Any, stamp: str) -> bool:
    """Whether both aliases name models made by this very code whose files are still there."""
    from mlflow.exceptions import MlflowException

    for side in ("production", "experimental"):
        try:
            found = mlflow.MlflowClient().get_model_version_by_alias(MODEL, side)
            mlflow.models.get_model_info(f"models:/{MODEL}/{found.version}")
        except (MlflowException, OSError):  # not registered yet, or the files are gone
            return False
        if found.tags.get(_TAG) != stamp:
            return False
    return True


def _stamp() -> str:
    """Identify what tables and models are made from: the files, this code, scikit-learn."""
    code = [Path(str(module)).read_text() for module in (__file__, datasets.__file__)]
    return short_hash(*datasets.FILES.values(), *code, version("scikit-learn"))
