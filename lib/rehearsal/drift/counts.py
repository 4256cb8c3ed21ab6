"""Replays to counts: one scan, one shuffle by user, sums that add over windows and segments.

Requests are cut down to the few numbers that count, shuffled once by user in packets, placed in
segments where they meet their users', and summed in numpy over parts that hold whole users: so that
what clustering by user needs, products of each user's own sums, comes out of the same pass.
"""

from math import ceil

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins
from rehearsal.drift.by_user import PACKETS, ByUser
from rehearsal.drift.kpis import Kpis, ratios_of
from rehearsal.drift.layout import Layout, Output
from rehearsal.drift.merge import MERGED, Merge
from rehearsal.drift.narrow import narrow, outputs_of, user_hash, window_start
from rehearsal.drift.spread import Spread
from rehearsal.drift.tally import PARTIAL, Tally
from rehearsal.settings import Window

_ROWS_PER_PART = 1_000_000
_MERGERS = 200
_KEYS = ("segment_id", "window", "request_type")


def drift_counts(
    replays: DataFrame,
    segments: DataFrame,
    bins: Bins,
    window: Window,
    kpis: Kpis,
    *,
    graded: bool = False,
) -> DataFrame:
    """Return the rows of `drift_counts`, less run and versions.

    The number of partitions follows from the number of rows alone, and what is summed where from
    a hash of the user: the sums are the same to the last bit on any cluster.

    Args:
        replays: rows of one run, logged requests only.
        segments: (user_id, segment_id), a user once; users without one count as 'cold'.
        bins: pinned edges and classes.
        window: day, week or month; weeks start on Monday, all in UTC.
        kpis: names in `replays.kpis`, and ratios of two of them.
        graded: `replays.outcome` holds what happened, so that classes can be graded.
    """
    layout, ratios = layout_of(bins, kpis, graded=graded), ratios_of(kpis)
    names = tuple(output.name for output in layout.outputs)
    parts = max(ceil(replays.count() / _ROWS_PER_PART), 1)
    keys = _keys_of_partitions(replays.sparkSession, parts)
    requests = narrow(replays, bins, window, names, ratios).mapInArrow(
        ByUser(keys, Spread(names, bins.classes, frozenset(ratios))), PACKETS
    )
    held = segments.select(user_hash(), "segment_id").mapInArrow(ByUser(keys), PACKETS)
    by_part = requests.unionAll(held).repartition(parts, "part").sortWithinPartitions("part")
    partial = by_part.mapInArrow(Tally(layout, bins.edges), PARTIAL)
    sorted_parts = partial.repartition(min(parts, _MERGERS), *_KEYS).sortWithinPartitions(
        *_KEYS, "piece", "part"
    )
    merged = sorted_parts.mapInArrow(Merge(layout), MERGED)
    index = F.col("window")
    return merged.select(
        "segment_id",
        window_start(index, window).alias("window_start"),
        window_start(index + 1, window).alias("window_end"),
        F.lit(window).alias("granularity"),
        *(name for name in merged.columns if name not in ("segment_id", "window")),
    )


def layout_of(bins: Bins, kpis: Kpis, *, graded: bool) -> Layout:
    """Return where the sums of these outputs lie in a row."""
    sizes = {name: bins.size(name) for name in bins.outputs}
    names, ratios = outputs_of(bins, kpis, graded=graded), ratios_of(kpis)
    return Layout(tuple(Output(name, sizes.get(name, 0), name in ratios) for name in names))


def _keys_of_partitions(spark: SparkSession, n: int) -> tuple[int, ...]:
    """Return n numbers that `repartition(n)` puts in n different partitions, as far as found."""
    numbers = spark.range(20 * n).select(F.col("id").cast("int").alias("key"))
    place = F.pmod(F.hash("key"), F.lit(n)).alias("place")
    # Bounded: a few numbers per million requests.
    found = dict(reversed([tuple(row) for row in numbers.select(place, "key").collect()]))
    return tuple(found.get(place, place) for place in range(n))
