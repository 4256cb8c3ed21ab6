"""Sample the budget from the synthesizers, in blocks whose randomness is their own.

A block depends on (seed, segment, request type, block number) alone, so that neither partitioning
nor the size of the cluster changes a row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from rehearsal.generate.codec.columns import TokenSource
from rehearsal.generate.gate.candidates import RESAMPLED
from rehearsal.generate.sampling.budget import Cell
from rehearsal.generate.sampling.serving import Bases, Serving
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed, hash_order, uniform

if TYPE_CHECKING:
    from rehearsal.generate.models.synthesizer import Synthesizer

BLOCK_ROWS = 2_000
BLOCKS_PER_ROW = 8
POOL_REQUESTS = 2_000
PLAN_ROWS_PER_TASK = 16

NUMBER, SEGMENT, VERSION, TYPE = (
    "rehearsal_number",
    "rehearsal_segment_id",
    "rehearsal_synthesizer_version",
    "rehearsal_base_request_type",
)
_SPARK_TYPES = {"continuous": "double", "categorical": "string", "datetime": "timestamp"}


@dataclass(frozen=True)
class Block:
    """Rows drawn together: `first` is the number of the first one within the run."""

    segment_id: str
    request_type: str
    block: int
    first: int
    n: int


def plan_blocks(cells: Sequence[Cell]) -> list[Block]:
    """Return the blocks of at most BLOCK_ROWS rows that fill the cells, numbered through."""
    blocks, first = [], 0
    for cell in sorted(cells):
        for block, start in enumerate(range(0, cell.n, BLOCK_ROWS)):
            n = min(BLOCK_ROWS, cell.n - start)
            blocks.append(Block(cell.segment_id, cell.request_type, block, first + start, n))
        first += cell.n
    return blocks


def borrowed_users(logged: DataFrame, conditions: Sequence[str], seed: int) -> DataFrame:
    """Return per targeted cell a bounded pool of users with their condition values.

    The pool is the users of at most POOL_REQUESTS of the cell's logged requests, taken in hash
    order: who sends a type often is borrowed often, as in the log.

    Args:
        logged: logged requests of the targeted cells, with profile attributes.
        conditions: the condition columns, less the request type.
        seed: decides which requests.
    """
    values = [F.col(quoted(name)).alias(f"condition_{i}") for i, name in enumerate(conditions)]
    member = F.struct("place", "user_id", *values)
    return (
        _first_of_cells(logged, derive_seed(seed, "users"))
        .groupBy("segment_id", "request_type")
        .agg(F.sort_array(F.collect_list(member)).alias("pool"))
    )


def _first_of_cells(logged: DataFrame, seed: int) -> DataFrame:
    """Return at most POOL_REQUESTS logged requests per cell in hash order, with their `place`."""
    ordered = logged.withColumn("order", hash_order(seed, "request_id"))
    by_order = Window.partitionBy("segment_id", "request_type").orderBy("order", "request_id")
    taken = ordered.withColumn("place", F.row_number().over(by_order))
    return taken.where(F.col("place") <= POOL_REQUESTS)


def sample_blocks(
    spark: SparkSession,
    blocks: Sequence[Block],
    serving: Serving,
    logged: DataFrame,
    columns: Sequence[TokenSource],
    seed: int,
) -> DataFrame:
    """Return the synthetic requests with canonical columns, provenance and a running number.

    A task loads each synthesizer once. A cell without logged requests has no user to borrow and
    gives no rows.

    Args:
        spark: the session.
        blocks: what to draw, of segments that a generator serves; not empty.
        serving: the generators.
        logged: logged requests of the targeted cells.
        columns: the generated columns wanted; those a generator does not know are null.
        seed: of the run.
    """
    plan_rows = _plan_rows(blocks)
    plan = spark.createDataFrame(plan_rows, _PLAN)
    pools = borrowed_users(logged, serving.bases.conditions, seed)
    n_rows = sum(block.n for block in blocks)
    tasks = max(1, n_rows // (BLOCK_ROWS * BLOCKS_PER_ROW), len(plan_rows) // PLAN_ROWS_PER_TASK)
    return (
        plan.join(serving.models, "segment_id")
        .join(pools, ["segment_id", "request_type"])
        .repartition(tasks, "segment_id", "request_type", "chunk")
        .mapInPandas(_sampler(serving.bases, columns, seed), _schema(columns))
    )


def resample_blocks(
    spark: SparkSession,
    blocks: Sequence[Block],
    logged: DataFrame,
    columns: Sequence[TokenSource],
    seed: int,
) -> DataFrame:
    """Return logged requests of the cells drawn again, with the columns of `sample_blocks`.

    For segments that no generator may serve. The version of these rows is `resampled`.
    """
    numbers = [(b.segment_id, b.request_type, b.first, b.n) for b in blocks]
    plan = spark.createDataFrame(numbers, "segment_id string, request_type string, f long, n long")
    number = F.explode(F.sequence("f", F.col("f") + F.col("n") - 1)).alias(NUMBER)
    wanted = plan.select("segment_id", "request_type", number)
    pool = _first_of_cells(logged, derive_seed(seed, "again"))
    cell = ["segment_id", "request_type"]
    sizes = pool.groupBy(*cell).agg(F.max("place").alias("n_pool"))
    drawn = uniform(derive_seed(seed, "which"), NUMBER) * F.col("n_pool")
    placed = wanted.join(F.broadcast(sizes), cell).withColumn("place", F.floor(drawn) + 1)
    made = [F.col(quoted(c.name)).cast(_SPARK_TYPES[c.kind]).alias(c.name) for c in columns]
    return placed.join(pool, [*cell, "place"]).select(
        NUMBER, "user_id", F.col("segment_id").alias(SEGMENT), F.lit(RESAMPLED).alias(VERSION),
        F.col("request_type").alias(TYPE), *made,
    )  # fmt: skip


_PLAN = (
    "segment_id string, request_type string, chunk int, "
    "blocks array<struct<block:int,first:bigint,n:int>>"
)


def _plan_rows(blocks: Sequence[Block]) -> list[tuple[Any, ...]]:
    chunks: dict[tuple[str, str, int], list[tuple[int, int, int]]] = {}
    for block in blocks:
        key = (block.segment_id, block.request_type, block.block // BLOCKS_PER_ROW)
        chunks.setdefault(key, []).append((block.block, block.first, block.n))
    return [(*key, members) for key, members in chunks.items()]


def _schema(columns: Sequence[TokenSource]) -> str:
    made = [f"{quoted(c.name)} {_SPARK_TYPES[c.kind]}" for c in columns]
    kept = [f"{name} string" for name in ("user_id", SEGMENT, VERSION, TYPE)]
    return ", ".join([f"{NUMBER} bigint", *kept, *made])


def _sampler(
    bases: Bases, columns: Sequence[TokenSource], seed: int
) -> Callable[[Iterable[pd.DataFrame]], Iterator[pd.DataFrame]]:
    names, conditions = [column.name for column in columns], bases.conditions

    def work(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        loaded: dict[str, Synthesizer] = {}
        for frame in frames:
            for row in frame.to_dict("records"):
                segment = str(row["segment_id"])
                if segment not in loaded:
                    loaded[segment] = bases.load(row)
                for block in row["blocks"]:
                    made = _draw(loaded[segment], conditions, row, block, seed)
                    yield made.reindex(columns=[NUMBER, "user_id", SEGMENT, VERSION, TYPE, *names])

    return work


def _draw(
    synthesizer: "Synthesizer",
    conditions: Sequence[str],
    row: Mapping[Any, Any],
    block: Any,
    seed: int,
) -> pd.DataFrame:
    segment_id, request_type, n = row["segment_id"], row["request_type"], block["n"]
    own_seed = derive_seed(seed, "block", segment_id, request_type, block["block"])
    pool = pd.DataFrame(list(row["pool"]))
    drawn = np.random.default_rng(own_seed).integers(0, len(pool), n)
    users = pool.iloc[drawn].reset_index(drop=True)
    asked = users.rename(columns={f"condition_{i}": name for i, name in enumerate(conditions)})
    asked["request_type"] = request_type
    given = {
        NUMBER: np.arange(block["first"], block["first"] + n),
        "user_id": users["user_id"],
        SEGMENT: segment_id,
        VERSION: row["synthesizer_version"],
        TYPE: request_type,
    }
    codes = synthesizer.codec.encode_conditions(asked)
    made = synthesizer.sample_codes(codes, derive_seed(own_seed, "values"))
    return pd.concat([pd.DataFrame(given, index=made.index), made], axis=1)
