"""From the request log to training snapshots: integer Parquet files per segment, in scratch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.training.feed import Files
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.settings import Generator, Settings
from rehearsal.tables.source import read_requests, read_users


@dataclass(frozen=True)
class Snapshot:
    """One segment's staged rows, and a fingerprint that any change of them changes."""

    segment_id: str
    n_rows: int
    fingerprint: str
    training: Files
    validation: Files


def logged_rows(
    spark: SparkSession, settings: Settings, segments: DataFrame, chosen: Sequence[str]
) -> DataFrame:
    """Return the valid requests of the replay range whose user is in a chosen segment.

    Args:
        spark: the session.
        settings: sources and replay range.
        segments: (user_id, segment_id), each user once.
        chosen: the segments to keep.

    Returns:
        Requests with `segment_id` and the profile attributes; null for users without a profile.
    """
    span = settings.replay
    requests = read_requests(spark, settings, span.start, span.end, timeless=False).rows
    held = segments.where(F.col("segment_id").isin(list(chosen))).select("user_id", "segment_id")
    rows = requests.join(held, "user_id")
    if settings.users is None:
        return rows
    return rows.join(read_users(spark, settings.users).rows, "user_id", "left")


def training_rows(rows: DataFrame, settings: Generator, seed: int) -> DataFrame:
    """Return at most `max_rows` rows per segment, with `part`: 'training' or 'validation'.

    Which rows, and which part, depends on (seed, request_id) alone. Every segment of two rows or
    more has some of both.
    """
    segment = Window.partitionBy("segment_id")
    order = hash_order(derive_seed(seed, "training"), "request_id")
    n_kept = F.least(F.count("*").over(segment), F.lit(settings.max_rows))
    placed = rows.withColumns(
        {
            "place": F.row_number().over(segment.orderBy(order, "request_id")),
            "n_validation": F.greatest(
                F.lit(1), F.round(n_kept * F.lit(settings.validation_share))
            ),
        }
    )
    part = F.when(F.col("place") <= F.col("n_validation"), F.lit("validation"))
    return (
        placed.where(F.col("place") <= settings.max_rows)
        .withColumn("part", part.otherwise(F.lit("training")))
        .drop("place", "n_validation")
    )


def stage_snapshots(
    rows: DataFrame, codec: Codec, segment_ids: Sequence[str], folder: str, seed: int
) -> list[Snapshot]:
    """Write the rows as codes, in random order, one file per segment and part; describe them.

    Args:
        rows: `training_rows`.
        codec: makes the codes.
        segment_ids: the segments to describe, also those without rows.
        folder: where to write; its owner deletes it.
        seed: decides the order of rows.
    """
    # Folder names take the segment's position: its id may hold anything.
    position = F.array_position(F.lit(list(segment_ids)), F.col("segment_id")).cast("int") - 1
    codes = codec.expressions()
    order = hash_order(derive_seed(seed, "stage"), "request_id")
    staged = rows.select(
        position.alias("segment"), "part", order.alias("order"), "request_id",
        *(code.alias(name) for name, code in codes.items()),
    )  # fmt: skip
    (
        staged.repartition("segment", "part")
        .sortWithinPartitions("segment", "part", "order", "request_id")
        .drop("order", "request_id")
        .write.partitionBy("segment", "part")
        .mode("overwrite")
        .parquet(folder)
    )
    return _describe(rows.sparkSession, tuple(codes), segment_ids, folder)


def _describe(
    spark: SparkSession, columns: tuple[str, ...], segment_ids: Sequence[str], folder: str
) -> list[Snapshot]:
    written = spark.read.parquet(folder)
    row_hash = F.xxhash64("part", *columns).cast("decimal(20,0)")
    counted = written.groupBy("segment").agg(
        F.count("*").alias("n"), F.sum(row_hash).cast("string").alias("fingerprint")
    )
    # Bounded: one row per segment, at most max_segments.
    known = {row["segment"]: (row["n"], row["fingerprint"]) for row in counted.collect()}
    urls = sorted(written.inputFiles())

    def files(segment: int, part: str) -> Files:
        inside = f"/segment={segment}/part={part}/"
        return Files(tuple(url for url in urls if inside in url), columns)

    return [
        Snapshot(name, *known.get(i, (0, "")), files(i, "training"), files(i, "validation"))
        for i, name in enumerate(segment_ids)
    ]


@contextmanager
def scratch_folder(settings: Settings, name: str) -> Iterator[str]:
    """Own a folder under the scratch path, and delete it with all it holds."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    base = settings.output.scratch_path
    if "://" not in base:
        base = str(Path(base.removeprefix("file:")).resolve())
    folder = f"{base}/{name}"
    try:
        yield folder
    finally:
        filesystem, path = url_to_fs(folder)
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)
