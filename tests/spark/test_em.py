"""EM on Spark is EM in memory, however the rows are partitioned."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.models import mixture
from rehearsal.generate.models.generator import Rows, fit_generator
from rehearsal.generate.models.layout import Layout
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.training.em_spark import fit_mixture_on_spark, train_mixture
from rehearsal.generate.training.reader import Files
from rehearsal.generate.training.stage import TRAINING, VALIDATION, Part
from rehearsal.generate.training.task import Task, train_all
from rehearsal.settings import Generator

pytestmark = pytest.mark.spark

PROFILES = np.array([[-1.0], [0.0], [2.0]])


def test_one_partition_or_seven_give_the_bytes_of_the_fit_in_memory(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "GROUP_PASSES", 1)  # a task costs a third of a second
    rng = np.random.default_rng(0)
    layout = Layout((3, 4, 5), 1, 1)
    kind, segment = rng.integers(0, 3, 400), rng.integers(0, 3, 400)
    codes = np.stack([kind, (kind + segment) % 4, rng.integers(0, 5, 400)], axis=1)
    rows = Rows(codes, segment, PROFILES)
    settings = Generator(components=6, max_epochs=1)
    here = fit_generator("mixture", MemoryFeed(rows, 64), rows, layout, settings, 3)
    frame = spark.createDataFrame(
        pd.DataFrame(np.column_stack([segment, codes]), columns=list("sabc"), dtype="int32")
    )
    for n_partitions in (1, 7):
        there = fit_mixture_on_spark(
            frame.repartition(n_partitions), PROFILES, rows, layout, settings, 3
        )
        assert there.generator.to_bytes() == here.generator.to_bytes()
        assert there.curve == here.curve


def test_staged_rows_give_the_same_result_in_one_task_and_by_spark_and_only_once(
    spark: SparkSession, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 300)
    frame = pd.DataFrame({"kind": kind.astype(str), "size": ((kind + rng.integers(0, 2, 300)) % 3)})
    settings = Generator(components=3, max_epochs=1)
    codec = fit_codec_frame(frame, fields_of(frame, ["kind"]), settings)
    columns = ("segment", *(token.name for token in codec.tokens))
    codes = np.column_stack([rng.integers(0, 3, 300), codec.encode(frame)])
    staged = pd.DataFrame(codes, columns=list(columns), dtype="int32").assign(
        part=np.where(np.arange(300) < 240, TRAINING, VALIDATION)
    )
    spark.createDataFrame(staged).write.partitionBy("part").parquet(str(tmp_path / "rows"))
    written = spark.read.parquet(str(tmp_path / "rows"))

    def part(name: str, n_rows: int) -> Part:
        urls = sorted(url for url in written.inputFiles() if f"/part={name}/" in url)
        return Part(Files(tuple(urls), columns), n_rows)

    def task(folder: str) -> Task:
        kept, told = str(tmp_path / folder), str(tmp_path / "progress")
        return Task("mixture", codec.to_json(), PROFILES, settings, 7, kept, told)

    training = written.where(F.col("part") == TRAINING).select(*columns)
    held_out = part(VALIDATION, 60)
    here = train_all(task("here"), part(TRAINING, 240), held_out, "key")
    there = train_mixture(task("there"), training, 240, held_out, "key")
    assert here["status"] == "fitted"
    assert there == here
    # Read again, these rows would be an error.
    gone = training.select(F.raise_error(F.lit("read again")).alias("segment"))
    assert train_mixture(task("there"), gone, 240, held_out, "key") == here
    failed = train_mixture(task("there"), gone, 240, held_out, "another key")
    assert failed["status"] == "failed"
    assert "read again" in failed["reason"]
