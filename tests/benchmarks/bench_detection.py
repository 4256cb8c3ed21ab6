"""Planted drift found and false alarms raised, beside what others find in the same replays.

    python tests/benchmarks/bench_detection.py [--requests 1000000] [--segments 200]
        [--worlds 5] [--peer-python /tmp/peers/ev/bin/python]

1M paired requests, 200 segments of skewed size, 20 of them drifting, a value in 10 bins: once with
independent requests and once with users of 10 requests each. Then a table of recall and precision
by size of effect and of segment; and 10 windows in which drift starts at a random one: when the
start is told, and which request types are named.

Others, all at 5%: Stuart-Maxwell with requests as units, the unpaired G test, both with
Benjamini-Hochberg over segments; KL >= 0.1; and with --peer-python Evidently itself in its own
environment (python -m venv /tmp/peers/ev; pip install evidently==0.7.23 "pandas<3" pyarrow), a
report per segment with its defaults, with its kl_div, and with kl_div of our bins as categories.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from paired_world import (
    EDGES,
    N_DRIFTING,
    Drifting,
    all_types,
    count,
    day_start,
    drifting,
    kind_name,
    segment_name,
    skewed_sizes,
)
from rivals import FIXED_KL_NATS, joints, plain_kl, stuart_maxwell, unpaired_g

from rehearsal.drift.attribute import contributions
from rehearsal.drift.cells import build_cells
from rehearsal.drift.score import Scored, score_counts
from rehearsal.settings import Drift
from rehearsal.stats.multiple import q_values

ALPHA, DRIFTED = 0.05, 20
SHARES = {"independent": 0.03, "clustered": 0.06}
"""Share of a drifting segment's requests that move from the lower to the upper half."""
WINDOWED = 0.1
EFFECTS, SIZES, PER_CELL = (0.02, 0.04, 0.08, 0.12), (300, 1000, 5000, 20_000), 10

PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
rows = pd.read_parquet(sys.argv[1])
ways = {"evidently default": ("value", None), "evidently kl_div": ("value", "kl_div"),
        "evidently kl_div, bins": ("bin", "kl_div")}
definition = DataDefinition(numerical_columns=["value"], categorical_columns=["bin"])
found, began = [], time.process_time()
for segment, own in rows.groupby("segment"):
    sides = []
    for side in ("production", "experimental"):
        frame = pd.DataFrame({"value": own[side], "bin": own[side + "_bin"].astype(str)})
        sides.append(Dataset.from_pandas(frame, data_definition=definition))
    metrics = [ValueDrift(column=column, **({"method": method} if method else {}))
               for column, method in ways.values()]
    run = Report(metrics).run(sides[1], sides[0]).dict()
    for name, metric in zip(ways, run["metrics"]):
        text = metric["config"]
        score, limit = float(metric["value"]), float(text["threshold"])
        p_value = "p_value" in str(text["method"])
        found.append((segment, name, score < limit if p_value else score >= limit))
pd.DataFrame(found, columns=["segment", "way", "found"]).to_parquet(sys.argv[2])
print(f"evidently: {time.process_time() - began:.0f} CPU s")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=200)
    parser.add_argument("--worlds", type=int, default=1, help="repeat with so many seeds")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for users in ("independent", "clustered"):
        _field(users, options)
    for users in ("independent", "clustered"):
        _by_effect_and_size(users, options.seed)
    for users in ("independent", "clustered"):
        _windows(users, options)


def _settings(threshold: float | None = 1e-9) -> Drift:
    """By default significance alone decides."""
    held = {} if threshold is None else {"kl_nats": threshold, "mean_change": threshold}
    return Drift.model_validate({"window": "day", "alpha": ALPHA, "thresholds": held})


def _scored(counts: pd.DataFrame, world: Drifting, settings: Drift) -> Scored:
    names = [segment_name(i) for i in range(len(world.share))]
    return score_counts(all_types(counts), world.replays.bins, settings, names)


