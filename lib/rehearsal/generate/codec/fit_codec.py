"""Fit the codec of a run on its training rows: one Spark aggregate, or a table in memory.

Both count the same things (see `tally`), so that equal rows give equal codecs. Rows that break a
rule are left out.
"""

from collections.abc import Mapping, Sequence
from math import inf

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from rehearsal.generate.codec.aggregate import Key, Measure, aggregate
from rehearsal.generate.codec.columns import Categorical, Continuous, TokenSource, numbers, texts
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.instants import (
    WEEKDAYS,
    Datetime,
    begin_of,
    calendar_columns,
    calendar_parts,
    epoch_seconds,
)
from rehearsal.generate.codec.numeric import Floats, Numeric
from rehearsal.generate.codec.rules import Field, Rules, make_rules
from rehearsal.generate.codec.tally import (
    MAX_POOLED,
    NumberTally,
    TextTally,
    make_numeric,
    tally_numbers,
    tally_texts,
)
from rehearsal.names import quoted
from rehearsal.settings import Generator, Settings
from rehearsal.tables.source import outcome_kind

_CALENDAR = ("day", "week", "weekday", "second", "instant")
_TEXTS = ("categorical", "boolean")
LEAST_BINS, ROWS_PER_BIN = 8, 500

Tallies = Mapping[Key, NumberTally | TextTally]


def codec_fields(settings: Settings, requests_schema: StructType) -> list[Field]:
    """Return conditions (request type, profile attributes), then what is generated.

    Args:
        settings: the column mapping.
        requests_schema: of the user's request log, which decides the outcome's kind.
    """
    columns, fields = settings.requests.columns, [Field("request_type", "categorical", True)]
    if settings.users is not None:
        users = settings.users.columns
        fields += [Field(name, "continuous", True) for name in users.continuous]
        fields += [Field(name, "categorical", True) for name in users.categorical]
    fields += [Field(name, "categorical", False) for name in columns.categorical]
    fields += [Field(name, "continuous", False) for name in columns.continuous]
    fields += [Field(name, "datetime", False) for name in (*columns.datetime, "requested_at")]
    if columns.outcome is not None:
        kind = outcome_kind(requests_schema, columns.outcome)
        fields.append(Field(columns.outcome, kind, False))
    return fields


def fit_codec(
    rows: DataFrame,
    fields: Sequence[Field],
    settings: Generator,
    keep: Mapping[str, Sequence[str]],
) -> Codec:
    """Return the codec of the rows.

    Args:
        rows: training rows with every field by name; passed over once.
        fields: the columns to cover, conditions first.
        settings: bins, categories, the count below which values are pooled, and the rules.
        keep: column -> categories that get a code of their own however rare they are.

    Raises:
        SettingsError: a rule of the settings does not fit the fields.
    """
    rules = make_rules(fields, settings)
    measures = [measure for field in fields for measure in _measures(field, rules, settings)]
    limit = settings.max_categories + MAX_POOLED
    tallies = aggregate(rows.where(~rules.broken()), measures, limit, settings.min_count)
    return _build(fields, tallies, rules, settings, keep)


def fit_codec_frame(frame: pd.DataFrame, fields: Sequence[Field], settings: Generator) -> Codec:
    """Return the codec of a table in memory; `fit_codec` is the same on Spark.

    Raises:
        SettingsError: a rule of the settings does not fit the fields.
    """
    rules = make_rules(fields, settings)
    sound = frame[~rules.broken_in(frame)]
    limit, min_count = settings.max_categories + MAX_POOLED, settings.min_count
    tallies: dict[Key, NumberTally | TextTally] = {}
    for field in fields:
        values = sound[field.name]
        if field.kind in _TEXTS:
            tallies[field.name, ""] = tally_texts(texts(values), limit, min_count)
            continue
        forced = rules.forced_numbers(field.name)
        for part, counted in _parts(field, values).items():
            bins = _bins(part, settings)
            tallies[field.name, part] = tally_numbers(counted, bins, min_count, forced)
    return _build(fields, tallies, rules, settings, {})


