"""What the generators of a run learn from: rows, codec, and what describes each segment."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import codec_fields, fit_codec, resolution
from rehearsal.generate.codec.private import fit_private_codec
from rehearsal.generate.codec.rules import Field, Rules, make_rules
from rehearsal.generate.models.layout import Floats
from rehearsal.generate.models.privacy import Spend, spend
from rehearsal.generate.models.private_em import PASSES
from rehearsal.generate.sampling.budget import most_drifting, plan_budget
from rehearsal.generate.training.checkpoint import Checkpoint
from rehearsal.generate.training.plan import CONTEXT, Share, plan_private, plan_shares
from rehearsal.generate.training.private_rows import rows_of_users
from rehearsal.generate.training.profiles import (
    Profiles,
    effect_sizes,
    fit_profiles,
    segment_vectors,
)
from rehearsal.generate.training.rows import count_sound, first_rows, near_rows, part_of_row
from rehearsal.generate.training.stage import TRAINING, placed_rows, with_attributes
from rehearsal.names import quoted
from rehearsal.seeds import derive_seed, short_hash
from rehearsal.settings import Settings
from rehearsal.tables.source import open_source

FEW_ROWS = 2_000
"""Below it `auto` is a mixture: too few rows for a network."""


@dataclass(frozen=True)
class Sources:
    """What step 5 reads of earlier steps.

    Args:
        contributions: rows of `drift_contributions` of the run.
        segments: (user_id, segment_id), each user once.
        profiles: rows of `segment_profiles` in force.
    """

    contributions: pd.DataFrame
    segments: DataFrame
    profiles: pd.DataFrame


@dataclass(frozen=True)
class Prepared:
    """The training data of a run's generators; every part is made when first asked for.

    Args:
        spark: the session.
        settings: of the rehearsal.
        sources: what earlier steps left.
        checkpoints: folder of what outlives an attempt: a private codec, whose noise would be
            drawn, and its budget spent, a second time; None: nothing is kept.
    """

    spark: SparkSession
    settings: Settings
    sources: Sources
    checkpoints: str | None = None

    @cached_property
    def chosen(self) -> list[str]:
        """The drifting segments, worst first."""
        return most_drifting(self.sources.contributions, self.settings.generator.max_segments)

    @cached_property
    def budget(self) -> Spend | None:
        """What codec and generator together spend of a user's privacy; None: nothing is private."""
        private = self.settings.generator.private
        return None if private is None else spend(private, PASSES)

    @cached_property
    def _logged(self) -> DataFrame:
        """The rows of all segments with their part, without their users' attributes."""
        rows = placed_rows(self.spark, self.settings, self.sources.segments)
        if self.budget is not None:
            rows = rows_of_users(rows, self.budget.private.max_user_rows, self.seed)
        return rows.withColumn("part", part_of_row(self.settings.generator))

    @property
    def seed(self) -> int:
        """Of everything drawn in the step."""
        return derive_seed(self.settings.seed, "generators")

    @cached_property
    def fields(self) -> list[Field]:
        """The columns generators know, conditions first."""
        source = open_source(self.spark, self.settings.requests, "requests")
        return codec_fields(self.settings, source.schema)

    @cached_property
    def _rules(self) -> Rules:
        return make_rules(self.fields, self.settings.generator)

    @cached_property
    def _rules_name_attributes(self) -> bool:
        attributes = {field.name for field in self.fields if field.condition} - {"request_type"}
        ranges = {held.column for held in self._rules.ranges}
        return not attributes.isdisjoint(ranges | {*self._rules.columns})

    def _ruled(self, rows: DataFrame) -> DataFrame:
        """Return the rows with all that rules name: attributes, a wide join, only if need be."""
        return with_attributes(rows, self.settings) if self._rules_name_attributes else rows

    @cached_property
    def _planned(self) -> tuple[list[Share], int]:
        """The shares, and how many rows break a rule: one pass over the log."""
        generator = self.settings.generator
        counts, n_broken = count_sound(self._ruled(self._logged), self._rules.broken())
        if self.budget is None:
            return plan_shares(counts, self.chosen, generator), n_broken
        known = sorted(set(self.sources.profiles["segment_id"]))
        return plan_private(counts, self.chosen, known, generator), n_broken

    @property
    def n_left_out(self) -> int:
        """How many rows break a declared range or constraint, and are not learnt from."""
        return self._planned[1]

    def close(self) -> None:
        """Let go of the kept rows."""
        self.rows.unpersist()

    @property
    def shares(self) -> list[Share]:
        """What every segment brings, the drifting ones first."""
        return self._planned[0]

    @cached_property
    def rows(self) -> DataFrame:
        """The planned rows of all segments; kept."""
        return self.planned_rows().persist()

    def planned_rows(self) -> DataFrame:
        """Return the planned rows; users' attributes are joined to no more rows than need be."""
        near = self._ruled(near_rows(self._logged, self.shares, self.seed))
        planned = first_rows(near.where(~self._rules.broken()))
        return planned if self._rules_name_attributes else with_attributes(planned, self.settings)

    @cached_property
    def codec(self) -> Codec:
        """Fitted on the training rows."""
        # A targeted type gets a code of its own however rare: it is what will be asked for.
        targeted = plan_budget(self.sources.contributions, self.settings.augment)
        keep = {"request_type": sorted({cell.request_type for cell in targeted})}
        learnt = self.rows.where(F.col("part") == TRAINING)
        if self.budget is None:
            fine = resolution(self.settings.generator, sum(s.n_training for s in self.shares))
            return fit_codec(learnt, self.fields, fine, keep)
        # Bounded: plan_private lets at most max_total_rows through.
        frame = learnt.select(*(quoted(field.name) for field in self.fields)).toPandas()
        return self._private_codec(frame, self.budget, keep)

    def _private_codec(
        self, frame: pd.DataFrame, budget: Spend, keep: dict[str, list[str]]
    ) -> Codec:
        """Return the codec an attempt on the same rows and settings left, else one fitted now."""
        rows = pd.util.hash_pandas_object(frame, index=False).to_numpy().sum()
        # Noise is drawn, and budget spent, anew only where the codec itself may differ.
        known = self.settings.generator.model_dump_json(exclude={"gate"})
        key = short_hash("private codec", rows, known, self.fields, keep, self.seed)

        def fit() -> bytes:
            made = fit_private_codec(frame, self.fields, self.settings.generator, budget, keep)
            return made.to_json().encode()

        kept = Checkpoint(self.checkpoints, key).once("codec", fit) if self.checkpoints else fit()
        return Codec.from_json(kept.decode())

    @property
    def sound_rows(self) -> DataFrame:
        """The rows whose codes may stand together: a few in cut tails have none that may."""
        return self.rows.where(~self.codec.breaches())

    @cached_property
    def axes(self) -> Profiles:
        """What describes a segment to the generator."""
        return fit_profiles(self._effects)

    @cached_property
    def _effects(self) -> pd.DataFrame:
        return effect_sizes(self.sources.profiles)

    @cached_property
    def vectors(self) -> Floats:
        """The segments on the axes, shape (segments, axes), by position."""
        return segment_vectors(self.axes, self._effects, [s.segment_id for s in self.shares])

    @property
    def drifting(self) -> list[Share]:
        """The shares of the drifting segments, in their order."""
        return [share for share in self.shares if share.bin != CONTEXT]

    @property
    def kind(self) -> str:
        """Of the generator of all segments."""
        generator = self.settings.generator
        if generator.private is not None:
            return "mixture"
        if generator.kind != "auto":
            return generator.kind
        return "mixture" if sum(s.n_training for s in self.shares) < FEW_ROWS else "vae"
