"""Churn, migrants found, cost and truth of five ways to keep segments over time; planted changes.

    python tests/benchmarks/bench_adaptive.py [--users 50000] [--windows 12] [--worlds 3]

Twelve overlapping groups: a user is at the group's place plus a lasting offset of its own, plus
noise drawn anew in each window; 1% of users migrate to another group in each. The groups are as far
apart as lets the nearest place agree with the truth at an adjusted Rand index of 0.834, and the
noise is such that 10.9% of the users are nearest to another place in the next window.
Policies: a fit from scratch in each window with the ids as they come, or matched; a warm fit;
centres that never change; and ours, through the functions a run uses.

Splits, mergers, births and a mass migration are planted among groups spread evenly that agree at
0.95, where their number can be told; k is free there.

- spurious churn: share of the users that did not migrate whose segment id changed, per window
- migrants switched: share of the migrants whose id changed in the window they migrated in
- inertia: mean squared distance to the own centre over that of a fit from scratch, less 1
- ARI: agreement of the segments with the true groups
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from adaptive_world import GROUPS, World
from sklearn.metrics import adjusted_rand_score

from rehearsal.segments.adapt.change import Measures, measure, tally
from rehearsal.segments.adapt.evolve import Evolution, evolve
from rehearsal.segments.adapt.flows import migration_rows
from rehearsal.segments.adapt.identity import Event, Matched, match_segments
from rehearsal.segments.adapt.settle import settle
from rehearsal.segments.cluster.centres import choose, fit_centres
from rehearsal.segments.nearest import nearest, squared_to
from rehearsal.settings import Adapt, Migration

SAMPLE, STARTS, ITERATIONS = 20_000, 3, 20
KS = tuple(range(8, 17))
PLANTED = ("split", "merge", "birth", "migration")


@dataclass
class Fit:
    """Centres with ids, and what all users were like at the fit."""

    centres: np.ndarray
    ids: np.ndarray
    next_number: int
    shares: np.ndarray = field(init=False)
    cost: float = field(init=False)
    silhouette: float = field(init=False)
    far: np.ndarray = field(init=False)
    n_users: int = field(init=False)

    def remember(self, points: np.ndarray) -> None:
        labels, squared, second = nearest(points, self.centres)
        distance = pd.Series(np.sqrt(squared)).groupby(labels).quantile(0.99)
        self.far = distance.reindex(range(len(self.centres)), fill_value=0.0).to_numpy()
        sums = tally(labels, squared, second, self.far)
        self.shares = sums.users / sums.users.sum()
        self.cost, self.silhouette = sums.cost, sums.mean_silhouette
        self.n_users = len(points)

    def measures(self, points: np.ndarray) -> Measures:
        sums = tally(*nearest(points, self.centres), self.far)
        return measure(sums, self.shares, self.cost, self.silhouette, self.n_users)

    def squared_of(self, points: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return squared distances to the centre of each user's segment; NaN if it has none."""
        labels = pd.Index(self.ids).get_indexer(ids)
        squared = squared_to(np.ascontiguousarray(points.T), self.centres, np.maximum(labels, 0))
        return np.where(labels >= 0, squared, np.nan)


