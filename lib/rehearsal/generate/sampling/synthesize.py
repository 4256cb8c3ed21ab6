"""Step 6 whole: budget, sampling, and how close the synthetic requests are to the logged ones."""

from dataclasses import dataclass
from functools import cached_property, reduce

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate.candidates import RESAMPLED
from rehearsal.generate.sampling.budget import Cell, plan_budget
from rehearsal.generate.sampling.fidelity import code_counts, compare
from rehearsal.generate.sampling.own_columns import no_rows, to_own_columns
from rehearsal.generate.sampling.sample import (
    SEGMENT,
    plan_blocks,
    resample_blocks,
    sample_blocks,
)
from rehearsal.generate.sampling.serving import Serving, serving_of
from rehearsal.generate.training.stage import logged_rows
from rehearsal.seeds import derive_seed
from rehearsal.settings import Settings
from rehearsal.tables.schemas import FIDELITY
from rehearsal.tables.source import admit_requests, open_source, read_users


@dataclass(frozen=True)
class Synthesis:
    """The synthetic requests of a run, from its contributions and its synthesizers.

    Args:
        spark: the session.
        settings: of the rehearsal.
        run_id: part of every request id.
        contributions: rows of `drift_contributions` of the run.
        segments: (user_id, segment_id), each user once.
        synthesizers: rows of the run.
        all_bases: rows of `synthesizers` of any run that are of all segments.
    """

    spark: SparkSession
    settings: Settings
    run_id: str
    contributions: pd.DataFrame
    segments: DataFrame
    synthesizers: DataFrame
    all_bases: DataFrame

    @cached_property
    def _served(self) -> dict[str, str]:
        """Segment -> who serves it. Bounded: at most max_segments rows, without their weights."""
        rows = self.synthesizers.where(F.col("segment_id").isNotNull())
        return {
            r["segment_id"]: r["served_by"]
            for r in rows.select("segment_id", "served_by").collect()
        }

    @cached_property
    def cells(self) -> list[Cell]:
        """The targeted cells of segments that something serves."""
        known = self.contributions[self.contributions["segment_id"].isin(list(self._served))]
        return plan_budget(known, self.settings.augment)

    @property
    def n_planned(self) -> int:
        """How many requests the budget asks for."""
        return sum(cell.n for cell in self.cells)

    @cached_property
    def logged(self) -> DataFrame:
        """Logged requests of the targeted cells, with segment and profile attributes; kept."""
        cells = [(cell.segment_id, cell.request_type) for cell in self.cells]
        targeted = self.spark.createDataFrame(cells, "segment_id string, request_type string")
        # Read twice: for the users to borrow, and for the marginals.
        return logged_rows(self.spark, self.settings, self.segments, targeted).persist()

    def requests(self) -> DataFrame:
        """Return the rows of `synthetic_requests`, less the run's id; none without a budget."""
        settings = self.settings
        log = open_source(self.spark, settings.requests, "requests")
        if not self.cells:
            return no_rows(log, settings.requests.columns)
        columns = settings.requests.columns
        return to_own_columns(self._drawn(), columns, log.schema, self._codec, self.run_id)

    def _drawn(self) -> DataFrame:
        """Return what generators and, where none may serve, logged requests give."""
        seed = derive_seed(self.settings.seed, "synthesize")
        made: list[DataFrame] = []
        again = {name for name, who in self._served.items() if who == RESAMPLED}
        blocks = plan_blocks(self.cells)
        columns = self._codec.generated
        fresh = [block for block in blocks if block.segment_id not in again]
        if fresh:
            made.append(sample_blocks(self.spark, fresh, self._serving, self.logged, columns, seed))
        rest = [block for block in blocks if block.segment_id in again]
        if rest:
            made.append(resample_blocks(self.spark, rest, self.logged, columns, seed))
        return reduce(DataFrame.unionByName, made)

    def fidelity(self, written: DataFrame) -> DataFrame:
        """Return the rows of `fidelity`, less the run's id.

        Args:
            written: this run's slice of `synthetic_requests`, read through the column mapping as
                every later step reads it.
        """
        names = [name for name in FIDELITY.schema.names if name != "run_id"]
        schema = type(FIDELITY.schema)([FIDELITY.schema[name] for name in names])
        if not self.cells:
            return self.spark.createDataFrame([], schema)
        admitted = admit_requests(written, self.settings, "synthetic_requests", original=True).rows
        synthetic = admitted.withColumn("segment_id", F.col(f"original.{SEGMENT}"))
        if self.settings.users is not None:
            profiles = read_users(self.spark, self.settings.users).rows
            synthetic = synthetic.join(profiles, "user_id", "left")
        codec = self._codec
        compared = compare(code_counts(self.logged, codec), code_counts(synthetic, codec), codec)
        return self.spark.createDataFrame(compared[names], schema)

    def summary(self, n_written: int) -> str:
        """Return the step in one line."""
        if not self.cells:
            return "no segment drifts: nothing to synthesize"
        segments = {cell.segment_id for cell in self.cells}
        again = sum(self._served[segment] == RESAMPLED for segment in segments)
        told = f", {again} of them with logged requests again: no generator passed" if again else ""
        return (
            f"{n_written:,} of {self.n_planned:,} budgeted requests synthesized "
            f"for {len(self.cells)} request types in {len(segments)} segments{told}"
        )

    def close(self) -> None:
        """Let go of the kept rows."""
        if self.cells:
            self.logged.unpersist()

    @cached_property
    def _serving(self) -> Serving:
        return serving_of(self.synthesizers, self.all_bases, self.run_id)

    @property
    def _codec(self) -> Codec:
        return self._serving.codec