def _red(scored: Scored, n_segments: int) -> np.ndarray:
    """Return which segments breach, (segments,)."""
    red = set(scored.scores.loc[scored.scores["status"] == "red", "segment_id"])
    return np.array([segment_name(i) in red for i in range(n_segments)])


def _field(users: str, options: argparse.Namespace) -> None:
    """Print found and false of every method in worlds like the field's."""
    tables = []
    for nth in range(options.worlds):
        random = np.random.default_rng([options.seed, nth, users == "clustered"])
        sizes = skewed_sizes(options.requests, options.segments)
        share = np.zeros(options.segments)
        share[random.choice(options.segments, DRIFTED, replace=False)] = SHARES[users]
        world = drifting(random, sizes, share, 10 if users == "clustered" else 1)
        began = time.process_time()
        found = _methods(world)
        spent = time.process_time() - began
        if options.peer_python:
            found |= _peer(world, options.peer_python)
        planted = world.share > 0
        tables.append({name: (int(hit[planted].sum()), int(hit[~planted].sum()))
                       for name, hit in found.items()})  # fmt: skip
    print(f"\n{users}: {options.requests:,} requests, {options.segments} segments of "
          f"{sizes.min()} to {sizes.max():,}; {DRIFTED} drift by {SHARES[users]:.0%}, "
          f"KL {world.kl_nats.max():.5f} nats; "
          f"worlds: {options.worlds} ({spent:.1f} CPU s)")  # fmt: skip
    print(
        f"  {'method':26} found of {DRIFTED}   false of {options.segments - DRIFTED}   share false"
    )
    for name in tables[0]:
        told = np.array([table[name] for table in tables])
        hit, false = told.mean(axis=0)
        share_false = (told[:, 1] / np.maximum(told.sum(axis=1), 1)).mean()
        print(f"  {name:26} {hit:9.1f} {false:14.1f} {share_false:13.1%}", flush=True)


def _methods(world: Drifting) -> dict[str, np.ndarray]:
    counts = count(world.replays)
    joint = joints(all_types(counts).sort_values("segment_id"), "value")
    n = len(world.share)
    return {
        "ours": _red(_scored(counts, world, _settings()), n),
        "ours, shipped thresholds": _red(_scored(counts, world, _settings(None)), n),
        "request SM + BH": q_values(stuart_maxwell(joint)) <= ALPHA,
        "unpaired G + BH": q_values(unpaired_g(joint)) <= ALPHA,
        "KL >= 0.1": plain_kl(joint) >= FIXED_KL_NATS,
    }


def _peer(world: Drifting, python: Path) -> dict[str, np.ndarray]:
    """Return what Evidently finds, run by another interpreter over a file."""
    held = world.replays
    if held.x is None or held.y is None:
        raise ValueError("the world has no values")
    bins = (np.searchsorted(EDGES, side, "right") for side in (held.x, held.y))
    rows = pd.DataFrame({"segment": held.segment, "production": held.x, "experimental": held.y})
    rows["production_bin"], rows["experimental_bin"] = bins
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "rows.parquet", Path(folder) / "found.parquet"
        rows.to_parquet(asked)
        subprocess.run([python, "-c", PEER, asked, told], check=True)
        found = pd.read_parquet(told)
    wide = found.pivot_table(index="segment", columns="way", values="found", sort=False)
    return {str(way): wide[way].sort_index().to_numpy(bool) for way in wide}