class Ours:
    """A segmentation over time, run by run, as the segment step keeps it in its tables."""

    def __init__(self, points: np.ndarray, ks: tuple[int, ...], adapt: Adapt, seed: int) -> None:
        self.ks, self.adapt, self.seed = ks, adapt, seed
        best, _ = choose(self._sample(points), ks, seed, STARTS, ITERATIONS)
        k = len(best.centres)
        ids = np.array([f"s{number:02d}" for number in range(1, k + 1)], dtype=object)
        self.fit = Fit(best.centres, ids, k + 1)
        self.fit.remember(points)
        self.segment = ids[nearest(points, best.centres)[0]]
        self.pending = np.full(len(points), None, dtype=object)
        self.runs = np.zeros(len(points), np.int32)
        self.events: tuple[Event, ...] = ()
        self.flows: list[pd.DataFrame] = []
        self.refits: set[int] = set()
        self.started = 0  # first run of the fit in force, or of one it was warmed from

    def _sample(self, points: np.ndarray) -> np.ndarray:
        return points[:SAMPLE] if len(points) <= SAMPLE else points[:: len(points) // SAMPLE]

    def run(self, points: np.ndarray) -> Evolution:
        """Go on with the users of the next window; new ones are at the end of `points`."""
        new = len(points) - len(self.segment)
        self.segment = np.append(self.segment, np.full(new, None, dtype=object))
        self.pending = np.append(self.pending, np.full(new, None, dtype=object))
        self.runs = np.append(self.runs, np.zeros(new, np.int32))
        self.seed += 1
        found = evolve(
            self._sample(points), self.fit.centres, self.fit.measures(points), self.ks, self.adapt,
            self.seed, STARTS, ITERATIONS,
        )  # fmt: skip
        self.events = ()
        if found.kind != "reassign":
            self.refits.add(len(self.flows))
            self.started = len(self.flows) if found.kind == "cold_refit" else self.started
            self.events = self.replace_fit(points, found.centres)
        self.settle(points)
        return found

    def replace_fit(self, points: np.ndarray, centres: np.ndarray) -> tuple[Event, ...]:
        matched = match(self.segment, points, self.fit, centres)
        self.fit = Fit(centres, np.array(matched.new_ids, dtype=object), matched.next_number)
        self.fit.remember(points)
        return matched.events

    def settle(self, points: np.ndarray) -> None:
        labels, squared, _ = nearest(points, self.fit.centres)
        before = self.segment
        settled = settle(
            self.fit.ids[labels], squared, before, self.fit.squared_of(points, before),
            self.pending, self.runs, self.adapt.hysteresis, self.adapt.patience,
        )  # fmt: skip
        self.segment, self.pending = settled.segment_id, settled.pending_id
        self.runs = settled.pending_runs
        pairs = pd.DataFrame({"from_segment_id": before, "to_segment_id": self.segment})
        self.flows.append(pairs.value_counts(dropna=False).rename("n_users").reset_index())

    def unusual(self) -> pd.DataFrame:
        """Return the last window's flows that are unusual against those before."""
        last = len(self.flows) - 1
        kept = [
            self.flows[run].assign(run_id=run)
            for run in range(self.started, last)
            if run not in self.refits
        ]
        if not kept:
            return self.flows[last].iloc[:0]
        rows = migration_rows(
            self.flows[last], pd.concat(kept), {}, Migration(), refitted=last in self.refits
        )
        return rows[rows["status"] == "unusual"]


def match(segment: np.ndarray, points: np.ndarray, fit: Fit, centres: np.ndarray) -> Matched:
    """Return ids for new centres by where the users of the old segments are now."""
    labels = nearest(points, centres)[0]
    olds = pd.Index(fit.ids).get_indexer(segment)
    known = olds >= 0
    overlap = np.zeros((len(fit.ids), len(centres)))
    np.add.at(overlap, (olds[known], labels[known]), 1)
    distance = np.linalg.norm(fit.centres[:, None] - centres[None], axis=2)
    new = np.bincount(labels[~known], minlength=len(centres))
    return match_segments(overlap, tuple(fit.ids), distance, fit.next_number, 2, joined=new)


class Baseline:
    """A policy without a brain: cold_raw, cold, warm or frozen; users are at the nearest centre."""

    def __init__(self, kind: str, points: np.ndarray, k: int, seed: int) -> None:
        self.kind, self.k, self.seed = kind, k, seed
        centres = fit_centres(points[:SAMPLE], k, seed, STARTS, ITERATIONS).centres
        self.fit = Fit(centres, np.array([f"s{i:02d}" for i in range(k)], dtype=object), k)
        self.segment = self.fit.ids[nearest(points, centres)[0]]

    def run(self, points: np.ndarray) -> None:
        self.seed += 1
        if self.kind != "frozen":
            init = self.fit.centres if self.kind == "warm" else None
            centres = fit_centres(
                points[:SAMPLE], self.k, self.seed, STARTS, ITERATIONS, init
            ).centres
            ids, number = self.fit.ids, self.fit.next_number
            if self.kind != "cold_raw":
                matched = match(self.segment, points, self.fit, centres)
                ids, number = np.array(matched.new_ids, dtype=object), matched.next_number
            self.fit = Fit(centres, ids, number)
        self.segment = self.fit.ids[nearest(points, self.fit.centres)[0]]


POLICIES = {
    "cold refit, raw ids": "cold_raw",
    "cold refit, matched ids": "cold",
    "warm refit": "warm",
    "frozen centres": "frozen",
    "ours": "ours",
}


def churn(users: int, windows: int, seed: int, kinds: Mapping[str, str] = POLICIES) -> pd.DataFrame:
    """Return a row per policy and window of one world: churn, switched, inertia, ari, decision."""
    world = World(seed, users, migrate=0.01)
    first = world.window()
    policies = {
        name: Ours(first, (GROUPS,), Adapt(), seed)
        if kind == "ours"
        else Baseline(kind, first, GROUPS, seed)
        for name, kind in kinds.items()
    }
    rows = []
    for window in range(1, windows + 1):
        points, before = world.window(), {n: p.segment for n, p in policies.items()}
        for name, policy in policies.items():
            evolution = policy.run(points)
            changed = policy.segment != before[name]
            rows.append(
                {
                    "policy": name,
                    "window": window,
                    "churn": changed[~world.migrated].mean(),
                    "switched": changed[world.migrated].mean(),
                    "cost": policy.fit.squared_of(points, policy.segment).mean(),
                    "ari": adjusted_rand_score(world.group, policy.segment),
                    "refits": int(evolution is not None and evolution.kind != "reassign"),
                }
            )
    table = pd.DataFrame(rows)
    cold = table[table["policy"] == "cold refit, raw ids"].set_index("window")["cost"]
    table["inertia"] = table["cost"] / table["window"].map(cold) - 1
    return table


def planted(
    kind: str, users: int, seed: int, windows: int = 8, at: int = 5, ks: tuple[int, ...] = KS
) -> pd.DataFrame:
    """Return a row per window of a world in which `kind` happens in window `at`."""
    world = World(seed, users, migrate=0.01, agreement=0.95, spaced=True)
    ours = Ours(world.window(), ks, Adapt(), seed)
    rows = []
    for window in range(1, windows + 1):
        if window == at:
            world.plant(kind)
        found = ours.run(world.window())
        rows.append(
            {
                "window": window,
                "decision": found.kind,
                "k": len(found.centres),
                "events": Counter(e.event for e in ours.events if e.event != "survived"),
                "unusual": len(ours.unusual()),
                "ari": adjusted_rand_score(world.group, ours.segment),
                "reason": found.reason,
            }
        )
    return pd.DataFrame(rows)


def refits_on_stationary_users(users: int, seed: int, windows: int = 12) -> int:
    """Return how often users that only draw new noise are fitted again."""
    world = World(seed, users, migrate=0.0)
    ours = Ours(world.window(), (GROUPS,), Adapt(), seed)
    return sum(ours.run(world.window()).kind != "reassign" for _ in range(windows))


def ids_kept_by_a_bootstrap(users: int, seed: int) -> float:
    """Return the share of users whose nearest segment has the same id in a fit on a bootstrap."""
    points = (world := World(seed, users, migrate=0.0)).window()
    ours = Ours(points, (GROUPS,), Adapt(), seed)
    drawn = world.random.integers(users, size=min(users, SAMPLE))
    again = fit_centres(points[drawn], GROUPS, seed + 1, STARTS, ITERATIONS)
    ours.replace_fit(points, again.centres)
    return float((ours.fit.ids[nearest(points, again.centres)[0]] == ours.segment).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--worlds", type=int, default=3)
    options = parser.parse_args()
    worlds = range(options.worlds)
    table = pd.concat(churn(options.users, options.windows, seed) for seed in worlds)
    print(
        f"{'policy':26}{'spurious churn':>15}{'switched':>10}{'inertia':>9}{'ARI':>7}{'refits':>8}"
    )
    for name in POLICIES:
        rows = table[table["policy"] == name]
        mean = rows[["churn", "switched", "inertia", "ari"]].mean()
        print(
            f"{name:26}{mean['churn']:15.1%}{mean['switched']:10.1%}{mean['inertia']:+9.1%}"
            f"{mean['ari']:7.3f}{rows['refits'].sum():8d}"
        )
    for kind in PLANTED:
        for seed in worlds:
            print(f"\n{kind} in window 5, world {seed}")
            print(planted(kind, options.users, seed).to_string(index=False, max_colwidth=90))
    for users in (300, 2_000, options.users):
        found = [refits_on_stationary_users(users, seed) for seed in worlds]
        print(f"refits in 12 windows of {users:,} users that only draw new noise: {found}")
    kept = [ids_kept_by_a_bootstrap(options.users, seed) for seed in worlds]
    print("users that keep their id in a fit on a bootstrap sample:", np.round(kept, 4))


if __name__ == "__main__":
    main()
