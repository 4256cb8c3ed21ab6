"""EM on Spark is EM in memory, however the rows are partitioned."""

import numpy as np
import pytest
from pyspark.sql import SparkSession

from rehearsal.generate.models.generator import Rows, fit_generator
from rehearsal.generate.models.layout import Layout
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.training.em_spark import fit_mixture_on_spark
from rehearsal.settings import Generator

pytestmark = pytest.mark.spark


def test_one_partition_or_seven_give_the_bytes_of_the_fit_in_memory(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    layout, profiles = Layout((3, 4, 5), 1, 1), np.array([[-1.0], [0.0], [2.0]])
    kind, segment = rng.integers(0, 3, 400), rng.integers(0, 3, 400)
    codes = np.stack([kind, (kind + segment) % 4, rng.integers(0, 5, 400)], axis=1)
    rows = Rows(codes, segment, profiles)
    settings = Generator(components=6, max_epochs=1)
    here = fit_generator("mixture", MemoryFeed(rows, 64), rows, layout, settings, 3)
    frame = spark.createDataFrame(
        np.column_stack([segment, codes]).tolist(), "segment int, a int, b int, c int"
    )
    for n_partitions in (1, 7):
        there = fit_mixture_on_spark(
            frame.repartition(n_partitions), profiles, rows, layout, settings, 3
        )
        assert there.generator.to_bytes() == here.generator.to_bytes()
        assert there.curve == here.curve
