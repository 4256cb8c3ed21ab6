"""The counts that DuckDB or Polars can make of the files of bench_drift_counts.py.

    python tests/benchmarks/peer_counts.py duckdb|polars FOLDER EDGES

Joint counts of value and class per segment and day; marginals and sums per request type. Prints
seconds and peak memory in MB. Needs the peer alone, not Rehearsal.
"""

import resource
import sys
import time
from collections.abc import Callable


def duckdb_counts(folder: str, edges: list[float]) -> None:
    import duckdb

    places = " + ".join(f"({{0}} >= {edge})::int" for edge in edges)
    best = "list_position({0}.probabilities, list_max({0}.probabilities))"
    columns = ", ".join(
        f"{best.format(side)} AS {side}_class, {places.format(side + '.value')} AS {side}_bin"
        for side in ("production", "experimental")
    )
    session = duckdb.connect()
    session.execute("SET threads = 2")
    session.execute(
        f"CREATE TEMP TABLE placed AS SELECT segment_id, request_type, "
        f"date_trunc('day', requested_at) AS day, production.value AS x, experimental.value AS y, "
        f"{columns} FROM '{folder}/replays/*.parquet' JOIN '{folder}/segments/*.parquet' "
        "USING (user_id)"
    )
    for name in ("class", "bin"):
        pair = f"production_{name}, experimental_{name}"
        group(session, pair, "count(*)")
        for side in ("production", "experimental"):
            group(session, f"request_type, {side}_{name}", "count(*)")
    sums = "count(*), sum(x), sum(y), sum(x * x), sum(y * y), sum((y - x) ^ 2), sum(abs(y - x))"
    group(session, "request_type", sums)


def group(session: object, keys: str, sums: str) -> None:
    query = f"SELECT segment_id, day, {keys}, {sums} FROM placed GROUP BY ALL"
    session.execute(query).fetchall()  # type: ignore[attr-defined]


def polars_counts(folder: str, edges: list[float]) -> None:
    import polars as pl

    placed = pl.scan_parquet(f"{folder}/replays/*.parquet").join(
        pl.scan_parquet(f"{folder}/segments/*.parquet"), on="user_id"
    )
    keys = ["segment_id", "day"]
    numbers = []
    for side, short in (("production", "x"), ("experimental", "y")):
        value = pl.col(side).struct.field("value")
        numbers += [
            pl.col(side).struct.field("probabilities").list.arg_max().alias(f"{side}_class"),
            value.cut(edges, left_closed=True).to_physical().alias(f"{side}_bin"),
            value.alias(short),
        ]
    day = pl.col("requested_at").dt.truncate("1d").alias("day")
    narrow = placed.select("segment_id", "request_type", day, *numbers)
    apart = pl.col("y") - pl.col("x")
    tables = []
    for name in ("class", "bin"):
        tables.append(narrow.group_by([*keys, f"production_{name}", f"experimental_{name}"]).len())
        tables += [
            narrow.group_by([*keys, "request_type", f"{side}_{name}"]).len()
            for side in ("production", "experimental")
        ]
    sums = [pl.len(), pl.sum("x", "y"), (pl.col("x") ** 2).sum().alias("xx"),
            (pl.col("y") ** 2).sum().alias("yy"), (apart**2).sum().alias("dd"),
            apart.abs().sum().alias("d")]  # fmt: skip
    tables.append(narrow.group_by([*keys, "request_type"]).agg(sums))
    pl.collect_all(tables, engine="streaming")


if __name__ == "__main__":
    peers: dict[str, Callable[[str, list[float]], None]] = {
        "duckdb": duckdb_counts,
        "polars": polars_counts,
    }
    began = time.perf_counter()
    cuts = [float(text) for text in sys.argv[3].split(",")]
    peers[sys.argv[1]](sys.argv[2], cuts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.perf_counter() - began, peak)
