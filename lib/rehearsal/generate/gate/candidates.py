"""Who may serve a segment: fitted generators as plain values, in the order they are tried."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.instants import Datetime, epoch_seconds
from rehearsal.generate.models.generator import Generator
from rehearsal.generate.models.layout import Floats

SEGMENT, ALL, SERVING, RESAMPLED = "segment", "all", "serving", "resampled"


@dataclass(frozen=True)
class Candidate:
    """A generator that may serve a segment.

    Args:
        name: `segment`: with what the segment adds; `all`: the generator of all segments;
            `serving`: what an earlier run left serving.
        version: of the synthesizer.
        kind: of the generator.
        codec_json: its codec.
        base: the generator of all segments, safetensors.
        added: what the segment adds to it; None: nothing.
        profiles: segment id -> its numbers on the generator's axes.
    """

    name: str
    version: str
    kind: str
    codec_json: str
    base: bytes
    added: bytes | None
    profiles: Mapping[str, list[float]]

    def load(self) -> tuple[Codec, Generator]:
        """Return codec and generator. Imports torch for networks: use where the work runs."""
        from rehearsal.generate.models.loading import load_segment_generator

        codec = Codec.from_json(self.codec_json)
        layout = codec.layout(self._n_profile)
        return codec, load_segment_generator(self.kind, layout, self.base, self.added)

    def vectors(self, segments: pd.Series) -> Floats:
        """Return each row's segment on the generator's axes, shape (n, n_profile)."""
        rows = [self.profiles[segment] for segment in segments]
        return np.array(rows, dtype=np.float64).reshape(len(segments), self._n_profile)

    @property
    def _n_profile(self) -> int:
        return len(next(iter(self.profiles.values()), []))


def with_instants(frame: pd.DataFrame, codec: Codec) -> pd.DataFrame:
    """Return the frame with seconds since 1970 as timestamps where the codec has instants."""
    return frame.assign(
        **{c.name: _instants(frame[c.name]) for c in codec.generated if isinstance(c, Datetime)}
    )


def with_seconds(frame: pd.DataFrame, codec: Codec) -> pd.DataFrame:
    """Return the frame with instants as seconds since 1970, NaN where missing."""
    return frame.assign(
        **{c.name: epoch_seconds(frame[c.name]) for c in codec.generated if isinstance(c, Datetime)}
    )


def _instants(seconds: pd.Series) -> pd.Series:
    missing = seconds.isna().to_numpy()
    micros = (seconds.fillna(0).to_numpy(dtype=np.float64) * 1e6).astype(np.int64)
    return pd.Series(np.where(missing, np.datetime64("NaT", "us"), micros.view("<M8[us]")))
