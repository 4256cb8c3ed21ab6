"""A simulated release with planted truth, at any size: what the loop is tested and timed on."""

from rehearsal.simulate.plan import Simulation
from rehearsal.simulate.publish import log_models, write
from rehearsal.simulate.tables import requests, truth_drift, truth_users, users

__all__ = [
    "Simulation",
    "log_models",
    "requests",
    "truth_drift",
    "truth_users",
    "users",
    "write",
]
