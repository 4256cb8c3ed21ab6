"""The codec on Spark: fitted in one pass, equal to that of a table in memory."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import Field, fit_codec, fit_codec_frame
from rehearsal.settings import Generator

FIELDS = [
    Field("kind", "categorical", True), Field("age", "continuous", True),
    Field("amount", "continuous", False), Field("items", "continuous", False),
    Field("limit", "continuous", False), Field("nothing", "continuous", False),
    Field("yes", "boolean", False), Field("item", "categorical", False),
    Field("at", "datetime", False), Field("due", "datetime", False),
]  # fmt: skip
SETTINGS = Generator(
    bins=8,
    max_categories=20,
    min_count=5,
    ranges={"amount": (0, 500)},
    constraints=[
        {"kind": "at_most", "column": "amount", "other": "limit"},
        {"kind": "implied", "column": "kind", "is": "browse", "then": "amount"},
        {"kind": "implied", "column": "yes", "is": True, "then": "items", "value": 1},
    ],
)


def table(n: int = 1500) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    kind = rng.choice(["browse", "buy", "search"], n).astype(object)
    amount = np.where(kind == "browse", 0.0, rng.gamma(2.0, 30.0, n).round(2))
    amount[:4] = [900.0, 20.0, np.nan, -0.0]
    yes = rng.choice([True, False, None], n)
    items = np.where(yes == True, 1.0, rng.integers(1, 90, n))  # noqa: E712 - objects
    limit = amount + np.where(rng.random(n) < 0.3, 0.0, rng.gamma(1.0, 9.0, n))
    limit[1], limit[4:30] = 3.0, np.nan
    limit[30:40] = np.inf
    kind[5], items[6] = "browse", 7.0
    start = datetime(2024, 3, 1)
    at = start + pd.to_timedelta(rng.integers(-(10**8), 10**6, n), unit="s")
    due = pd.Series(start + pd.to_timedelta(rng.integers(0, 6, n), unit="D"))
    words = np.array([f"item {number:02d}" for number in range(60)] + ["once"], dtype=object)
    item = words[np.minimum(rng.zipf(1.5, n) - 1, 59)]
    item[7] = "once"
    return pd.DataFrame(
        {
            "kind": kind, "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(18, 90, n)),
            "amount": amount, "items": items, "limit": limit, "nothing": np.nan, "yes": yes,
            "item": item, "at": at, "due": due.where(rng.random(n) > 0.2),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    frame = table()
    numbers = [f.name for f in FIELDS if f.kind == "continuous"]
    made = spark.createDataFrame(frame.astype({"nothing": float}))
    # NaN means missing, as in what is read from the log.
    return made.withColumns({n: F.when(~F.isnan(n), F.col(n)) for n in numbers}).persist()


@pytest.fixture(scope="module")
def codec(rows: DataFrame) -> Codec:
    return fit_codec(rows.repartition(1), FIELDS, SETTINGS, {})


def test_the_codec_is_that_of_the_same_table_in_memory_however_partitioned(
    rows: DataFrame, codec: Codec
) -> None:
    assert fit_codec_frame(table(), FIELDS, SETTINGS).to_json() == codec.to_json()
    assert (
        fit_codec(rows.repartition(7, "items"), FIELDS, SETTINGS, {}).to_json() == codec.to_json()
    )
    # Of so many rows that the outermost groups have fewer than may be moved at an edge.
    more = SETTINGS.model_copy(update={"min_count": 60})
    assert fit_codec_frame(table(), FIELDS, more) == fit_codec(rows, FIELDS, more, {})
    assert [len(c.sizes) for c in codec.generated[-2:]] == [3, 2]
    assert codec.generated[-3].pooled


def test_codes_and_breaches_in_spark_equal_those_in_memory(rows: DataFrame, codec: Codec) -> None:
    frame = table()
    made = rows.select(
        *(code.alias(name) for name, code in codec.expressions().items()),
        codec.breaches().alias("breach"),
    ).toPandas()
    assert np.array_equal(made.drop(columns="breach").to_numpy(), codec.encode(frame))
    found = codec.breaches_in(frame)
    assert np.array_equal(made["breach"].to_numpy(), found)
    assert found[[0, 1]].all()
    assert 2 <= found.sum() < 30


def test_categories_asked_for_have_a_code_however_rare(rows: DataFrame) -> None:
    few = rows.limit(50).select("kind", "amount", "limit", "yes", "items")
    fields = [field for field in FIELDS if field.name in few.columns]
    (kind,) = fit_codec(few, fields, SETTINGS, {"kind": ["returned"]}).conditions
    assert "returned" in kind.kept
