"""Which rows a judgement looks at."""

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate import run
from rehearsal.generate.gate.run import TOGETHER, judged_rows
from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator

MOST = 200
SIZES = {"large": (1_800, 450), "small": (600, 150), "other": (90, 30)}


def codec() -> Codec:
    frame = pd.DataFrame({"request_type": ["a", "b"] * 30, "amount": range(60)})
    settings = Generator(kind="mixture", min_count=5, components=2)
    return Synthesizer.fit(frame, ["request_type"], kind="mixture", settings=settings).codec


def logged() -> pd.DataFrame:
    made = [
        (segment, part, f"{segment}-{part}-{i}", "a", float(i), i + 1)
        for segment, sizes in SIZES.items()
        for part, n in zip(("training", "test"), sizes, strict=True)
        for i in range(n)
    ]
    names = ["segment_id", "part", "request_id", "request_type", "amount", "place"]
    return pd.DataFrame(made, columns=names)


def test_parts_are_samples_of_the_same_segments_in_the_same_proportions(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "JUDGED_ROWS", MOST)
    judged_as = {"large": "large", "small": TOGETHER, "other": "other"}
    rows = spark.createDataFrame(logged())
    looked_at = judged_rows(rows, codec(), judged_as).toPandas()
    sizes = looked_at.groupby(["judged_as", "part"]).size()
    assert sizes.to_dict() == {
        ("large", "training"): MOST, ("large", "test"): MOST,
        ("other", "training"): 90, ("other", "test"): 30,
        (TOGETHER, "training"): MOST, (TOGETHER, "test"): MOST,
    }  # fmt: skip
    together = looked_at[looked_at["judged_as"] == TOGETHER]
    for part, at in (("training", 0), ("test", 1)):
        held = together[together["part"] == part]["segment_id"].value_counts()
        total = sum(size[at] for size in SIZES.values())
        for segment, size in SIZES.items():
            # Three deviations of a share of 200 rows are .11 at most.
            assert held[segment] / MOST == pytest.approx(size[at] / total, abs=0.11)
