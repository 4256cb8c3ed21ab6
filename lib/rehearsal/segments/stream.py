"""Segments of users as their features arrive: a Structured Streaming query into a Delta table."""

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.segments.assign import assign
from rehearsal.segments.model import SegmentModel


def assign_batches(model: SegmentModel, path: str, query: str) -> Callable[[DataFrame, int], None]:
    """Return a function for `foreachBatch` that appends each batch's segments to a Delta table.

        rows.writeStream.foreachBatch(assign_batches(model, path, "segments"))
            .option("checkpointLocation", ...).start()

    A batch that comes again after a restart is not written twice: Delta knows it by the query's
    name and the batch's number.

    Args:
        model: places users; `rows` must hold (user_id, features) in the order of its features.
        path: of the Delta table; columns user_id, segment_id, distance, batch_id.
        query: names the stream; another one may append to the same table.
    """

    def write(batch: DataFrame, batch_id: int) -> None:
        placed = assign(batch, model).select(
            "user_id", "segment_id", "distance", F.lit(batch_id).alias("batch_id")
        )
        writer = placed.write.format("delta").mode("append")
        writer.option("txnAppId", query).option("txnVersion", batch_id).save(path)

    return write
