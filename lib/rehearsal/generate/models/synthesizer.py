"""A codec and a generator over its token columns: tables in, tables out.

Imports torch with the generator: use where the work runs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.models.generator import (
    Fitted,
    Generator,
    Rows,
    fit_generator,
    load_generator,
)
from rehearsal.generate.models.layout import Codes, Floats
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

_CODEC, _ABOUT, _WEIGHTS = "codec.json", "synthesizer.json", "generator.safetensors"


class Synthesizer:
    """Synthetic rows for the conditions asked for.

    Args:
        codec: of the columns.
        generator: of the codec's token columns.
        profile: what describes the segment it speaks for, shape (n_profile,); none by default.
    """

    def __init__(self, codec: Codec, generator: Generator, profile: Sequence[float] = ()) -> None:
        if codec.sizes != generator.layout.sizes or len(profile) != generator.layout.n_profile:
            raise ModelError(
                f"the generator is of token columns of sizes {generator.layout.sizes} and a "
                f"profile of {generator.layout.n_profile}, the codec makes {codec.sizes} and the "
                f"profile given has {len(profile)}; they are not of the same fit"
            )
        self.codec = codec
        self.generator = generator
        self.profile: Floats = np.asarray(profile, dtype=np.float64)
        self.fitted: Fitted | None = None

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        conditions: Sequence[str] = (),
        *,
        kind: str = "vae",
        settings: Settings | None = None,
        seed: int = 1,
    ) -> "Synthesizer":
        """Return a synthesizer of a table in memory; `fitted` says how training went.

        Args:
            frame: the rows; numbers, booleans, instants, and anything else as categories.
            conditions: the columns whose values are given when sampling.
            kind: of the generator.
            settings: the section `generator`; the defaults otherwise.
            seed: of everything drawn.
        """
        settings = settings or Settings()
        codec = fit_codec_frame(frame, fields_of(frame, conditions), settings)
        codes = codec.encode(frame)
        order = np.random.default_rng(derive_seed(seed, "parts")).permutation(len(codes))
        n_validation = max(1, round(settings.validation_share * len(codes)))
        training, validation = (
            Rows(codes[part], np.zeros(len(part), dtype=np.int64), np.zeros((1, 0)))
            for part in (order[n_validation:], order[:n_validation])
        )
        feed = MemoryFeed(training, settings.batch_rows)
        fitted = fit_generator(kind, feed, validation, codec.layout(), settings, seed)
        made = cls(codec, fitted.generator)
        made.fitted = fitted
        return made

    def sample(
        self, n: int, condition: Mapping[str, Any] | pd.DataFrame | None = None, *, seed: int
    ) -> pd.DataFrame:
        """Return n rows, condition columns and generated ones, fixed by `seed`.

        Args:
            n: how many.
            condition: a value for every condition column, or a table of n rows of them.
            seed: of everything drawn.

        Raises:
            ModelError: a condition column has no value, or a value the training rows never had.
        """
        given = pd.DataFrame(condition if condition is not None else {}, index=range(n))
        missing = [c.name for c in self.codec.conditions if c.name not in given]
        if missing:
            raise ModelError(f"give a value for the condition columns {', '.join(missing)}")
        made = self.sample_codes(self.codec.encode_conditions(given), seed)
        return pd.concat([given, made], axis=1)

    def sample_codes(self, conditions: Codes, seed: int) -> pd.DataFrame:
        """Return the generated columns, one row per row of `conditions`, fixed by `seed`.

        Args:
            conditions: codes of the condition columns, shape (n, n_conditions).
            seed: of everything drawn.
        """
        profiles = np.broadcast_to(self.profile, (len(conditions), len(self.profile)))
        codes = self.generator.sample(conditions, np.ascontiguousarray(profiles), seed)
        return self.codec.decode(codes, np.random.default_rng(seed))

    def log_likelihood(self, frame: pd.DataFrame) -> Floats | None:
        """Return log p of rows in nats, of their codes given their conditions; None: undefined."""
        profiles = np.tile(self.profile, (len(frame), 1))
        return self.generator.log_likelihood(self.codec.encode(frame), profiles)

    def save(self, folder: Path) -> None:
        """Write JSON and safetensors, which hold no training row and run no code on loading."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"kind": self.generator.kind, "profile": self.profile.tolist()}
        (folder / _CODEC).write_text(self.codec.to_json())
        (folder / _ABOUT).write_text(json.dumps(about, sort_keys=True))
        (folder / _WEIGHTS).write_bytes(self.generator.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> "Synthesizer":
        """Return the synthesizer of `save`.

        Raises:
            ModelError: a file is damaged or they are not of the same fit.
        """
        about = json.loads((folder / _ABOUT).read_text())
        codec = Codec.from_json((folder / _CODEC).read_text())
        data = (folder / _WEIGHTS).read_bytes()
        layout = codec.layout(len(about["profile"]))
        return cls(codec, load_generator(about["kind"], layout, data), about["profile"])
