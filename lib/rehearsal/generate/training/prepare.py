"""What the generators of a run learn from: rows, codec, and what describes each segment."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import codec_fields, fit_codec
from rehearsal.generate.codec.rules import Field, Rules, make_rules
from rehearsal.generate.models.layout import Floats
from rehearsal.generate.sampling.budget import most_drifting, plan_budget
from rehearsal.generate.training.plan import CONTEXT, Share, plan_shares
from rehearsal.generate.training.profiles import (
    Profiles,
    effect_sizes,
    fit_profiles,
    segment_vectors,
)
from rehearsal.generate.training.stage import (
    TRAINING,
    count_by_segment,
    logged_rows,
    rows_of_users,
    training_rows,
)
from rehearsal.seeds import derive_seed
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
    """

    spark: SparkSession
    settings: Settings
    sources: Sources

    @cached_property
    def chosen(self) -> list[str]:
        """The drifting segments, worst first."""
        return most_drifting(self.sources.contributions, self.settings.generator.max_segments)

    @cached_property
    def _logged(self) -> DataFrame:
        rows = logged_rows(self.spark, self.settings, self.sources.segments)
        private = self.settings.generator.private
        return rows if private is None else rows_of_users(rows, private.max_user_rows, self.seed)

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
    def _counts(self) -> tuple[dict[str, int], int]:
        return count_by_segment(self._logged, self._rules.broken())

    @property
    def n_left_out(self) -> int:
        """How many rows break a declared range or constraint, and are not learnt from."""
        return self._counts[1]

    def close(self) -> None:
        """Let go of the kept rows."""
        self.rows.unpersist()

    @cached_property
    def shares(self) -> list[Share]:
        """What every segment brings, the drifting ones first."""
        return plan_shares(self._counts[0], self.chosen, self.settings.generator)

    @cached_property
    def rows(self) -> DataFrame:
        """The planned rows of all segments; kept."""
        sound = self._logged.where(~self._rules.broken())
        return training_rows(sound, self.shares, self.seed).persist()

    @cached_property
    def codec(self) -> Codec:
        """Fitted on the training rows."""
        # A targeted type gets a code of its own however rare: it is what will be asked for.
        targeted = plan_budget(self.sources.contributions, self.settings.augment)
        keep = {"request_type": sorted({cell.request_type for cell in targeted})}
        learnt = self.rows.where(F.col("part") == TRAINING)
        return fit_codec(learnt, self.fields, self.settings.generator, keep)

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