def resolution(settings: Generator, n_rows: int) -> Generator:
    """Return the settings with as many bins as so many rows can fill with something to learn.

    A fine grid tells the rows of a small table apart, and a network then learns them by heart.
    """
    bins = min(settings.bins, max(LEAST_BINS, n_rows // ROWS_PER_BIN))
    return settings.model_copy(update={"bins": bins})


def fields_of(frame: pd.DataFrame, conditions: Sequence[str]) -> list[Field]:
    """Return the fields of a table in memory, conditions first, kinds by the columns' types."""
    rest = [str(name) for name in frame.columns if name not in conditions]
    return [Field(name, _kind_of(frame[name]), name in conditions) for name in (*conditions, *rest)]


def _kind_of(values: pd.Series) -> str:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "datetime"
    if pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        return "boolean"
    return "continuous" if pd.api.types.is_numeric_dtype(values.dtype) else "categorical"


def _parts(field: Field, values: pd.Series) -> dict[str, Floats]:
    if field.kind != "datetime":
        return {"": numbers(values)}
    seconds = epoch_seconds(values)
    return dict(zip(_CALENDAR, (*calendar_parts(seconds), seconds), strict=True))


def _measures(field: Field, rules: Rules, settings: Generator) -> list[Measure]:
    column = F.col(quoted(field.name))
    if field.kind in _TEXTS:
        return [Measure((field.name, ""), column, text=True)]
    parts = {"": column}
    if field.kind == "datetime":
        seconds = F.unix_seconds(column)
        parts = dict(zip(_CALENDAR, (*calendar_columns(seconds), seconds), strict=True))
    forced = rules.forced_numbers(field.name)
    return [
        Measure((field.name, part), value, bins=_bins(part, settings), forced=forced)
        for part, value in parts.items()
    ]


def _bins(part: str, settings: Generator) -> int:
    # Every weekday gets a code, however few bins there are.
    return max(settings.bins, len(WEEKDAYS)) if part == "weekday" else settings.bins


def _build(
    fields: Sequence[Field],
    tallies: Tallies,
    rules: Rules,
    settings: Generator,
    keep: Mapping[str, Sequence[str]],
) -> Codec:
    made: dict[bool, list[TokenSource]] = {True: [], False: []}
    for field in fields:
        if field.kind == "datetime":
            column: TokenSource = _datetime(field, tallies, settings)
        elif field.kind in _TEXTS:
            column = _categorical(field, tallies, rules, settings, keep.get(field.name, ()))
        else:
            forced = rules.forced_numbers(field.name)
            tally = _number_tally(tallies, field.name, "")
            column = Continuous(field.name, make_numeric(tally, settings.min_count, forced))
        made[field.condition].append(column)
    return Codec(tuple(made[True]), tuple(made[False]), rules)


def _categorical(
    field: Field, tallies: Tallies, rules: Rules, settings: Generator, keep: Sequence[str]
) -> Categorical:
    tally = tallies[field.name, ""]
    if not isinstance(tally, TextTally):
        raise TypeError(f"categories of {field.name!r} were counted as numbers")
    return categories(field, dict(tally.counts), rules, settings, keep, nullable=tally.nullable)


def categories(
    field: Field,
    counts: Mapping[str, int],
    rules: Rules,
    settings: Generator,
    keep: Sequence[str],
    *,
    nullable: bool = True,
) -> Categorical:
    """Return the column of categories: codes for the most frequent, those to keep or of a rule.

    Args:
        field: the column.
        counts: category -> rows, the most frequent first.
        rules: of the table.
        settings: how many categories have codes.
        keep: categories that get one however rare they are.
        nullable: whether a row had none.
    """
    ruled = rules.forced_categories(field.name)
    kept = tuple(sorted({*list(counts)[: settings.max_categories], *keep, *ruled}))
    pooled = tuple((category, n) for category, n in counts.items() if category not in kept)
    return Categorical(
        field.name, kept, tuple(counts.get(category, 0) for category in kept), pooled,
        nullable, field.kind == "boolean", ruled,
    )  # fmt: skip


def _datetime(field: Field, tallies: Tallies, settings: Generator) -> Datetime:
    parts = {part: _number_tally(tallies, field.name, part) for part in _CALENDAR}
    numeric = {part: make_numeric(tally, settings.min_count) for part, tally in parts.items()}
    # More days than codes: bins of days would wash a weekly rhythm out.
    date = ("week", "weekday") if parts["day"].n_distinct > settings.bins else ("day",)
    low, high = _span(numeric["instant"], numeric[date[0]], date[0])
    return Datetime(field.name, tuple(numeric[part] for part in date), numeric["second"], low, high)


def _span(instant: Numeric, date: Numeric, part: str) -> tuple[int, int]:
    """Return the first and last second: of what instants have codes, but where dates reach further.

    Then the first or last day or week is shown as a whole.
    """
    shown = [*date.atoms, *date.lows, *date.highs]
    if not shown:
        return 0, 0
    first, last = min(shown), max(shown)
    ends = [*instant.atoms, *instant.lows, *instant.highs]
    low, high = min(ends, default=inf), max(ends, default=-inf)
    return (
        int(low) if low < begin_of(part, first + 1) else begin_of(part, first),
        int(high) if high >= begin_of(part, last) else begin_of(part, last + 1) - 1,
    )


def _number_tally(tallies: Tallies, name: str, part: str) -> NumberTally:
    tally = tallies[name, part]
    if not isinstance(tally, NumberTally):
        raise TypeError(f"numbers of {name!r} were counted as categories")
    return tally
