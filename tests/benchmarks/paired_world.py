"""Paired replays with known truth, drawn in numpy and counted without Spark.

For bench_false_alarms.py, bench_detection.py, bench_peer_numbers.py and the tests of false alarms:
the counting is the workers' own (`Tally`, `Merge`), so that hundreds of data sets take minutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import norm

from rehearsal.drift.bins import Bins
from rehearsal.drift.counts import layout_of
from rehearsal.drift.merge import Merge
from rehearsal.drift.narrow import outputs_of
from rehearsal.drift.spread import Spread
from rehearsal.drift.tally import Tally

K = 10
EDGES = tuple(i / K for i in range(1, K))
CLASSES = tuple(f"class {i}" for i in range(K))
SKEWED = 0.6 ** np.arange(K) / (0.6 ** np.arange(K)).sum()
"""Shares of the classes: 40% to 0.4%, so that some are too rare to be tested alone."""

N_KINDS, N_DRIFTING = 12, 3
_MOVABLE = N_DRIFTING / N_KINDS / 2
_FIRST_DAY = 20_514  # 2026-03-02, a Monday
_ROWS_PER_PART = 1_000_000


@dataclass(frozen=True)
class Replays:
    """Both models' answers, arrays over requests.

    segment, window and kind (request type) are numbers from 0, window the day; a user is in one
    segment. x and y are production's and the experimental value; first and second classes as
    numbers (n,) or probabilities (n, K). Either pair may be None.
    """

    segment: np.ndarray
    window: np.ndarray
    kind: np.ndarray
    user: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    first: np.ndarray | None = None
    second: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    @property
    def bins(self) -> Bins:
        """The bins the arrays are drawn for."""
        classes = CLASSES if self.first is not None else ()
        return Bins(EDGES if self.x is not None else (), classes)


def skewed_sizes(n: int, segments: int, spread: float = 1.0) -> np.ndarray:
    """Return so many segment sizes, log-normal quantiles that sum to about n; largest first."""
    at = norm.isf((np.arange(segments) + 0.5) / segments)
    sizes = np.exp(spread * at)
    return np.asarray(np.maximum(np.rint(sizes / sizes.sum() * n), 20).astype(int))


def alike(
    random: np.random.Generator,
    sizes: np.ndarray,
    per_user: int = 1,
    looks: int = 1,
    *,
    returning: bool = False,
    one_sided: bool = False,
) -> Replays:
    """Return replays of two models whose answers are distributed alike, a value and classes.

    30% of requests (per_user 1) or half of the users differ, and nobody could tell the models
    apart. With more requests a user, each model has its own favourite answer for a user, and
    gives it 8 times of 10; or, one-sided, production answers every user alike and the experimental
    model alone has favourites: then the shares of all answers agree, but users' rows are not
    exchangeable.

    Args:
        random: what to draw from.
        sizes: requests per segment and look, (segments,).
        per_user: requests of a user and look.
        looks: how many windows.
        returning: the same users in every look, with the same favourites; else new ones.
        one_sided: as above.
    """
    segment, window, user = _requests(sizes, per_user, looks, returning=returning)
    flat = np.full(K, 1 / K)
    draw = _one_sided if one_sided else _two_alike
    bins = draw(random, user, flat, per_user)
    first, second = draw(random, user, SKEWED, per_user)
    x = _values(random, bins[0])
    y = np.where(bins[0] == bins[1], x, _values(random, bins[1]))
    kind = random.integers(N_KINDS, size=len(user))
    return Replays(segment, window, kind, user, x, y, first, second)


def _requests(
    sizes: np.ndarray, per_user: int, looks: int, *, returning: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return segment, window and user of each request."""
    segment = np.repeat(np.arange(len(sizes)), sizes)
    users = -(-sizes // per_user)
    nth = np.arange(len(segment)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    user = np.repeat(np.cumsum(users) - users, sizes) + nth // per_user
    window = np.repeat(np.arange(looks), len(segment))
    user = np.tile(user, looks) + (0 if returning else window * int(users.sum()))
    return np.tile(segment, looks), window, user


def _two_alike(
    random: np.random.Generator, user: np.ndarray, shares: np.ndarray, per_user: int
) -> tuple[np.ndarray, np.ndarray]:
    n = len(user)
    if per_user == 1:
        first = _drawn(random, shares, n)
        return first, np.where(random.random(n) < 0.3, _drawn(random, shares, n), first)
    n_users = int(user.max()) + 1
    favourite = _drawn(random, shares, n_users)
    other = np.where(random.random(n_users) < 0.5, _drawn(random, shares, n_users), favourite)
    return tuple(
        np.where(random.random(n) < 0.8, own[user], _drawn(random, shares, n))
        for own in (favourite, other)
    )  # type: ignore[return-value]  # two of them


def _one_sided(
    random: np.random.Generator, user: np.ndarray, shares: np.ndarray, _per_user: int
) -> tuple[np.ndarray, np.ndarray]:
    n, n_users = len(user), int(user.max()) + 1
    first, favourite = _drawn(random, shares, n), _drawn(random, shares, n_users)
    theirs = (random.random(n_users) < 0.5)[user] & (random.random(n) < 0.8)
    return first, np.where(theirs, favourite[user], first)


def _drawn(random: np.random.Generator, shares: np.ndarray, n: int) -> np.ndarray:
    return np.searchsorted(shares.cumsum()[:-1], random.random(n), "right")


def _values(random: np.random.Generator, bins: np.ndarray) -> np.ndarray:
    return np.asarray((bins + random.uniform(0.001, 0.999, len(bins))) / K)


@dataclass(frozen=True)
class Drifting:
    """Replays with what was planted: share moved, first window, and kinds; row: segment."""

    replays: Replays
    share: np.ndarray
    start: np.ndarray
    kinds: np.ndarray

    @property
    def kl_nats(self) -> np.ndarray:
        """KL(production || experimental) planted, (segments,), over windows from the start on."""
        return np.asarray(-np.log1p(-((2 * self.share) ** 2)) / 2)


def drifting(
    random: np.random.Generator,
    sizes: np.ndarray,
    share: np.ndarray,
    per_user: int = 1,
    windows: int = 1,
    noise: float = 0.06,
) -> Drifting:
    """Return values of which, in some segments, a share moves from the lower to the upper half.

    It moves in 3 of the 12 request types, from a random window on that leaves three to see it in.
    Besides, so many requests get another answer (per_user 1) or, with more requests a user, one of
    the models has its own favourite answer for so many users: noise that changes nothing.

    Args:
        random: what to draw from.
        sizes: requests per segment over all windows.
        share: of a segment's requests that move, (segments,); 0: none; at most 1/8.
        per_user: requests of a user over all windows.
        windows: how many.
        noise: share of requests or users.
    """
    segment, _, user = _requests(sizes, per_user, 1, returning=False)
    n, flat = len(user), np.full(K, 1 / K)
    window, kind = random.integers(windows, size=n), random.integers(N_KINDS, size=n)
    start = random.integers(max(windows - 2, 1), size=len(sizes))
    kinds = np.argsort(random.random((len(sizes), N_KINDS)), axis=1)[:, :N_DRIFTING]
    x = _values(random, _drawn(random, flat, n))
    n_users = int(user.max()) + 1
    unlike = (random.random(n_users) < noise)[user]
    favourite = _values(random, _drawn(random, flat, n_users)[user])
    whose = (random.random(n_users) < 0.5)[user]
    x, y = np.where(unlike & whose, favourite, x), np.where(unlike & ~whose, favourite, x)
    hit = (kind[:, None] == kinds[segment]).any(axis=1) & (window >= start[segment]) & (y < 0.5)
    moves = hit & (random.random(n) < (share / _MOVABLE)[segment])
    return Drifting(Replays(segment, window, kind, user, x, np.where(moves, y + 0.5, y)),
                    share, start, kinds)  # fmt: skip


def swapped(replays: Replays, which: np.ndarray) -> Replays:
    """Return the replays with both models' answers exchanged where `which`, (n,), is true."""

    def choose(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
        if a is None or b is None:
            return None
        return np.where(which if a.ndim == 1 else which[:, None], b, a)

    return replace(
        replays,
        x=choose(replays.x, replays.y), y=choose(replays.y, replays.x),
        first=choose(replays.first, replays.second), second=choose(replays.second, replays.first),
    )  # fmt: skip


def segment_name(number: int) -> str:
    return f"s{number:04d}"


def kind_name(number: int) -> str:
    return f"type {number:02d}"


def count(replays: Replays, bins: Bins | None = None) -> pd.DataFrame:
    """Return the rows of `drift_counts` that Spark would give, windows being days.

    Rows of all request types together have request_type None.
    """
    bins = bins or replays.bins
    layout = layout_of(bins, [], graded=False)
    tally = Tally(layout, bins.edges)
    parts = [
        pa.Table.from_batches(tally.sums(table, part))
        for part, table in enumerate(_placed(replays, bins))
    ]
    table = pa.concat_tables(parts)
    keys = [
        (name, "ascending") for name in ("segment_id", "window", "request_type", "piece", "part")
    ]
    order = pc.sort_indices(table, sort_keys=keys, null_placement="at_start")
    merged = pa.Table.from_batches(Merge(layout)(table.take(order).combine_chunks().to_batches()))
    counts: pd.DataFrame = merged.to_pandas()
    days = counts.pop("window").to_numpy()
    start = pd.to_datetime(days, unit="D")
    end = start + pd.Timedelta(days=1)
    return counts.assign(window_start=start, window_end=end, granularity="day")


def all_types(counts: pd.DataFrame) -> pd.DataFrame:
    return counts.loc[counts["request_type"].isna()]


def day_start(window: int) -> pd.Timestamp:
    """Return `window_start` of a window by its number from 0."""
    return pd.Timestamp(0) + pd.Timedelta(days=_FIRST_DAY + window)


def _placed(replays: Replays, bins: Bins) -> Iterator[pa.Table]:
    """Yield one table per partition, each with all requests of its users."""
    n_parts = -(-len(replays) // _ROWS_PER_PART)
    owner = replays.user % n_parts
    for part in range(n_parts):
        yield _placed_part(replays, bins, slice(None) if n_parts == 1 else owner == part)


def _placed_part(replays: Replays, bins: Bins, here: slice | np.ndarray) -> pa.Table:
    window = pa.array((replays.window[here] + _FIRST_DAY).astype(np.int32))
    kind = _named(replays.kind[here], kind_name)
    user = pa.array(replays.user[here].astype(np.int64))
    columns: dict[str, pa.Array] = {"user": user, "request_type": kind, "window": window}
    if replays.x is not None and replays.y is not None:
        columns["production value"] = pa.array(replays.x[here])
        columns["experimental value"] = pa.array(replays.y[here])
    if replays.first is not None and replays.second is not None:
        columns["production class"] = _vectors(replays.first[here])
        columns["experimental class"] = _vectors(replays.second[here])
    spread = Spread(outputs_of(bins, [], graded=False), bins.classes)
    table = pa.Table.from_batches(spread([pa.RecordBatch.from_pydict(columns)]))
    return table.append_column("segment_id", _named(replays.segment[here], segment_name))


def _named(numbers: np.ndarray, name: Callable[[int], str]) -> pa.Array:
    labels = pa.array([name(i) for i in range(int(numbers.max()) + 1)])
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), labels)


def _vectors(classes: np.ndarray) -> pa.Array:
    """Return probabilities as lists; a class number is a model sure of it."""
    vectors = np.eye(K)[classes] if classes.ndim == 1 else classes
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
