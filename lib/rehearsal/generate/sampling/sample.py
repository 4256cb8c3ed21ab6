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

from rehearsal.generate.codec.columns import Categorical
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.sampling.budget import Cell
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed, hash_order

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


def borrowed_users(logged: DataFrame, codec: Codec, seed: int) -> DataFrame:
    """Return per targeted cell a bounded pool of users with their condition codes.

    The pool is the users of at most POOL_REQUESTS of the cell's logged requests, taken in hash
    order: who sends a type often is borrowed often, as in the log.

    Args:
        logged: logged requests of the targeted cells, with profile attributes.
        codec: of the synthesizers.
        seed: decides which requests.
    """
    order = hash_order(derive_seed(seed, "users"), "request_id")
    codes = list(codec.expressions(conditions_only=True).values())
    by_order = Window.partitionBy("segment_id", "request_type").orderBy("order", "request_id")
    pooled = logged.select(
        "segment_id", "request_type", "request_id", "user_id",
        order.alias("order"), F.array(*codes).alias("codes"),
    )  # fmt: skip
    taken = pooled.withColumn("place", F.row_number().over(by_order))
    return (
        taken.where(F.col("place") <= POOL_REQUESTS)
        .groupBy("segment_id", "request_type")
        .agg(F.sort_array(F.collect_list(F.struct("place", "user_id", "codes"))).alias("pool"))
    )


def sample_blocks(
    spark: SparkSession,
    blocks: Sequence[Block],
    synthesizers: DataFrame,
    logged: DataFrame,
    codec: Codec,
    seed: int,
) -> DataFrame:
    """Return the synthetic requests with canonical columns, provenance and a running number.

    Weights travel inside the plan's rows, one row per BLOCKS_PER_ROW blocks; a task loads each
    synthesizer once. A cell without logged requests has no user to borrow and gives no rows.

    Args:
        spark: the session.
        blocks: what to draw; not empty.
        synthesizers: fitted rows of `synthesizers`.
        logged: logged requests of the targeted cells.
        codec: of the synthesizers.
        seed: of the run.
    """
    plan_rows = _plan_rows(blocks)
    plan = spark.createDataFrame(plan_rows, _PLAN)
    models = synthesizers.select(
        "segment_id", "synthesizer_version", "codec_json", "network_json", "weights"
    )
    pools = borrowed_users(logged, codec, seed)
    n_rows = sum(block.n for block in blocks)
    tasks = max(1, n_rows // (BLOCK_ROWS * BLOCKS_PER_ROW), len(plan_rows) // PLAN_ROWS_PER_TASK)
    return (
        plan.join(models, "segment_id")
        .join(pools, ["segment_id", "request_type"])
        .repartition(tasks, "segment_id", "request_type", "chunk")
        .mapInPandas(_sampler(codec, seed), _schema(codec))
    )


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


def _schema(codec: Codec) -> str:
    made = [f"{quoted(c.name)} {_SPARK_TYPES[c.kind]}" for c in codec.generated]
    kept = [f"{name} string" for name in ("user_id", SEGMENT, VERSION, TYPE)]
    return ", ".join([f"{NUMBER} bigint", *kept, *made])


def _sampler(codec: Codec, seed: int) -> Callable[[Iterable[pd.DataFrame]], Iterator[pd.DataFrame]]:
    def work(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        # Heavy imports stay on the executors.
        from rehearsal.generate.models.synthesizer import Synthesizer

        loaded: dict[str, Synthesizer] = {}
        for frame in frames:
            for row in frame.to_dict("records"):
                version = row["synthesizer_version"]
                if version not in loaded:
                    parts = (row["codec_json"], row["network_json"], bytes(row["weights"]))
                    loaded[version] = Synthesizer.load(*parts)
                for block in row["blocks"]:
                    yield _draw(loaded[version], codec, row, block, seed)

    return work


def _draw(
    synthesizer: "Synthesizer", codec: Codec, row: Mapping[Any, Any], block: Any, seed: int
) -> pd.DataFrame:
    segment_id, request_type, n = row["segment_id"], row["request_type"], block["n"]
    own_seed = derive_seed(seed, "block", segment_id, request_type, block["block"])
    pool = row["pool"]
    drawn = np.random.default_rng(own_seed).integers(0, len(pool), n)
    conditions = np.array([list(user["codes"]) for user in pool], dtype=np.int64)[drawn]
    conditions[:, 0] = _asked(codec, request_type)
    users = np.array([user["user_id"] for user in pool], dtype=object)[drawn]
    given = {
        NUMBER: np.arange(block["first"], block["first"] + n),
        "user_id": users,
        SEGMENT: segment_id,
        VERSION: row["synthesizer_version"],
        TYPE: request_type,
    }
    made = synthesizer.sample(conditions, derive_seed(own_seed, "values"))
    return pd.concat([pd.DataFrame(given, index=made.index), made], axis=1)


def _asked(codec: Codec, request_type: str) -> int:
    column = codec.conditions[0]
    if not isinstance(column, Categorical):
        raise TypeError(f"the first condition is the request type, got {column.kind}")
    return int(column.encode([request_type])[0, 0])
