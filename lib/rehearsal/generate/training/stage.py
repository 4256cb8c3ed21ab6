"""From the request log to a training snapshot: integer Parquet files per bin, in scratch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.errors import SettingsError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.training.reader import Files
from rehearsal.seeds import derive_seed, hash_order
from rehearsal.settings import Generator, Settings
from rehearsal.tables.schemas import COLD
from rehearsal.tables.source import read_requests, read_users

TRAINING, VALIDATION, TEST = "training", "validation", "test"
FILES_PER_PROCESS = 4
MAX_FILE_ROWS = 100_000


@dataclass(frozen=True)
class Part:
    """The staged files of one part of one bin, and the rows they hold."""

    files: Files
    n_rows: int


@dataclass(frozen=True)
class Snapshot:
    """What was staged.

    Args:
        columns: `segment`, the position of the row's segment, then the token columns.
        parts: by (bin, part).
        fingerprint: changes with any staged row.
        fingerprints: the same per segment's position.
    """

    columns: tuple[str, ...]
    parts: Mapping[tuple[int, str], Part]
    fingerprint: str
    fingerprints: Mapping[int, str]

    def whole(self, part: str) -> Part:
        """Return a part of all bins together."""
        held = [one for (_, name), one in sorted(self.parts.items()) if name == part]
        urls = tuple(url for one in held for url in one.files.urls)
        return Part(Files(urls, self.columns), sum(one.n_rows for one in held))

    def of(self, place: int, part: str) -> Part:
        """Return a part of one bin; without files where it has no rows."""
        return self.parts.get((place, part), Part(Files((), self.columns), 0))


def placed_rows(spark: SparkSession, settings: Settings, segments: DataFrame) -> DataFrame:
    """Return the valid requests of the replay range with `segment_id`.

    Args:
        spark: the session.
        settings: sources and replay range.
        segments: (user_id, segment_id), each user once; other users are `cold`.
    """
    span = settings.replay
    requests = read_requests(spark, settings, span.start, span.end, timeless=False).rows
    placed = requests.join(segments.select("user_id", "segment_id"), "user_id", "left")
    return placed.withColumn("segment_id", F.coalesce("segment_id", F.lit(COLD)))


def with_attributes(rows: DataFrame, settings: Settings) -> DataFrame:
    """Return the rows with their users' profile attributes; null for users without a profile."""
    if settings.users is None:
        return rows
    return rows.join(read_users(rows.sparkSession, settings.users).rows, "user_id", "left")


def logged_rows(
    spark: SparkSession, settings: Settings, segments: DataFrame, targeted: DataFrame
) -> DataFrame:
    """Return the valid requests of the wanted cells with `segment_id` and profile attributes.

    Args:
        spark: the session.
        settings: sources and replay range.
        segments: (user_id, segment_id), each user once; other users are `cold`.
        targeted: (segment_id, request_type), few: the only cells wanted.
    """
    placed = placed_rows(spark, settings, segments)
    wanted = placed.join(F.broadcast(targeted), ["segment_id", "request_type"])
    return with_attributes(wanted, settings)


def stage(
    rows: DataFrame, codec: Codec, folder: str, settings: Generator, seed: int, n_training: int
) -> Snapshot:
    """Write the rows as codes, in random order, by bin and part; describe them.

    Args:
        rows: the planned rows, with `bin`, `part` and `position`.
        codec: makes the codes.
        folder: where to write; its owner deletes it.
        settings: the section `generator`; every training process is to have files of its own.
        seed: decides the order of rows.
        n_training: training rows in all.
    """
    codes = codec.expressions()
    order = hash_order(derive_seed(seed, "stage"), "request_id")
    staged = rows.select(
        "bin", "part", order.alias("order"), "request_id", F.col("position").alias("segment"),
        *(code.alias(name) for name, code in codes.items()),
    )  # fmt: skip
    each = max(1, n_training // (FILES_PER_PROCESS * settings.processes))
    # What is read at once is held in memory; and every training process has files of its own.
    per_file = min(MAX_FILE_ROWS, each if settings.processes > 1 else MAX_FILE_ROWS)
    (
        staged.repartition("bin", "part")
        .sortWithinPartitions("bin", "part", "order", "request_id")
        .drop("order", "request_id")
        .write.partitionBy("bin", "part")
        .option("maxRecordsPerFile", per_file)
        .mode("overwrite")
        .parquet(folder)
    )
    return _describe(rows.sparkSession, ("segment", *codes), folder)


def _describe(spark: SparkSession, columns: tuple[str, ...], folder: str) -> Snapshot:
    written = spark.read.parquet(folder)
    row_hash = F.xxhash64("part", *columns).cast("decimal(20,0)")
    counted = written.groupBy("bin", "part", "segment").agg(
        F.count("*").alias("n"), F.sum(row_hash).cast("decimal(38,0)").alias("hash")
    )
    # Bounded: three rows per segment.
    known = counted.orderBy("bin", "part", "segment").collect()
    urls = sorted(as_files(url) for url in written.inputFiles())
    sizes: dict[tuple[int, str], int] = {}
    sums: dict[int, int] = {}
    for row in known:
        sizes[row["bin"], row["part"]] = sizes.get((row["bin"], row["part"]), 0) + row["n"]
        sums[row["segment"]] = sums.get(row["segment"], 0) + int(row["hash"])
    parts = {
        (place, part): Part(_files(urls, place, part, columns), n)
        for (place, part), n in sizes.items()
    }
    prints = {segment: str(value) for segment, value in sums.items()}
    return Snapshot(columns, parts, str(sum(sums.values())), prints)


def _files(urls: Sequence[str], place: int, part: str, columns: tuple[str, ...]) -> Files:
    inside = f"/bin={place}/part={part}/"
    return Files(tuple(url for url in urls if inside in url), columns)


def scratch(settings: Settings, name: str) -> str:
    """Return the folder of this name under the scratch path, as Spark and all else can reach it.

    Raises:
        SettingsError: it lies where only Spark does.
    """
    base = as_files(settings.output.scratch_path)
    if base.startswith("dbfs:"):
        raise SettingsError(
            f"output.scratch: {base} can be reached by Spark only, and training reads files there; "
            "give a folder of a volume (/Volumes/...) or a URL of the cloud's storage"
        )
    if "://" not in base:
        base = str(Path(base.removeprefix("file:")).resolve())
    return f"{base}/{name}"


def as_files(url: str) -> str:
    """Return the path of what lies in a Databricks volume, which is mounted; other URLs as is."""
    return re.sub("^dbfs:/+Volumes/", "/Volumes/", url)


@contextmanager
def scratch_folder(settings: Settings, name: str) -> Iterator[str]:
    """Own a folder under the scratch path, empty at first, and delete it with all it holds."""
    folder = scratch(settings, name)
    # An attempt that was killed has left its rows, and how far it was.
    delete_folder(folder)
    try:
        yield folder
    finally:
        delete_folder(folder)


def delete_folder(folder: str) -> None:
    """Delete a folder of any file system with all it holds, if it is there."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    filesystem, path = url_to_fs(folder)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)
