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
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame, resolution
from rehearsal.generate.models.generator import (
    Fitted,
    Generator,
    Rows,
    fit_generator,
    load_generator,
)
from rehearsal.generate.models.layout import Codes, Floats
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.generate.models.table import Table, check_rows, check_table, plain, plain_conditions
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

_CODEC, _ABOUT, _WEIGHTS = "codec.json", "synthesizer.json", "generator.safetensors"


class Synthesizer:
    """Synthetic rows for the conditions asked for.

    Args:
        codec: of the columns.
        generator: of the codec's token columns.
        profile: what describes the segment it speaks for, shape (n_profile,); none by default.
        table: that it was fitted on, for the types of the columns sampled.
    """

    def __init__(
        self,
        codec: Codec,
        generator: Generator,
        profile: Sequence[float] = (),
        table: Table | None = None,
    ) -> None:
        if codec.sizes != generator.layout.sizes or len(profile) != generator.layout.n_profile:
            raise ModelError(
                f"the generator is of token columns of sizes {generator.layout.sizes} and a "
                f"profile of {generator.layout.n_profile}, the codec makes {codec.sizes} and the "
                f"profile given has {len(profile)}; they are not of the same fit"
            )
        self.codec = codec
        self.generator = generator
        self.profile: Floats = np.asarray(profile, dtype=np.float64)
        self.table = table or Table({}, {})
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

        Raises:
            ModelError: there are fewer than 2 rows that keep the rules: one to fit and one to
                decide when to stop; or no column to generate, or a column's name is no text; or
                privacy is asked for, which only the job can give.
        """
        settings = settings or Settings()
        if settings.private is not None:
            raise ModelError(
                "privacy is that of users, of whom a table in memory tells nothing; fit with "
                "rehearsal fit-generators, or leave 'private' out"
            )
        check_table(frame, conditions)
        rows = plain(frame)
        fine = resolution(settings, len(rows))
        codec = fit_codec_frame(rows, fields_of(rows, conditions), fine)
        codes = codec.encode(rows[~codec.breaches_in(rows)])
        check_rows(len(codes), " that keep the rules")
        order = np.random.default_rng(derive_seed(seed, "parts")).permutation(len(codes))
        n_validation = max(1, round(settings.validation_share * len(codes)))
        training, validation = (
            Rows(codes[part], np.zeros(len(part), dtype=np.int64), np.zeros((1, 0)))
            for part in (order[n_validation:], order[:n_validation])
        )
        feed = MemoryFeed(training, settings.batch_rows)
        fitted = fit_generator(kind, feed, validation, codec.layout(), settings, seed)
        made = cls(codec, fitted.generator, table=Table.of(frame, codec, codes))
        made.fitted = fitted
        return made

    def sample(
        self, n: int, condition: Mapping[str, Any] | pd.DataFrame | None = None, *, seed: int
    ) -> pd.DataFrame:
        """Return n rows, condition columns and generated ones, fixed by `seed`.

        Columns have the pandas types and the order of the table fitted on; what is no number,
        boolean or instant comes as text, also categories that were other objects, and integers
        beyond 2**53 as a double has them. A number asked for outside the range that rows had
        counts as the nearest end of it.

        Args:
            n: how many.
            condition: a value for every condition column, or a table of n rows of them.
            seed: of everything drawn.

        Raises:
            ModelError: a condition column has no value, or one of another kind, a table of them
                has not n rows, or a category is asked for that the training rows never had.
        """
        given = self._given(n, {} if condition is None else condition)
        asked = plain_conditions(given, self.codec.conditions)
        self.table.check(self.codec, asked)
        made = self.sample_codes(self.codec.encode_conditions(asked), seed)
        return self.table.restore(pd.concat([asked, made], axis=1))

    def _given(self, n: int, condition: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
        names = [column.name for column in self.codec.conditions]
        missing = [name for name in names if name not in condition]
        if missing:
            raise ModelError(f"give a value for the condition columns {', '.join(missing)}")
        if isinstance(condition, pd.DataFrame):
            if len(condition) != n:
                raise ModelError(
                    f"{n} rows are asked for, and conditions of {len(condition)} given"
                )
            return condition[names].reset_index(drop=True)
        return pd.DataFrame({name: condition[name] for name in names}, index=range(n))

    def sample_codes(self, conditions: Codes, seed: int) -> pd.DataFrame:
        """Return the generated columns, one row per row of `conditions`, fixed by `seed`.

        Args:
            conditions: codes of the condition columns, shape (n, n_conditions).
            seed: of everything drawn.
        """
        profiles = np.tile(self.profile, (len(conditions), 1))
        codes = self.generator.sample(conditions, profiles, seed)
        # Of another seed: the generator may have drawn the codes from the very same numbers.
        return self.codec.decode(codes, np.random.default_rng(derive_seed(seed, "values")))

    def log_likelihood(self, frame: pd.DataFrame) -> Floats | None:
        """Return log p of rows in nats, of their codes given their conditions; None: undefined."""
        profiles = np.tile(self.profile, (len(frame), 1))
        return self.generator.log_likelihood(self.codec.encode(plain(frame)), profiles)

    def save(self, folder: Path) -> None:
        """Write JSON and safetensors, which hold no training row and run no code on loading."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "kind": self.generator.kind,
            "profile": self.profile.tolist(),
            "table": self.table.to_dict(),
        }
        (folder / _CODEC).write_text(self.codec.to_json())
        (folder / _ABOUT).write_text(json.dumps(about, sort_keys=True))
        (folder / _WEIGHTS).write_bytes(self.generator.to_bytes())

    @classmethod
    def load(cls, folder: Path) -> "Synthesizer":
        """Return the synthesizer of `save`.

        Raises:
            ModelError: a file is damaged or they are not of the same fit.
        """
        data = (folder / _WEIGHTS).read_bytes()
        try:
            about = json.loads((folder / _ABOUT).read_text())
            codec = Codec.from_json((folder / _CODEC).read_text())
            kind, profile, table = about["kind"], about["profile"], Table.from_dict(about["table"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} holds no synthesizer: {error!r}; save it again") from error
        generator = load_generator(kind, codec.layout(len(profile)), data)
        return cls(codec, generator, profile, table)
