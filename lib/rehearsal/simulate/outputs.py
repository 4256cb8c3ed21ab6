"""The two simulated models, once as Spark columns and once in numpy; tests hold them equal.

Both answer from request features and profile alone. Each adds noise of its own, drawn from the
same distribution by a hash of two features: without drift the outputs of a request differ, but
their distributions do not.
"""

import math
from typing import Literal

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed
from rehearsal.simulate.plan import CLASSES, NEW_VERSION, REQUEST_TYPES, Plan, Simulation, make_plan

Side = Literal["production", "experimental"]
SIDES: tuple[Side, Side] = ("production", "experimental")
INPUTS = {
    "request_type": "string", "amount": "double", "duration_s": "double", "channel": "string",
    "app_version": "string", "age": "double", "country": "string", "plan": "string",
}  # fmt: skip
_NOISE_KEYS = (("amount", 100), ("duration_s", 1000))
_MIXED = "__mixed"
_MASK = 0xFFFF_FFFF
_MIX = 0x045D_9F3B  # products with 32 bits stay below 2**63
_TYPICAL_AMOUNT, _TYPICAL_AGE = 20.0, 40.0
_AMOUNT_WEIGHT, _AGE_WEIGHT = 0.9, 0.02
_PHONE, _PHONE_EFFECT, _BROWSE = "phone", -0.4, 0.3


def add_outputs(rows: DataFrame, simulation: Simulation, side: Side) -> DataFrame:
    """Return `rows`, which hold `INPUTS`, with `<side>_value` and `<side>_p_<class>` added.

    Columns used more than once are named step by step, or Spark would write each out in full.
    """
    noise, latent = _noise_column(simulation, side), f"__{side}_latent"
    for step in noise[:-1]:
        rows = rows.withColumn(_MIXED, step)
    rows = rows.withColumn(latent, _latent(simulation, side, noise[-1])).drop(_MIXED)
    weights = (F.exp(latent), F.lit(math.exp(_BROWSE)), F.exp(-F.col(latent)))
    names = [f"{side}_p_{label}" for label in CLASSES]
    rows = rows.withColumns(dict(zip(names, weights, strict=True)))
    total = f"__{side}_total"
    rows = rows.withColumn(total, sum((F.col(name) for name in names), F.lit(0.0)))
    shares = {name: F.col(name) / F.col(total) for name in names}
    value = {f"{side}_value": 1 / (1 + F.exp(-F.col(latent)))}
    return rows.withColumns({**shares, **value}).drop(latent, total)


def _latent(simulation: Simulation, side: Side, noise: Column) -> Column:
    plan = make_plan(simulation)
    amount = F.coalesce("amount", F.lit(_TYPICAL_AMOUNT))
    latent = _AMOUNT_WEIGHT * (F.log1p(amount) - math.log1p(_TYPICAL_AMOUNT))
    latent += F.coalesce(_AGE_WEIGHT * (F.col("age") - _TYPICAL_AGE), F.lit(0.0))
    latent += F.when(F.col("channel") == _PHONE, _PHONE_EFFECT).otherwise(0.0)
    latent += _case(F.col("request_type"), dict(zip(REQUEST_TYPES, plan.type_effects, strict=True)))
    key = F.concat_ws("/", "country", "plan")
    latent += _case(key, {f"{g.country}/{g.plan}": g.effect for g in plan.groups})
    if side == "experimental":
        latent += _drift(plan, key)
    return latent + simulation.noise * math.sqrt(3) * (2 * noise - 1)


def _drift(plan: Plan, key: Column) -> Column:
    shift = F.lit(0.0)
    for group in plan.groups:
        if group.drifting:
            types = [REQUEST_TYPES[t] for t in group.drifting]
            hit = (key == f"{group.country}/{group.plan}") & F.col("request_type").isin(types)
            shift = F.when(hit & (F.col("app_version") == NEW_VERSION), group.size).otherwise(shift)
    return shift


