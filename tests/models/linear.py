"""A model from code: P(yes) rises with `amount`; on `search` by the young it may be shifted."""

import mlflow
import numpy as np
import pandas as pd


class Linear(mlflow.pyfunc.PythonModel):
    def load_context(self, context) -> None:
        self.shift = float(context.model_config["shift"])
        self.fault = context.model_config.get("fault", "")

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        amount = model_input["amount"].fillna(5.0).to_numpy(float)
        young = (model_input["age"].fillna(50) < 30) & (model_input["kind"] == "search")
        # A little noise that is the same for the same request, so that outputs differ everywhere.
        noise = 0.05 * np.sin(1000 * amount * (1 + self.shift))
        yes = 1 / (1 + np.exp(-(amount - 5 + noise + self.shift * young)))
        if self.fault == "nan":
            yes = np.where(amount > 9, np.nan, yes)
        if self.fault == "short":
            yes = yes[:-1]
        return pd.DataFrame({"no": 1 - yes, "yes": yes})


mlflow.models.set_model(Linear())
