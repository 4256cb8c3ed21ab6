"""Simulated tables as Spark frames, each row a function of (seed, id); nothing is shuffled."""

import math
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed, uniform
from rehearsal.simulate.outputs import SIDES, add_outputs
from rehearsal.simulate.plan import (
    CHANNELS,
    CLASSES,
    NEW_VERSION,
    OLD_VERSION,
    REQUEST_TYPES,
    Plan,
    Simulation,
    make_plan,
)

# Small enough that a task fits any heap; a function of size, so that files are the same anywhere.
_REQUESTS_PER_TASK = 500_000
_MISSING_AGE, _MISSING_AMOUNT, _MISSING_CHANNEL = 0.05, 0.05, 0.03
_PROFILE = ("age", "country", "plan")


def users(spark: SparkSession, simulation: Simulation, partitions: int | None = None) -> DataFrame:
    """Return (user_id, age, country, plan); some ages are missing."""
    return _people(spark, simulation, partitions).select("user_id", *_PROFILE)


def requests(
    spark: SparkSession, simulation: Simulation, partitions: int | None = None
) -> DataFrame:
    """Return the request log, with both models' outputs stored beside the features.

    (request_id, user_id, request_type, requested_at, amount, duration_s, channel, app_version,
    outcome) and `<model>_value`, `<model>_p_<class>` for production and experimental.
    """
    plan = make_plan(simulation)
    people = _people(spark, simulation, partitions)
    group = F.col("group")
    # The fraction is rounded up or down at random, which keeps the mean exact.
    n = F.lit([g.rate for g in plan.groups])[group] * (0.5 + _draw(simulation, "often", "user_id"))
    n = F.greatest(F.floor(n + _draw(simulation, "rounding", "user_id")), F.lit(1))
    turns = people.withColumn("turn", F.explode(F.sequence(F.lit(0), n.cast("int") - 1)))
    stride = plan.longest_history
    rows = turns.withColumn("request_id", F.col("user_id") * stride + F.col("turn"))
    rows = rows.withColumns({"requested_at": _instant(simulation, plan)})
    rows = rows.withColumns(_features(simulation, plan))
    for side in SIDES:
        rows = add_outputs(rows, simulation, side)
    rows = rows.withColumn("outcome", _outcome(simulation))
    keys = ("request_id", "user_id", "request_type", "requested_at")
    features = ("amount", "duration_s", "channel", "app_version", "outcome")
    outputs = ("value", *(f"p_{label}" for label in CLASSES))
    return rows.select(*keys, *features, *(f"{side}_{name}" for side in SIDES for name in outputs))


def truth_users(
    spark: SparkSession, simulation: Simulation, partitions: int | None = None
) -> DataFrame:
    """Return (user_id, group): the latent group of every user."""
    return _people(spark, simulation, partitions).select("user_id", "group")


def truth_drift(spark: SparkSession, simulation: Simulation) -> DataFrame:
    """Return (group, request_type, start, size): every cell whose outputs differ, since when.

    `size` is the shift of the experimental model in logits. Bounded by groups x types.
    """
    rows = [
        (g, REQUEST_TYPES[t], group.new_version_at, group.size)
        for g, group in enumerate(make_plan(simulation).groups)
        for t in group.drifting
    ]
    return spark.createDataFrame(
        rows, "`group` int, request_type string, start timestamp, size double"
    )


def _people(spark: SparkSession, simulation: Simulation, partitions: int | None) -> DataFrame:
    expected = simulation.n_users * simulation.requests_per_user
    tasks = partitions or math.ceil(expected / _REQUESTS_PER_TASK)
    plan = make_plan(simulation)
    ids = spark.range(simulation.n_users, numPartitions=tasks).withColumnRenamed("id", "user_id")
    rows = ids.withColumn("group", _pick(simulation, "group", plan.group_of_draw, "user_id"))
    mean_age = F.lit([group.mean_age for group in plan.groups])[F.col("group")]
    age = F.round(mean_age + 5 * _normal(simulation, "age", "user_id"))
    age = F.least(F.greatest(age, F.lit(16.0)), F.lit(90.0))
    missing = _draw(simulation, "age missing", "user_id") < _MISSING_AGE
    return rows.withColumns(
        {
            "age": F.when(~missing, age),
            "country": F.lit([group.country for group in plan.groups])[F.col("group")],
            "plan": F.lit([group.plan for group in plan.groups])[F.col("group")],
        }
    )


def _instant(simulation: Simulation, plan: Plan) -> Column:
    weeks = simulation.history_weeks + simulation.replay_weeks
    week = F.floor(_draw(simulation, "week") * weeks)
    day = _pick_in_group(simulation, "weekday", [group.weekdays for group in plan.groups])
    hour = _pick_in_group(simulation, "hour", [group.hours for group in plan.groups])
    second = F.floor(_draw(simulation, "second") * 3600)
    start = int(simulation.start.timestamp())
    return F.timestamp_seconds(start + ((week * 7 + day) * 24 + hour) * 3600 + second)


def _features(simulation: Simulation, plan: Plan) -> dict[str, Column]:
    kind = _pick_in_group(simulation, "type", [group.types for group in plan.groups])
    amount = F.round(F.exp(3 + 0.8 * _normal(simulation, "amount")), 2)
    keep_amount = _draw(simulation, "amount missing") >= _MISSING_AMOUNT
    channel = F.lit(list(CHANNELS))[F.floor(_draw(simulation, "channel") * len(CHANNELS))]
    keep_channel = _draw(simulation, "channel missing") >= _MISSING_CHANNEL
    rolled_out = [int(group.new_version_at.timestamp()) for group in plan.groups]
    new = F.unix_seconds("requested_at") >= F.lit(rolled_out)[F.col("group")]
    return {
        "request_type": F.lit(list(REQUEST_TYPES))[kind],
        "amount": F.when(keep_amount, amount),
        "duration_s": F.round(-30 * F.log1p(-_draw(simulation, "duration")), 3),
        "channel": F.when(keep_channel, channel),
        "app_version": F.when(new, NEW_VERSION).otherwise(OLD_VERSION),
    }


def _outcome(simulation: Simulation) -> Column:
    """What the user did, drawn from production's probabilities: production is calibrated."""
    draw = _draw(simulation, "outcome")
    first = F.col(f"production_p_{CLASSES[0]}")
    both = first + F.col(f"production_p_{CLASSES[1]}")
    return F.when(draw < first, CLASSES[0]).when(draw < both, CLASSES[1]).otherwise(CLASSES[2])


def _draw(simulation: Simulation, what: str, *key: str) -> Column:
    return uniform(derive_seed(simulation.seed, what), *(key or ("request_id",)))


def _normal(simulation: Simulation, what: str, *key: str) -> Column:
    radius = F.sqrt(-2 * F.log1p(-_draw(simulation, f"{what} radius", *key)))
    return radius * F.cos(2 * math.pi * _draw(simulation, f"{what} angle", *key))


def _pick(simulation: Simulation, what: str, table: Sequence[int], *key: str) -> Column:
    return F.lit(list(table))[F.floor(_draw(simulation, what, *key) * len(table)).cast("int")]


def _pick_in_group(simulation: Simulation, what: str, tables: Sequence[Sequence[int]]) -> Column:
    draw = F.floor(_draw(simulation, what) * len(tables[0])).cast("int")
    return F.lit([list(table) for table in tables])[F.col("group")][draw]
