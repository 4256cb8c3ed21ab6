"""How often two models that nobody could tell apart raise an alarm, against the stated 5%.

    python tests/benchmarks/bench_false_alarms.py [--datasets 200] [--looks 1 30]
        [--sizes 50 200 1000 5000 50000 mixed] [--users independent clustered returning]
        [--most-rows 1500000]

Each data set is an A/A replay: a value in 10 bins and 10 classes of skewed shares in 8 segments,
whose two models' answers are exchangeable by user. An alarm is any test of any segment, of all
users, or in any look with q <= alpha, whatever the size of the difference (thresholds are 1e-9).
Requests are one a user (independent), or ten a user with favourites of each model (clustered); in
'returning' the same users come back at every look; in 'one-sided' the experimental model alone has
favourites, so that users' answers are not exchangeable though all shares agree. Sizes are requests
per segment and look.

Beside it, on the same counts: Stuart-Maxwell with requests as units and Benjamini-Hochberg over all
segments, outputs and looks together; the unpaired G test with the same; KL >= 0.1 nats anywhere.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
from paired_world import Replays, alike, all_types, count, segment_name
from rivals import FIXED_KL_NATS, joints, plain_kl, stuart_maxwell, unpaired_g
from scipy.stats import binomtest

from rehearsal.drift.score import score_counts
from rehearsal.settings import Drift
from rehearsal.stats.multiple import q_values

SEGMENTS = 8
MIXED = (50, 50, 100, 200, 500, 1000, 5000, 50_000)
PER_USER = {"independent": 1, "clustered": 10, "returning": 10, "one-sided": 10}
METHODS = ("ours", "request SM + BH", "unpaired G + BH", "KL >= 0.1")


def main() -> None:
    options = _options()
    began = time.perf_counter()
    print(f"{'users':12} {'n':>6} {'looks':>5} {'sets':>5} {'tested':>6}", end=" ")
    print(f"{'ours':>7} {'95% interval':>14}", *(f"{name:>16}" for name in METHODS[1:]))
    ours: list[bool] = []
    for users in options.users:
        for looks in options.looks:
            for size in options.sizes:
                if users == "returning" and looks == 1:
                    continue
                found = [_alarms(*one, options.alpha)
                         for one in _data_sets(users, size, looks, options)]  # fmt: skip
                if not found:
                    print(f"{users:12} {size:>6} {looks:5d}  not run: too many rows")
                    continue
                _print(users, size, looks, found)
                ours += [one["ours"] > 0 for one in found if users != "one-sided"]
    if not ours:
        return
    low, high = binomtest(sum(ours), len(ours)).proportion_ci()
    rate = sum(ours) / len(ours)
    print(
        f"exchangeable data sets: an alarm in {rate:.2%} ({low:.2%} to {high:.2%}) of {len(ours)};",
        end="",
    )
    print(f" stated {options.alpha:.0%}: {rate / options.alpha:.2f} x", end=" ")
    print(f"({time.perf_counter() - began:.0f} s)")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=200)
    parser.add_argument("--looks", type=int, nargs="+", default=[1, 30])
    parser.add_argument(
        "--sizes", nargs="+", default=["50", "200", "1000", "5000", "50000", "mixed"]
    )
    parser.add_argument("--users", nargs="+", choices=list(PER_USER), default=list(PER_USER))
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most-rows", type=int, default=1_500_000, help="of a data set")
    return parser.parse_args()


def _data_sets(
    users: str, size: str, looks: int, options: argparse.Namespace
) -> Iterator[tuple[Replays, Drift]]:
    largest = MIXED if looks == 1 else MIXED[:-1]
    sizes = np.array(largest if size == "mixed" else [int(size)] * SEGMENTS)
    if sizes.sum() * looks > options.most_rows:
        sizes = sizes[: options.most_rows // looks // sizes[0]]
    if not len(sizes):
        return
    settings = Drift.model_validate({
        "window": "day", "alpha": options.alpha, "min_requests": 20, "min_users": 5,
        "thresholds": {"kl_nats": 1e-9, "mean_change": 1e-9},
    })  # fmt: skip
    for seed in range(options.datasets):
        random = np.random.default_rng([options.seed, seed, looks, PER_USER[users], sizes.sum()])
        returning, one_sided = users == "returning", users == "one-sided"
        yield (
            alike(random, sizes, PER_USER[users], looks, returning=returning, one_sided=one_sided),
            settings,
        )


def _alarms(replays: Replays, settings: Drift, alpha: float) -> dict[str, float]:
    """Return how many alarms each method raises, and the share of tests there were."""
    counts = all_types(count(replays))
    names = [segment_name(i) for i in range(int(replays.segment.max()) + 1)]
    scores = score_counts(counts, replays.bins, settings, names).scores
    judged = scores[scores["threshold"].notna()]
    joint = np.concatenate([joints(counts, output) for output in replays.bins.outputs])
    return {
        "ours": int((judged["q_value"] <= alpha).sum()),
        "request SM + BH": int((q_values(stuart_maxwell(joint)) <= alpha).sum()),
        "unpaired G + BH": int((q_values(unpaired_g(joint)) <= alpha).sum()),
        "KL >= 0.1": int((plain_kl(joint) >= FIXED_KL_NATS).sum()),
        "tested": float(judged["p_value"].notna().mean()),
    }


def _print(users: str, size: str, looks: int, found: list[dict[str, float]]) -> None:
    n = len(found)
    any_of = {name: sum(one[name] > 0 for one in found) for name in METHODS}
    low, high = binomtest(any_of["ours"], n).proportion_ci()
    tested = sum(one["tested"] for one in found) / n
    print(f"{users:12} {size:>6} {looks:5d} {n:5d} {tested:6.0%}", end=" ")
    print(f"{any_of['ours'] / n:7.1%} {low:6.1%} -{high:6.1%}", end=" ")
    print(*(f"{any_of[name] / n:16.1%}" for name in METHODS[1:]), flush=True)


if __name__ == "__main__":
    main()