def _by_effect_and_size(users: str, seed: int) -> None:
    """Print recall and precision by size of effect and segment, as many not drifting beside."""
    sizes, share = (np.ravel(a) for a in np.meshgrid(SIZES, [*EFFECTS, *[0.0] * len(EFFECTS)]))
    sizes, share = np.repeat(sizes, PER_CELL), np.repeat(share, PER_CELL)
    random = np.random.default_rng([seed, 7, users == "clustered"])
    world = drifting(random, sizes, share, 10 if users == "clustered" else 1)
    hit = _red(_scored(count(world.replays), world, _settings()), len(share))
    print(f"\n{users}: recall by share moved and requests of a segment, {PER_CELL} segments each")
    print(f"  {'share (KL nats)':>18}", *(f"{size:>8,}" for size in SIZES), "precision")
    for effect in EFFECTS:
        own = [hit[(share == effect) & (sizes == size)].mean() for size in SIZES]
        true, false = hit[share == effect].sum(), hit[share == 0].sum() / len(EFFECTS)
        nats = world.kl_nats[share == effect][0]
        print(f"  {effect:8.0%} ({nats:.5f})", *(f"{value:8.0%}" for value in own),
              f"{true / max(true + false, 1):9.1%}")  # fmt: skip
    calm = share == 0
    false = [hit[calm & (sizes == size)].sum() for size in SIZES]
    print(f"  {f'false of {PER_CELL * len(EFFECTS)}':>18}", *(f"{n:8d}" for n in false))


def _windows(users: str, options: argparse.Namespace) -> None:
    """Print when drift that starts in a random window is said to start, and in which types."""
    random = np.random.default_rng([options.seed, 11, users == "clustered"])
    sizes = skewed_sizes(options.requests, options.segments)
    share = np.zeros(options.segments)
    share[random.choice(options.segments, 3 * DRIFTED, replace=False)] = WINDOWED
    world = drifting(random, sizes, share, 10 if users == "clustered" else 1, windows=10)
    counts = count(world.replays)
    scored = _scored(counts, world, _settings())
    red, planted = _red(scored, options.segments), share > 0
    cells = build_cells(all_types(counts), world.replays.bins,
                        [segment_name(i) for i in range(len(share))])  # fmt: skip
    typed = counts[counts["request_type"].notna()]
    told = contributions(scored.scores, [(typed, cells)])
    off, covered = _starts(scored.onsets, world)
    named = _named(told, world)
    print(f"\n{users}: 10 windows, {planted.sum()} segments drift by {WINDOWED:.0%} "
          f"from one on; found {(red & planted).sum()}, "
          f"false {(red & ~planted).sum()}")  # fmt: skip
    exact, near = np.mean(off == 0), np.mean(off <= 1)
    print(f"  start told exactly {exact:.0%}, within one window {near:.0%},"
          f" inside the interval {np.mean(covered):.0%}")  # fmt: skip
    for test, right in named.items():
        print(f"  {N_DRIFTING} drifting request types of {test}: {right.mean():.2f} named first, "
              f"all of them in {np.mean(right == N_DRIFTING):.0%} of segments")  # fmt: skip


def _starts(onsets: pd.DataFrame, world: Drifting) -> tuple[np.ndarray, np.ndarray]:
    """Return how many windows the told starts are off, and whether the interval covers."""
    off, covered = [], []
    for i in np.flatnonzero(world.share > 0):
        own = onsets[onsets["segment_id"] == segment_name(i)]
        if own.empty:
            continue
        first = own.sort_values("test").iloc[0]  # distribution before mean
        truth = day_start(int(world.start[i]))
        off.append(abs((first["window_start"] - truth).days))
        between = first["earliest_window_start"] <= truth <= first["latest_window_start"]
        covered.append(bool(between))
    return np.array(off), np.array(covered)


def _named(told: pd.DataFrame, world: Drifting) -> dict[str, np.ndarray]:
    """Return by test how many of a found segment's drifting types rank first."""
    first = told[told["rank"] <= N_DRIFTING]
    found: dict[str, list[int]] = {}
    for (segment, test), own in first.groupby(["segment_id", "test"]):
        i = int(str(segment)[1:])
        if world.share[i] > 0:
            right = {kind_name(kind) for kind in world.kinds[i]} & set(own["request_type"])
            found.setdefault(str(test), []).append(len(right))
    return {test: np.array(right) for test, right in found.items()}


if __name__ == "__main__":
    main()
