"""The segments as an MLflow model: this file is stored with it and run when it is loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel  # type: ignore[attr-defined]

from rehearsal.segments.model import SegmentModel


class ServedSegments(PythonModel):
    """Features of users in, segments out, as `segment` assigns them, in plain numpy."""

    def load_context(self, context: Any) -> None:
        """Read the model; it is JSON and runs no code."""
        self.model = SegmentModel.from_json(Path(context.artifacts["model"]).read_text())

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return (segment_id, distance) per row; a column per feature by name, NaN = missing."""
        del context, params
        names = [feature.name for feature in self.model.preparation.features]
        found = self.model.assign(model_input[names].to_numpy(dtype=np.float64))
        return pd.DataFrame(
            {"segment_id": found.segment_ids, "distance": found.distance}, index=model_input.index
        )


set_model(ServedSegments())
