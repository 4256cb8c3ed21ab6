"""Control of false alarms over many tests."""

import numpy as np
from scipy.stats import false_discovery_control


def q_values(p_values: np.ndarray) -> np.ndarray:
    """Return Benjamini-Hochberg q-values; NaN (not tested) stays NaN and does not count."""
    q = np.full(len(p_values), np.nan)
    tested = ~np.isnan(p_values)
    if tested.any():
        q[tested] = false_discovery_control(p_values[tested], method="bh")
    return q
