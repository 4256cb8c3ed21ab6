"""The generators that serve a run's segments, ready to be loaded on the executors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.errors import ModelError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.redate import redated
from rehearsal.generate.gate.candidates import ALL, RESAMPLED

if TYPE_CHECKING:
    from rehearsal.generate.models.synthesizer import Synthesizer


@dataclass(frozen=True)
class Base:
    """A generator of all segments, of one run: plain values."""

    kind: str
    codec_json: str
    weights: bytes


@dataclass(frozen=True)
class Bases:
    """The generators that segments' synthesizers are built on; travels to workers.

    Args:
        by_run: run -> its generator of all segments.
        codec_json: of this run.
    """

    by_run: Mapping[str, Base]
    codec_json: str

    @property
    def conditions(self) -> list[str]:
        """The condition columns, less the request type, of whichever generator."""
        known = [Codec.from_json(base.codec_json) for base in self.by_run.values()]
        names = [c.name for codec in known for c in codec.conditions if c.name != "request_type"]
        return list(dict.fromkeys(names))

    def load(self, row: Mapping[Any, Any]) -> "Synthesizer":
        """Return the synthesizer of a row of `Serving.models`. Imports torch for networks.

        Raises:
            ModelError: the run it builds on has no generator, or its weights are damaged.
        """
        from rehearsal.generate.models.loading import load_synthesizer

        base = self.by_run.get(row["base_run_id"])
        if base is None:
            raise ModelError(
                f"segment {row['segment_id']} is served by a generator of run "
                f"{row['base_run_id']}, which table synthesizers does not hold; fit the "
                "generators of this run again"
            )
        codec = redated(Codec.from_json(base.codec_json), Codec.from_json(self.codec_json))
        profile = [float(v) for v in row["profile"]]
        added = None if row["weights"] is None else bytes(row["weights"])
        return load_synthesizer(base.kind, codec, base.weights, added, profile)


@dataclass(frozen=True)
class Serving:
    """Who serves which segment.

    Args:
        models: segment_id, synthesizer_version, base_run_id, profile, weights (what the segment
            adds or NULL), of the segments that a generator serves.
        bases: what they are built on.
        codec: of this run.
    """

    models: DataFrame
    bases: Bases
    codec: Codec


def serving_of(synthesizers: DataFrame, all_bases: DataFrame, run_id: str) -> Serving:
    """Return who serves a run's segments.

    Args:
        synthesizers: the run's rows of `synthesizers`.
        all_bases: rows of `synthesizers` of any run whose segment_id is NULL.
        run_id: the run.
    """
    models = synthesizers.where(
        F.col("segment_id").isNotNull() & (F.col("served_by") != RESAMPLED)
    ).select(
        "segment_id", "synthesizer_version", "base_run_id", "profile",
        F.when(F.col("served_by") != ALL, F.col("weights")).alias("weights"),
    )  # fmt: skip
    # Bounded: the runs whose generators serve, two as a rule.
    runs = sorted({run_id, *(row[0] for row in models.select("base_run_id").distinct().collect())})
    columns = ("run_id", "kind", "codec_json", "weights")
    rows = {
        row["run_id"]: row
        for row in all_bases.where(F.col("run_id").isin(runs)).select(*columns).collect()
    }
    bases = {
        run: Base(row["kind"], row["codec_json"], bytes(row["weights"]))
        for run, row in rows.items()
        if row["weights"] is not None
    }
    own = rows[run_id]["codec_json"]
    return Serving(models, Bases(bases, own), Codec.from_json(own))
