"""Columns of pandas as Arrow: types of the contract, and null wherever nothing is known."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import types as T

from rehearsal.tables.frames import arrow_array

DAY = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1.0, np.nan], T.LongType(), [1, None]),
        (np.array([np.int64(3), None, np.nan], object), T.IntegerType(), [3, None, None]),
        ([0.5, np.nan], T.DoubleType(), [0.5, None]),
        ([1, 2], T.DoubleType(), [1.0, 2.0]),
        (np.array(["a", None, np.nan], object), T.StringType(), ["a", None, None]),
        (np.array([True, None, np.bool_(False)], object), T.BooleanType(), [True, None, False]),
        ([date(2026, 3, 2), None], T.DateType(), [date(2026, 3, 2), None]),
        ([None, None], T.LongType(), [None, None]),
        ([], T.StringType(), []),
    ],
)
def test_nothing_is_null_and_the_rest_has_the_contracts_type(
    values: Any, kind: T.DataType, found: list[Any]
) -> None:
    assert arrow_array(pd.Series(values), kind).to_pylist() == found


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_instants_without_a_zone_are_utc(zone: str | None) -> None:
    instants = pd.Series([pd.Timestamp("2026-03-02"), pd.NaT])
    if zone is not None:
        instants = instants.dt.tz_localize("UTC").dt.tz_convert(zone)
    assert arrow_array(instants, T.TimestampType()).to_pylist() == [DAY, None]


def test_a_number_that_is_not_whole_is_no_count() -> None:
    with pytest.raises(TypeError, match="cannot safely cast"):
        arrow_array(pd.Series([1.5]), T.LongType())
