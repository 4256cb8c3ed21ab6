"""A small log with the user's own column names and types, and what steps 1 to 4 leave of it."""

import importlib.util
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.configure import parse_settings
from rehearsal.runtime import Job
from rehearsal.settings import Settings
from rehearsal.tables.contract import TableContract
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import DRIFT_CONTRIBUTIONS, SEGMENT_PROFILES, SEGMENTATIONS
from rehearsal.tables.segment_history import record, restore

START = datetime(2024, 3, 1)
N_USERS, N_REQUESTS = 60, 1500
KINDS = ["browse", "buy", "search"]
TARGETED = [("buy", 300, 0.9), ("browse", 200, 0.3), ("search", 100, -0.2)]


def requests_frame(n: int = N_REQUESTS, days: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    kind = rng.choice(KINDS, n, p=[0.5, 0.3, 0.2])
    device = np.array(["phone", "desk", "tv"], dtype=object)[rng.integers(0, 3, n)]
    device[rng.random(n) < 0.1] = None
    device[:3] = "prototype"  # rarer than min_count: never given away
    seconds = rng.integers(0, days * 86_400, n)
    due = START + pd.to_timedelta(rng.integers(0, 30, n), unit="D")
    return pd.DataFrame(
        {
            "req no": np.arange(1, n + 1),
            "uid": rng.integers(1, N_USERS + 1, n),
            "kind": kind,
            "at": START + pd.to_timedelta(seconds, unit="s"),
            "amount": np.where(kind == "buy", rng.gamma(2.0, 30.0, n), 0.0),
            "items": rng.integers(1, 90, n).astype("int32"),
            "device": device,
            "due": pd.Series(due).where(rng.random(n) > 0.2),
            "label": np.where(kind == "buy", "yes", "no"),
        }
    )


def make_settings(
    spark: SparkSession, folder: Path, mlflow_template: Path, frame: pd.DataFrame, **sections: Any
) -> Settings:
    """Write the log and the profiles to the folder; return settings over them."""
    (folder / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    requests = spark.createDataFrame(frame)
    requests = requests.withColumn("amount", F.col("amount").cast("decimal(10,2)"))
    requests.write.mode("overwrite").parquet(str(folder / "requests"))
    users = pd.DataFrame({"uid": range(1, N_USERS + 1)})
    users["age"] = 20 + users["uid"] % 40
    users["job"] = np.where(users["uid"] % 3 == 0, "cook", "guard")
    spark.createDataFrame(users[users["uid"] != 7]).write.parquet(str(folder / "users"))
    columns = {
        "request_id": "req no", "user_id": "uid", "request_type": "kind", "requested_at": "at",
        "continuous": ["amount", "items"], "categorical": ["device"], "datetime": ["due"],
        "outcome": "label",
    }  # fmt: skip
    stored = {"stored": {"value": "amount"}}
    return parse_settings(
        {
            "seed": 4,
            "requests": {
                "path": str(folder / "requests"), "format": "parquet", "columns": columns
            },
            "users": {
                "path": str(folder / "users"), "format": "parquet",
                "columns": {"user_id": "uid", "continuous": ["age"], "categorical": ["job"]},
            },
            "models": {"production": stored, "experimental": stored},
            "output": {"path": str(folder / "out put")},
            "mlflow": {
                "tracking_uri": f"sqlite:///{folder}/mlflow.db", "artifacts": str(folder / "art")
            },
            "replay": {"start": START, "end": START + timedelta(days=20)},
            "generator": {
                "kind": "vae", "min_rows": 100, "bins": 8, "hidden": 32, "max_epochs": 12,
                "batch_rows": 64, "min_count": 5,
            },
            "augment": {"synthetic_share": 0.5, "max_request_types": 2},
        }
        | sections
    )  # fmt: skip


def load_step(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "jobs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segment_of(user: int) -> str:
    return "tiny" if user == 1 else f"s/{user % 2}"


def whole_rows(job: Job, frame: pd.DataFrame, contract: TableContract) -> DataFrame:
    return to_spark(job.spark, frame.reindex(columns=contract.schema.names), contract)


def write_inputs(
    job: Job,
    drifting: Sequence[str] = ("s/0", "s/1", "tiny"),
    placed: Callable[[int], str] = segment_of,
) -> None:
    """Write a segmentation, its profiles, and what drifts in the job's run."""
    held = [(str(u), placed(u), False, False) for u in range(1, N_USERS + 1)]
    names = "user_id string, segment_id string, is_noise boolean, known boolean"
    version = {"segmentation": "main", "segmentation_version": "v1", "valid_from": START}
    fitted = pd.DataFrame([version | {"run_id": job.run_id}])
    known = whole_rows(job, fitted, SEGMENTATIONS)
    job.store.replace(SEGMENTATIONS, known, segmentation="main", run_id=job.run_id)
    profiles = pd.DataFrame(
        [
            {"run_id": job.run_id, "segment_id": segment, "feature": feature, "effect_size": size}
            for segment, size in {"tiny": 0.2, "s/0": -1.0, "s/1": 1.0}.items()
            for feature in ("requests", "share of buy")
        ]
    )
    known = whole_rows(job, profiles, SEGMENT_PROFILES)
    job.store.replace(SEGMENT_PROFILES, known, run_id=job.run_id)
    restore(job.store, "main", [])
    record(job.store, "main", job.run_id, START, job.spark.createDataFrame(held, names))
    write_drift(job, drifting)


def write_drift(
    job: Job, drifting: Sequence[str], targeted: Sequence[tuple[str, int, float]] = TARGETED
) -> None:
    """Write which request types drive the drift: type, logged requests, share of the drift."""
    rows = [
        (job.run_id, segment, "value", "distribution", kind, n, share, share * 9.0, share, 9.0,
         "kl_nats", share, share, rank)
        for segment in drifting
        for rank, (kind, n, share) in enumerate(targeted, 1)
    ]  # fmt: skip
    schema = (
        "segmentation_version string, segment_id string, output string, test string, "
        "request_type string, n_requests bigint, request_share double, contribution double, "
        "share double, statistic double, size_metric string, size_contribution double, "
        "size_share double, rank int"
    )
    frame = job.spark.createDataFrame(rows, schema)
    job.store.replace(DRIFT_CONTRIBUTIONS, frame, run_id=job.run_id)


def sorted_rows(job: Job, contract: Any, by: str) -> list[Any]:
    slice_key = contract.slice_by[0]
    rows = job.store.read(contract, **{slice_key: job.run_id})
    return rows.orderBy(by, F.xxhash64(*(F.col(f"`{name}`") for name in rows.columns))).collect()
