"""KPIs as they are counted: one that every request has of its own, or a ratio of two of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rehearsal.settings import Kpi, RatioKpi


@dataclass(frozen=True)
class Ratio:
    """Sum of `numerator` per sum of `denominator`, both names in `replays.kpis`."""

    name: str
    numerator: str
    denominator: str


Kpis = Sequence[str | Ratio]
"""What is counted: names in `replays.kpis`, and ratios of two of them."""


def counted_kpis(kpis: Mapping[str, Kpi]) -> list[str | Ratio]:
    """Return the KPIs of a configuration, in its order."""
    return [
        Ratio(name, kpi.numerator, kpi.denominator) if isinstance(kpi, RatioKpi) else name
        for name, kpi in kpis.items()
    ]


def ratios_of(kpis: Kpis) -> dict[str, Ratio]:
    """Return the ratios by name."""
    return {kpi.name: kpi for kpi in kpis if isinstance(kpi, Ratio)}


def names_of(kpis: Kpis) -> list[str]:
    """Return the name of each."""
    return [kpi.name if isinstance(kpi, Ratio) else kpi for kpi in kpis]
