"""What each source of a feature is, as a column over a user's totals or profile.

A feature is null where it is not defined: shares of nothing, gaps of a single request.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

from rehearsal.errors import ContractError
from rehearsal.names import quoted
from rehearsal.segments.feature import Feature

PACKED_BITS = 32  # of the two counts in one BIGINT
SPANS = 4  # of the trend
_HOUR_MICROS, _DAY_MICROS = 3.6e9, 8.64e10
# Slope of the least-squares line through 2, 3 or 4 equidistant points, the latest first.
_SLOPES = {2: (1.0, -1.0), 3: (0.5, 0.0, -0.5), 4: (0.3, 0.1, -0.1, -0.3)}


@dataclass(frozen=True)
class Pinned:
    """What pinned features ask to be counted, up to when, and by which value column."""

    features: tuple[Feature, ...]
    value: str | None
    as_of: datetime

    @property
    def types(self) -> list[str]:
        """Request types with counts of their own; the rest are other types."""
        return self._arguments("requests_of_type", "share_of_type")

    @property
    def labels(self) -> list[str]:
        """Outcomes with shares of their own; the rest are other outcomes."""
        return self._arguments("share_of_label")

    @property
    def span_days(self) -> int:
        """Days in a span of the trend."""
        return int(next(iter(self._arguments("log_ratio", "log_slope")), "1"))

    @property
    def last_day(self) -> date:
        """The UTC day of the last instant before `as_of`."""
        return (self.as_of - timedelta(microseconds=1)).date()

    def categories(self, attribute: str) -> list[str]:
        """Categories of a profile attribute with an indicator of their own."""
        pairs = [json.loads(argument) for argument in self._arguments("category")]
        return [value for name, value in pairs if name == attribute]

    def _arguments(self, *sources: str) -> list[str]:
        found = [f.argument for f in self.features if f.source in sources]
        return list(dict.fromkeys(found))


def behaviour_columns(pinned: Pinned) -> dict[Feature, Column]:
    """Return the features of behaviour as DOUBLE columns over the totals of a user.

    Raises:
        ContractError: a feature's source is unknown here.
    """
    sources = _activity(pinned) | _trend(pinned) | _counts(pinned)
    columns = {}
    for feature in pinned.features:
        if feature.group == "profile":
            continue
        if feature.source not in sources:
            raise ContractError(
                f"feature {feature.name!r} has the source {feature.source!r}, but this version "
                f"computes only {', '.join(sorted(sources))}; fit the segments anew"
            )
        columns[feature] = sources[feature.source](feature.argument).cast("double")
    return columns


def profile_columns(pinned: Pinned, known: Sequence[str]) -> dict[Feature, Column]:
    """Return the features of the profile as DOUBLE columns over (user_id, attributes).

    A user whose category is missing has 0 in all its indicators; an attribute that is not among
    the `known` ones is null for all.
    """
    profile = [feature for feature in pinned.features if feature.group == "profile"]
    return {feature: _attribute(feature, pinned, known) for feature in profile}


def _attribute(feature: Feature, pinned: Pinned, known: Sequence[str]) -> Column:
    is_one = feature.source == "category"
    attribute, category = json.loads(feature.argument) if is_one else (feature.argument, None)
    if attribute not in known:
        return F.lit(None).cast("double")
    held = F.col(quoted(attribute))
    if feature.source == "number":
        return held.try_cast("double")
    named = held.cast("string").isin([category] if is_one else pinned.categories(attribute))
    return F.coalesce(named if is_one else ~named, F.lit(False)).cast("double")


_Source = Callable[[str], Column]


def _activity(pinned: Pinned) -> dict[str, _Source]:
    n, days, sessions = F.col("n"), F.col("n_days"), F.col("sessions")
    calendar_days = F.datediff(F.lit(pinned.last_day), F.to_date("first_at")) + 1
    hours = _micros(F.col("last_at"), F.col("first_at")) / F.lit(_HOUR_MICROS)

    def days_since(name: str) -> Column:
        return _micros(F.lit(pinned.as_of), F.col(name)) / F.lit(_DAY_MICROS)

    def if_mapped(name: str, column: Column) -> Column:
        return column if name == pinned.value else F.lit(None)

    value_sum, value_n = F.col("value_sum"), F.col("value_n")
    return {
        "requests": lambda _: n,
        "requests_per_day": lambda _: n / F.greatest(days_since("first_at"), F.lit(1.0)),
        "days_since_last": lambda _: days_since("last_at"),
        "active_day_share": lambda _: days / calendar_days,
        "value_per_request": lambda name: if_mapped(name, _ratio(value_sum, value_n)),
        "value_total": lambda name: if_mapped(name, value_sum),
        "hours_between_requests": lambda _: _ratio(hours, n - 1),
        "hours_between_sessions": lambda _: _ratio(hours, sessions - 1),
        "requests_per_session": lambda _: n / sessions,
        "half_hours_per_session": lambda _: F.col("half_hours") / sessions,
        "sessions_per_active_day": lambda _: sessions / days,
    }


def _trend(pinned: Pinned) -> dict[str, _Source]:
    # +1 keeps users with an empty span finite and near no trend.
    spans = [F.col(f"span {i}") + 1 for i in range(SPANS)]
    back = F.datediff(F.lit(pinned.last_day), F.to_date("first_at"))
    whole = F.least(F.floor(back / F.lit(pinned.span_days)), F.lit(SPANS))

    def slope(_: str) -> Column:
        """Only spans since the first request; the span it falls into is not a whole one."""
        by_length = [
            F.when(
                whole == n,
                _sum([F.log(s) * F.lit(w) for s, w in zip(spans, weights, strict=False)]),
            )
            for n, weights in _SLOPES.items()
        ]
        return F.coalesce(*by_length)

    return {"log_ratio": lambda _: F.log(spans[0] / spans[1]), "log_slope": slope}


def _counts(pinned: Pinned) -> dict[str, _Source]:
    n, n_labelled = F.col("n"), F.col("outcome_n")
    types = {name: _unpacked("type", i) for i, name in enumerate(pinned.types)}
    labels = {name: _unpacked("label", i) for i, name in enumerate(pinned.labels)}

    def other_types(_: str) -> Column:
        return n - _sum(list(types.values()))

    def other_labels(_: str) -> Column:
        return n_labelled - _sum(list(labels.values()))

    return {
        "time_share": lambda part: F.col(part) / n,
        "requests_of_type": lambda name: types[name],
        "requests_of_other_types": other_types,
        "share_of_type": lambda name: types[name] / n,
        "share_of_other_types": lambda name: other_types(name) / n,
        "share_of_label": lambda name: _ratio(labels[name], n_labelled),
        "share_of_other_labels": lambda name: _ratio(other_labels(name), n_labelled),
        "mean_outcome": lambda _: _ratio(F.col("outcome_sum"), n_labelled),
    }


def _unpacked(name: str, position: int) -> Column:
    """The count at one position: even ones are the low half of their pair, odd ones the high."""
    pair = F.col(f"{name} {position - position % 2}")
    if position % 2:
        return F.shiftrightunsigned(pair, PACKED_BITS)
    return pair.bitwiseAND(F.lit((1 << PACKED_BITS) - 1))


def _micros(later: Column, earlier: Column) -> Column:
    return F.unix_micros(later) - F.unix_micros(earlier)


def _ratio(over: Column, under: Column) -> Column:
    return over / F.nullif(under, F.lit(0))


def _sum(columns: Sequence[Column]) -> Column:
    return sum(columns[1:], columns[0])
