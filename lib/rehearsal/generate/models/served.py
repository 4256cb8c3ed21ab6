"""The synthesizer as an MLflow model: this file is stored with it and run when it is loaded."""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from rehearsal.generate.models.synthesizer import Synthesizer


class ServedSynthesizer(PythonModel):
    """Conditions in, generated columns out."""

    def load_context(self, context: Any) -> None:
        """Read codec, shape and weights; none of them runs code."""
        paths = {part: Path(path) for part, path in context.artifacts.items()}
        self.synthesizer = Synthesizer.load(
            paths["codec"].read_text(),
            paths["network"].read_text(),
            paths["weights"].read_bytes(),
        )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row of generated columns per row of condition columns."""
        del context
        codes = self.synthesizer.codec.encode_conditions(model_input)
        return self.synthesizer.sample(codes, int((params or {}).get("seed", 1)))


set_model(ServedSynthesizer())
