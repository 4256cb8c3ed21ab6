"""The synthesizers of a run as an MLflow model: stored with it, and run when it is loaded."""

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from rehearsal.errors import ModelError
from rehearsal.generate.codec.columns import OTHER, Categorical, texts
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.models.loading import load_synthesizer
from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.generate.models.table import listed


class ServedSynthesizers(PythonModel):
    """Conditions in, generated columns out, for the segment named in the parameters."""

    def load_context(self, context: Any) -> None:
        """Read codec, profiles and weights; none of them runs code."""
        paths = {part: Path(path) for part, path in context.artifacts.items()}
        self.codec = Codec.from_json(paths["codec"].read_text())
        self.base = paths["generator"].read_bytes()
        self.added = paths["segments"]
        self.about = json.loads((self.added / "index.json").read_text())

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row of generated columns per row of condition columns.

        A category without a code counts as one of the rare ones; a warning says so.
        """
        del context
        given = params or {}
        synthesizer = self._synthesizer(str(given.get("segment_id", "")))
        codes = self.codec.encode_conditions(model_input)
        self._warn_of_others(model_input)
        return synthesizer.sample_codes(codes, int(given.get("seed", 1)))

    def _warn_of_others(self, conditions: pd.DataFrame) -> None:
        for column in self.codec.conditions:
            if isinstance(column, Categorical):
                values = conditions[column.name]
                is_other = column.encode(values)[:, 0] == OTHER
                # Not refused: rare ones were trained on, and the codec does not tell which.
                strange = {*texts(values[is_other])} - {name for name, _ in column.pooled}
                if strange:
                    warnings.warn(
                        f"no code is of {column.name} = {listed(sorted(strange))}, taken for a "
                        f"rare one; of their own are {listed(column.kept)}",
                        stacklevel=3,
                    )

    def _synthesizer(self, segment_id: str) -> Synthesizer:
        segments = self.about["segments"]
        if segment_id not in segments:
            raise ModelError(
                f"no segment {segment_id!r}; give params={{'segment_id': one of "
                f"{', '.join(sorted(segments))}}}"
            )
        own = segments[segment_id]
        added = (self.added / own["file"]).read_bytes() if own["file"] else None
        return load_synthesizer(self.about["kind"], self.codec, self.base, added, own["profile"])


set_model(ServedSynthesizers())
