"""Which logged rows are used, and for what: by hashes of their own ids, before any wide join."""

from collections.abc import Iterator, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.generate.training.plan import Share
from rehearsal.generate.training.stage import TEST, TRAINING, VALIDATION
from rehearsal.seeds import derive_seed, hash_order, uniform
from rehearsal.settings import Generator

_PLAN = "segment_id string, part string, position int, bin int, n_kept long, fraction double"
_HALF_RANGE = float(1 << 63)
# Of no run: what is held out must be so in all of them.
_PART_SEED = derive_seed(0, "parts of rows")


def part_of_row(settings: Generator) -> Column:
    """Return the STRING column `part`, decided by the request's id alone.

    The same in every segment and run, whatever the seed: a generator of an earlier run has not
    trained on what is test now, unless `test_share` was lower then. A private training has no
    validation part, since held-out rows may decide nothing.
    """
    validation = 0.0 if settings.private is not None else settings.validation_share
    drawn = uniform(_PART_SEED, "request_id")
    return (
        F.when(drawn < settings.test_share, F.lit(TEST))
        .when(drawn < settings.test_share + validation, F.lit(VALIDATION))
        .otherwise(F.lit(TRAINING))
    )


def count_sound(rows: DataFrame, broken: Column) -> tuple[dict[tuple[str, str], int], int]:
    """Return (segment, part) -> sound rows, and how many rows are broken.

    Bounded by the number of segments.
    """
    counted = rows.groupBy("segment_id", "part").agg(
        F.count_if(~broken).alias("n"), F.count_if(broken).alias("n_broken")
    )
    found = counted.collect()
    sound = {(row["segment_id"], row["part"]): row["n"] for row in found}
    return sound, sum(row["n_broken"] for row in found)


def near_rows(rows: DataFrame, shares: Sequence[Share], seed: int) -> DataFrame:
    """Return the rows that may be among the planned ones, with `position` and `bin`.

    A filter on the hash of the row's own id, put before what is shuffled or joined: almost nothing
    else is left of a segment that has many more rows than are kept.

    Args:
        rows: with `segment_id` and `part`; not all need be sound.
        shares: the plan.
        seed: decides which rows are kept of a part that has more.
    """
    plan = rows.sparkSession.createDataFrame([*_planned(shares)], _PLAN)
    hashed = hash_order(derive_seed(seed, "training"), "request_id")
    placed = rows.join(F.broadcast(plan), ["segment_id", "part"]).withColumn("order", hashed)
    near = placed.where(F.col("order") <= F.lit(_HALF_RANGE) * (2 * F.col("fraction") - 1))
    return near.drop("fraction")


def first_rows(near: DataFrame) -> DataFrame:
    """Return the planned rows of every segment and part, with their `place` among them, from 1.

    Args:
        near: the sound ones of `near_rows`.
    """
    by_hash = Window.partitionBy("segment_id", "part").orderBy("order", "request_id")
    ranked = near.withColumn("place", F.row_number().over(by_hash))
    return ranked.where(F.col("place") <= F.col("n_kept")).drop("order", "n_kept")


def _planned(shares: Sequence[Share]) -> Iterator[tuple[str, str, int, int, int, float]]:
    for share in shares:
        parts = zip((TEST, VALIDATION, TRAINING), share.logged, share.kept, strict=True)
        for part, logged, kept in parts:
            if kept > 0:
                reach = _reach(logged, kept)
                yield share.segment_id, part, share.position, share.bin, kept, reach


def _reach(logged: int, kept: int) -> float:
    """Return the share of the hash range that holds the first rows, with room to spare.

    Eight standard deviations of the number of rows found in it.
    """
    wanted = kept + 8 * kept**0.5 + 8
    return 1.0 if kept == logged else min(1.0, wanted / logged)