def output_arrays(simulation: Simulation, side: Side, requests: pd.DataFrame) -> pd.DataFrame:
    """Return `value` and one column per class label for the rows of `requests`."""
    plan = make_plan(simulation)
    amount = requests["amount"].astype(float).fillna(_TYPICAL_AMOUNT).to_numpy()
    latent = _AMOUNT_WEIGHT * (np.log1p(amount) - math.log1p(_TYPICAL_AMOUNT))
    age = requests["age"].astype(float).fillna(_TYPICAL_AGE).to_numpy()
    latent += _AGE_WEIGHT * (age - _TYPICAL_AGE)
    latent += np.where(requests["channel"] == _PHONE, _PHONE_EFFECT, 0.0)
    effects = dict(zip(REQUEST_TYPES, plan.type_effects, strict=True))
    latent += requests["request_type"].map(effects).astype(float).fillna(0.0).to_numpy()
    key = requests["country"].astype("string") + "/" + requests["plan"].astype("string")
    groups = {f"{g.country}/{g.plan}": g for g in plan.groups}
    group_effects = {name: g.effect for name, g in groups.items()}
    latent += key.map(group_effects).astype(float).fillna(0.0).to_numpy()
    if side == "experimental":
        new = requests["app_version"].astype("string").eq(NEW_VERSION).fillna(value=False)
        for name, group in groups.items():
            types = [REQUEST_TYPES[t] for t in group.drifting]
            hit = key.eq(name).fillna(value=False) & requests["request_type"].isin(types) & new
            latent += group.size * hit.to_numpy(dtype=float)
    latent += simulation.noise * math.sqrt(3) * (2 * _noise_array(simulation, side, requests) - 1)
    weights = np.stack([np.exp(latent), np.full_like(latent, np.exp(_BROWSE)), np.exp(-latent)])
    probabilities = weights / weights.sum(axis=0)
    columns = dict(zip(CLASSES, probabilities, strict=True))
    return pd.DataFrame({"value": 1 / (1 + np.exp(-latent)), **columns}, index=requests.index)


def _case(key: Column, values: dict[str, float]) -> Column:
    table = F.create_map(*(F.lit(x) for pair in values.items() for x in pair))
    return F.coalesce(F.try_element_at(table, key), F.lit(0.0))


def _noise_column(simulation: Simulation, side: Side) -> list[Column]:
    """Steps to a number uniform on [0, 1), each over the one before, named `_MIXED`.

    Whole numbers throughout, so that Spark and numpy agree to the bit.
    """
    mixed, mask = F.col(_MIXED), F.lit(_MASK)
    steps = [F.lit(derive_seed(simulation.seed, "noise", side)).cast("bigint")]
    for name, unit in _NOISE_KEYS:
        part = F.coalesce(F.round(F.col(name) * unit).cast("bigint"), F.lit(0))
        steps += [mixed.bitwiseXOR(part).bitwiseAND(mask)]
        steps += [(mixed.bitwiseXOR(F.shiftright(mixed, 16)) * F.lit(_MIX)).bitwiseAND(mask)] * 2
    return [*steps, mixed.bitwiseXOR(F.shiftright(mixed, 16)) / F.lit(float(_MASK + 1))]


def _noise_array(simulation: Simulation, side: Side, requests: pd.DataFrame) -> np.ndarray:
    mixed = np.full(len(requests), derive_seed(simulation.seed, "noise", side), dtype=np.int64)
    for name, unit in _NOISE_KEYS:
        # +0.5 and floor: Spark rounds halves up, numpy to even.
        whole = np.floor(requests[name].astype(float).fillna(0.0).to_numpy() * unit + 0.5)
        mixed = (mixed ^ whole.astype(np.int64)) & _MASK
        mixed = ((mixed ^ (mixed >> 16)) * _MIX) & _MASK
        mixed = ((mixed ^ (mixed >> 16)) * _MIX) & _MASK
    return np.asarray((mixed ^ (mixed >> 16)) / float(_MASK + 1))
