from pathlib import Path
from typing import cast

import pytest
from pyspark.sql import SparkSession

from rehearsal.configure import load_settings
from rehearsal.tables.schemas import REPLAYS
from rehearsal.tables.store import Store

CONF = Path(__file__).parents[2] / "conf" / "demo.yml"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".rehearsal/warehouse", "delta.`{here}/.rehearsal/warehouse/replays`"),
        ("/lake/ours", "delta.`/lake/ours/replays`"),
        ("s3://lake/ours", "delta.`s3://lake/ours/replays`"),
    ],
)
def test_delta_is_given_absolute_paths(
    path: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(cast("SparkSession", None), load_settings([CONF], [f"output.path={path}"]))
    assert store.reference(REPLAYS) == expected.format(here=tmp_path.resolve())
