"""Step 6 whole: budget, sampling, and how close the synthetic requests are to the logged ones."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.sampling.budget import Cell, plan_budget
from rehearsal.generate.sampling.fidelity import code_counts, compare
from rehearsal.generate.sampling.own_columns import no_rows, to_own_columns
from rehearsal.generate.sampling.sample import SEGMENT, plan_blocks, sample_blocks
from rehearsal.generate.training.stage import logged_rows
from rehearsal.seeds import derive_seed
from rehearsal.settings import Settings
from rehearsal.tables.schemas import FIDELITY
from rehearsal.tables.source import admit_requests, open_source, read_users


@dataclass(frozen=True)
class Synthesis:
    """The synthetic requests of a run, from its contributions and its fitted synthesizers."""

    spark: SparkSession
    settings: Settings
    run_id: str
    contributions: pd.DataFrame
    segments: DataFrame
    synthesizers: DataFrame

    @cached_property
    def cells(self) -> list[Cell]:
        """The targeted cells of segments that have a fitted synthesizer."""
        # Bounded: at most max_segments rows, without their weights.
        fitted = {row["segment_id"] for row in self._fitted.select("segment_id").collect()}
        known = self.contributions[self.contributions["segment_id"].isin(fitted)]
        return plan_budget(known, self.settings.augment)

    @property
    def n_planned(self) -> int:
        """How many requests the budget asks for."""
        return sum(cell.n for cell in self.cells)

    @cached_property
    def logged(self) -> DataFrame:
        """Logged requests of the targeted cells, with segment and profile attributes; kept."""
        chosen = sorted({cell.segment_id for cell in self.cells})
        rows = logged_rows(self.spark, self.settings, self.segments, chosen)
        cells = [(cell.segment_id, cell.request_type) for cell in self.cells]
        targeted = self.spark.createDataFrame(cells, "segment_id string, request_type string")
        joined = rows.join(F.broadcast(targeted), ["segment_id", "request_type"])
        # Read twice: for the users to borrow, and for the marginals.
        return joined.persist()

    def requests(self) -> DataFrame:
        """Return the rows of `synthetic_requests`, less the run's id; none without a budget."""
        settings = self.settings
        log = open_source(self.spark, settings.requests, "requests")
        if not self.cells:
            return no_rows(log, settings.requests.columns)
        seed = derive_seed(settings.seed, "synthesize")
        blocks = plan_blocks(self.cells)
        rows = sample_blocks(self.spark, blocks, self._fitted, self.logged, self._codec, seed)
        columns = settings.requests.columns
        return to_own_columns(rows, columns, log.schema, self._codec, self.run_id)

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
            return "no drifting segment has a fitted generator: nothing to synthesize"
        segments = len({cell.segment_id for cell in self.cells})
        return (
            f"{n_written:,} of {self.n_planned:,} budgeted requests synthesized "
            f"for {len(self.cells)} request types in {segments} segments"
        )

    def close(self) -> None:
        """Let go of the kept rows."""
        if self.cells:
            self.logged.unpersist()

    @property
    def _fitted(self) -> DataFrame:
        return self.synthesizers.where(F.col("status") == "fitted")

    @cached_property
    def _codec(self) -> Codec:
        # One codec serves the whole run.
        return Codec.from_json(self._fitted.select("codec_json").head()["codec_json"])  # type: ignore[index]
