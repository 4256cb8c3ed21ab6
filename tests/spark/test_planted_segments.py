"""The simulator's groups of users are found again from nothing but their log and profiles."""

import numpy as np
from pyspark.sql import SparkSession
from sklearn.metrics import adjusted_rand_score

from rehearsal import simulate
from rehearsal.segments.cluster.fit import fit_model
from rehearsal.segments.describe.activity import daily_activity
from rehearsal.segments.describe.features import choose_features, user_features
from rehearsal.settings import Segments, UserColumns
from rehearsal.simulate import Simulation

PROFILE = UserColumns(user_id="user_id", continuous=("age",), categorical=("country", "plan"))


def test_the_groups_of_a_simulated_log_are_its_segments(spark: SparkSession) -> None:
    simulation, settings = Simulation(n_users=2000, seed=3), Segments(k_min=8, k_max=16)
    users = simulate.users(spark, simulation)
    activity = daily_activity(simulate.requests(spark, simulation), None, "outcome").persist()
    as_of = simulation.replay_start
    features = choose_features(activity, users, PROFILE, settings, as_of, "outcome")
    rows = user_features(activity, users, features, settings, as_of)
    truth = rows.join(simulate.truth_users(spark, simulation), "user_id").persist()
    fit = fit_model(truth, features, settings, seed=7)
    held = truth.where("n_requests > 0").select("group", "features").toPandas()
    raw = np.array([[np.nan if x is None else x for x in row] for row in held["features"]])
    assert len(fit.model.segments) == simulation.n_segments
    assert adjusted_rand_score(held["group"], fit.model.assign(raw).labels) > 0.95
    activity.unpersist()
    truth.unpersist()
