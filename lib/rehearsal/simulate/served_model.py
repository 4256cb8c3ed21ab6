"""A simulated model as MLflow runs it: code and settings, no pickle. MLflow executes this file."""

from typing import Any

import mlflow
import pandas as pd

from rehearsal.simulate.outputs import output_arrays
from rehearsal.simulate.plan import Simulation


class SimulatedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Answers with `value` and the probability of every class."""

    def load_context(self, context: Any) -> None:
        """Read which model this is and of which simulation."""
        config = context.model_config
        self.side = config["side"]
        self.simulation = Simulation.model_validate(config["simulation"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row of outputs per request."""
        del context, params
        return output_arrays(self.simulation, self.side, model_input)


mlflow.models.set_model(SimulatedModel())
