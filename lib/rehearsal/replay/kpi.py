"""KPIs of one request under each model, from the outputs and the logged outcome."""

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.names import quoted
from rehearsal.settings import (
    AbsoluteErrorKpi,
    AccuracyKpi,
    ClassRateKpi,
    Kpi,
    MeanKpi,
    RatioKpi,
    RequestKpi,
)


def predicted_class(output: str) -> Column:
    """Return the label of the most probable class of `output`; the first of equals."""
    probabilities = F.col(f"{output}.probabilities")
    best = F.array_position(probabilities, F.array_max(probabilities)).cast("int")
    return F.element_at("classes", best)


def kpi_map(kpis: Mapping[str, Kpi], outcome: str | None) -> Column:
    """Return MAP<name, STRUCT<production, experimental>>; a KPI without its inputs is null.

    Ratios are left out: a request has none of its own.
    """
    pair = "struct<production:double,experimental:double>"
    own = {name: kpi for name, kpi in kpis.items() if not isinstance(kpi, RatioKpi)}
    if not own:
        return F.create_map().cast(f"map<string,{pair}>")
    entries: list[Column] = []
    for name, kpi in own.items():
        sides = [
            _kpi(kpi, side, outcome).cast("double").alias(side)
            for side in ("production", "experimental")
        ]
        entries += [F.lit(name), F.struct(*sides)]
    return F.create_map(*entries)


def _kpi(kpi: RequestKpi, side: str, outcome: str | None) -> Column:
    value, truth = F.col(f"{side}.value"), F.col(quoted(outcome)) if outcome else F.lit(None)
    match kpi:
        case MeanKpi():
            return value
        case ClassRateKpi(label=label):
            return (predicted_class(side) == F.lit(label)).cast("double")
        case AccuracyKpi():
            return (predicted_class(side) == truth.cast("string")).cast("double")
        case AbsoluteErrorKpi():
            return F.abs(value - truth.try_cast("double"))
