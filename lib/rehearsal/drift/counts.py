"""One aggregation over replays into counts that add over windows and segments.

Requests fall into cells (segment, window, request type, bins under both models); the stored rows
are sums over cells: joint counts per segment and window, marginal counts and moments per request
type. The cube of cells itself would not be smaller than the log.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.drift.bins import Bins, class_bin, value_bin
from rehearsal.sums import stable_sum
from rehearsal.tables.schemas import COLD

_CELL = ("segment_id", "window_start", "request_type")
_SUMS = (
    "sum_production", "sum_experimental", "sum_production_sq", "sum_difference_sq",
    "sum_difference_4",
)  # fmt: skip


def drift_counts(
    replays: DataFrame, segments: DataFrame, bins: Bins, window: str, kpis: Sequence[str]
) -> DataFrame:
    """Return the rows of `drift_counts`, less run and versions.

    Args:
        replays: rows of one run, logged requests only.
        segments: (user_id, segment_id); users without one count as 'cold'.
        bins: pinned edges and classes.
        window: day, week or month; weeks start on Monday, all in UTC.
        kpis: names in `replays.kpis`.
    """
    placed = _place(replays, segments, bins, window, kpis)
    counted = _cells_to_rows(_cells(placed, bins, kpis), bins, kpis)
    size = placed.groupBy("segment_id", "window_start").agg(
        F.count("*").alias("n_requests"),
        F.count_distinct("user_id").alias("n_users"),
    )
    size = size.withColumns({"kind": F.lit("size"), "output": F.lit("all")})
    step = {"day": F.make_dt_interval(days=F.lit(1)), "week": F.make_dt_interval(days=F.lit(7))}
    length = step.get(window, F.make_ym_interval(months=F.lit(1)))
    return counted.unionByName(size, allowMissingColumns=True).withColumns(
        {"granularity": F.lit(window), "window_end": F.col("window_start") + length}
    )


def _place(
    replays: DataFrame, segments: DataFrame, bins: Bins, window: str, kpis: Sequence[str]
) -> DataFrame:
    joined = replays.join(segments.select("user_id", "segment_id"), "user_id", "left")
    columns: dict[str, Column] = {
        "segment_id": F.coalesce("segment_id", F.lit(COLD)),
        "window_start": F.date_trunc(window, "requested_at"),
    }
    for output in bins.outputs:
        for short, side in (("p", "production"), ("e", "experimental")):
            columns[f"{output}_{short}"] = (
                value_bin(F.col(f"{side}.value"), bins.edges)
                if output == "value"
                else class_bin(F.col(f"{side}.probabilities"))
            )
    pairs = {"value": ("production.value", "experimental.value")} if bins.edges else {}
    pairs |= {kpi: (f"kpis.{kpi}.production", f"kpis.{kpi}.experimental") for kpi in kpis}
    for i, (first, second) in enumerate(pairs.values()):
        columns[f"x{i}"], columns[f"y{i}"] = F.col(first), F.col(second)
    return joined.select(
        "user_id", "request_type", *(column.alias(name) for name, column in columns.items())
    )


def _cells(placed: DataFrame, bins: Bins, kpis: Sequence[str]) -> DataFrame:
    keys = [f"{output}_{side}" for output in bins.outputs for side in "pe"]
    aggregates = [F.count("*").alias("n")]
    units = [*([bins.unit] if bins.edges else []), *(1.0 for _ in kpis)]
    for i, unit in enumerate(units):
        both = F.col(f"x{i}").isNotNull() & F.col(f"y{i}").isNotNull()
        x, d = F.col(f"x{i}") / unit, (F.col(f"y{i}") - F.col(f"x{i}")) / unit
        terms = (x, F.col(f"y{i}") / unit, x * x, d * d, d * d * d * d)
        powers = (1, 1, 2, 2, 4)
        aggregates += [F.count_if(both).alias(f"n{i}")]
        aggregates += [
            (stable_sum(F.when(both, term)) * F.lit(unit**power)).alias(f"{name}_{i}")
            for term, power, name in zip(terms, powers, _SUMS, strict=True)
        ]
    return placed.groupBy(*_CELL, *keys).agg(*aggregates)


def _cells_to_rows(cells: DataFrame, bins: Bins, kpis: Sequence[str]) -> DataFrame:
    rows: list[Column] = []
    for output in bins.outputs:
        p, e = F.col(f"{output}_p"), F.col(f"{output}_e")
        rows += [
            _row("joint", output, bin_production=p, bin_experimental=e),
            _row("marginal", output, request_type=True, bin_production=p),
            _row("marginal", output, request_type=True, bin_experimental=e),
        ]
    for i, output in enumerate([*(["value"] if bins.edges else []), *kpis]):
        rows.append(_row("moments", output, request_type=True, moments=i))
    exploded = cells.select("segment_id", "window_start", F.inline(F.array(*rows)))
    keys = ("segment_id", "window_start", "kind", "output", "request_type", "bin_production",
            "bin_experimental")  # fmt: skip
    return exploded.groupBy(*keys).agg(
        F.sum("n_requests").alias("n_requests"), *(F.sum(name).alias(name) for name in _SUMS)
    )


def _row(
    kind: str,
    output: str,
    *,
    request_type: bool = False,
    bin_production: Column | None = None,
    bin_experimental: Column | None = None,
    moments: int | None = None,
) -> Column:
    nothing = F.lit(None)
    n = F.col("n" if moments is None else f"n{moments}")
    sums = [
        (F.col(f"{name}_{moments}") if moments is not None else nothing).cast("double").alias(name)
        for name in _SUMS
    ]
    return F.struct(
        F.lit(kind).alias("kind"),
        F.lit(output).alias("output"),
        (F.col("request_type") if request_type else nothing).cast("string").alias("request_type"),
        _bin(bin_production).alias("bin_production"),
        _bin(bin_experimental).alias("bin_experimental"),
        n.alias("n_requests"),
        *sums,
    )


def _bin(column: Column | None) -> Column:
    return (F.lit(None) if column is None else column).cast("int")
