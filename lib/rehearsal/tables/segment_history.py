"""Segments over time: which segmentation holds at an instant, and who is where then."""

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.tables.schemas import SEGMENTATIONS, SEGMENTS
from rehearsal.tables.store import Store


@dataclass(frozen=True)
class InForce:
    """The run whose assignments hold at an instant, and the fit they were made with."""

    run_id: str
    version: str


def in_force(store: Store, segmentation: str, instant: datetime) -> InForce:
    """Return the newest segmentation of this history that holds at `instant`.

    Raises:
        ContractError: none does.
    """
    held = store.read(SEGMENTATIONS, segmentation=segmentation)
    newest = held.where(F.col("valid_from") <= F.lit(instant)).orderBy(F.desc("valid_from"))
    row = newest.select("run_id", "segmentation_version").head()
    if row is None:
        raise ContractError(
            f"no segments of the history {segmentation!r} hold at {instant:%Y-%m-%d %H:%M}; "
            "`rehearsal segment` makes them (segments.name names the history)"
        )
    return InForce(row["run_id"], row["segmentation_version"])


def segments_as_of(store: Store, segmentation: str, instant: datetime) -> DataFrame:
    """Return (user_id, segment_id) as they hold at `instant`: one filter over the history."""
    return holding(store.read(SEGMENTS, segmentation=segmentation), instant).select(
        "user_id", "segment_id"
    )


def holding(history: DataFrame, instant: datetime) -> DataFrame:
    """Return the rows of `segments` that hold at `instant`."""
    at = F.lit(instant)
    ends = F.col("valid_to")
    return history.where((F.col("valid_from") <= at) & (ends.isNull() | (ends > at)))


def restore(store: Store, segmentation: str, runs: list[str]) -> None:
    """Take the history back to what `runs` made of it: what any other run did is undone.

    Rows that another run opened go, and rows it closed are open again. A run counts once its row
    of `segmentations` is written, so what a killed run left is taken back before the next one.
    """
    if not store.exists(SEGMENTS):
        return
    theirs = ~F.col("opened_by").isin(runs) | ~F.col("closed_by").isin(runs)
    if store.read(SEGMENTS, segmentation=segmentation).where(theirs).isEmpty():
        return
    # No run is called "", but an array of nothing would have no type.
    given = {"name": segmentation, "runs": F.array(*(F.lit(run) for run in ["", *runs]))}
    store.change(
        SEGMENTS,
        "DELETE FROM {table} WHERE segmentation = :name AND NOT array_contains(:runs, opened_by)",
        given,
    )
    store.change(
        SEGMENTS,
        "UPDATE {table} SET valid_to = NULL, closed_by = NULL "
        "WHERE segmentation = :name AND NOT array_contains(:runs, closed_by)",
        given,
    )


def record(
    store: Store, segmentation: str, run_id: str, instant: datetime, changes: DataFrame
) -> None:
    """Close the rows of users whose segment changed at `instant` and open their new ones.

    One MERGE of the changed rows only, atomic. `changes` holds (user_id, segment_id, is_noise,
    known), each user once: segment_id NULL = the user is gone, `known` = has an open row.
    """
    store.ensure(SEGMENTS)
    closing = changes.where("known").withColumn("merge_key", F.col("user_id"))
    opening = changes.where(F.col("segment_id").isNotNull()).withColumn(
        "merge_key", F.lit(None).cast("string")
    )
    store.change(
        SEGMENTS,
        "MERGE INTO {table} AS held USING {changes} AS new "
        "ON held.segmentation = :name AND held.user_id = new.merge_key AND held.valid_to IS NULL "
        "WHEN MATCHED THEN UPDATE SET valid_to = :instant, closed_by = :run "
        "WHEN NOT MATCHED AND new.merge_key IS NULL THEN INSERT "
        "(segmentation, user_id, segment_id, is_noise, valid_from, valid_to, opened_by, closed_by) "
        "VALUES (:name, new.user_id, new.segment_id, new.is_noise, :instant, NULL, :run, NULL)",
        {"name": segmentation, "run": run_id, "instant": instant},
        changes=closing.unionByName(opening),
    )
