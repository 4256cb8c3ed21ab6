"""Held-out NLL by segment size: from scratch, global, global + adapter.

A synthetic truth of many segments: columns depend on earlier ones, on the segment's profile, and on
a part of the segment's own that no profile tells. Its own NLL is the limit no model can pass.

    OMP_NUM_THREADS=1 PYTHONPATH=lib:tests python tests/benchmarks/bench_transfer.py
    OMP_NUM_THREADS=1 PYTHONPATH=lib:tests python tests/benchmarks/bench_transfer.py --only-at-once
"""

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from rehearsal.generate.models import vae
from rehearsal.generate.models.adapter import AdapterFit, fit_adapters, with_adapter
from rehearsal.generate.models.generator import Rows, silent
from rehearsal.generate.models.layout import Layout
from rehearsal.generate.models.memory import MemoryFeed
from rehearsal.settings import Generator

# Rows of a segment, and how many segments of that size.
SIZES = {30: 4, 50: 4, 100: 4, 300: 4, 1_000: 2, 3_000: 1, 10_000: 1, 30_000: 1}
CONTEXT_SEGMENTS, CONTEXT_ROWS, TEST_ROWS, N_PROFILE = 24, 500, 1000, 4
LAYOUT = Layout((4, 8, 6, 10, 5, 8, 12, 6, 9), 1, N_PROFILE)


class Truth:
    """p(row | segment), from which rows are drawn and by which they are judged."""

    def __init__(self, n_segments: int, own: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.profiles = rng.normal(size=(n_segments, N_PROFILE))
        sizes = LAYOUT.sizes
        self.base = [rng.normal(size=size) for size in sizes]
        self.from_profile = [0.5 * rng.normal(size=(N_PROFILE, size)) for size in sizes]
        self.from_earlier = [
            [rng.normal(size=(before, size)) * (rng.random() < 0.5) for before in sizes[:j]]
            for j, size in enumerate(sizes)
        ]
        self.own = [own * rng.normal(size=(n_segments, size)) for size in sizes]
        # What depends on the column before, differently in each segment.
        pairs = pairwise(sizes)
        self.own_pairs = [own * rng.normal(size=(n_segments, *pair)) for pair in pairs]

    def _log_odds(self, column: int, codes: np.ndarray, segment: np.ndarray) -> np.ndarray:
        logits = self.base[column] + self.own[column][segment]
        logits = logits + self.profiles[segment] @ self.from_profile[column]
        for earlier, weights in enumerate(self.from_earlier[column]):
            logits = logits + weights[codes[:, earlier]]
        if column:
            logits = logits + self.own_pairs[column - 1][segment, codes[:, column - 1]]
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def draw(self, segment: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        codes = np.zeros((len(segment), len(LAYOUT.sizes)), dtype=np.int64)
        for column in range(len(LAYOUT.sizes)):
            cumulative = np.exp(self._log_odds(column, codes, segment)).cumsum(1)
            reached = (rng.random(len(segment)) * 0.999999)[:, None]
            codes[:, column] = (cumulative <= reached).sum(1).clip(max=LAYOUT.sizes[column] - 1)
        return codes

    def nats(self, codes: np.ndarray, segment: np.ndarray) -> np.ndarray:
        at = np.arange(len(codes))
        return -sum(
            self._log_odds(column, codes, segment)[at, codes[:, column]]
            for column in LAYOUT.generated
        )


@dataclass(frozen=True)
class World:
    """Training and validation rows of all segments, test rows of those that are judged."""

    truth: Truth
    training: Rows
    validation: Rows
    test: Rows
    size_of: list[int]


def make_world(own: float, seed: int, sizes: dict[int, int] = SIZES) -> World:
    size_of = [size for size, n in sizes.items() for _ in range(n)]
    rows_of = size_of + [CONTEXT_ROWS] * CONTEXT_SEGMENTS
    truth = Truth(len(rows_of), own, seed)

    def rows(counts: list[int], key: int) -> Rows:
        segment = np.repeat(np.arange(len(counts)), counts)
        return Rows(truth.draw(segment, seed + key), segment, truth.profiles)

    held_out = [max(5, round(0.15 * n)) for n in rows_of]
    trained = [n - held for n, held in zip(rows_of, held_out, strict=True)]
    test = [TEST_ROWS] * len(size_of) + [0] * CONTEXT_SEGMENTS
    return World(truth, rows(trained, 1), rows(held_out, 2), rows(test, 3), size_of)


def of_segment(rows: Rows, place: int) -> Rows:
    own = rows.segment == place
    profiles = rows.profiles[place : place + 1]
    return Rows(rows.codes[own], np.zeros(own.sum(), dtype=np.int64), profiles)


def fit(training: Rows, validation: Rows, settings: Generator) -> vae.ConditionalVAE:
    feed = MemoryFeed(training, settings.batch_rows)
    return vae.fit(feed, validation, LAYOUT, settings, 1, silent).generator


def nats(network: vae.ConditionalVAE, rows: Rows) -> float:
    return -network.log_likelihood(rows.codes, rows.profiles[rows.segment]).mean()


class Clock:
    """CPU seconds since it was last asked."""

    def __init__(self) -> None:
        self.then = time.process_time()

    def lap(self) -> float:
        then, self.then = self.then, time.process_time()
        return self.then - then


def measure(world: World, settings: Generator) -> None:
    clock = Clock()
    base = fit(world.training, world.validation, settings)
    global_s = clock.lap()
    adapters = fit_adapters(base, world.training, world.validation, settings, 1, silent)
    adapters_s = clock.lap()
    kb = max(len(fitted.data or b"") for fitted in adapters) / 1e3
    print(
        f"CPU-s: global {global_s:.1f}, {len(adapters)} adapters {adapters_s:.1f}; "
        f"an adapter has {kb:.0f} kB"
    )
    table: dict[int, list[list[float]]] = {}
    for place, size in enumerate(world.size_of):
        table.setdefault(size, []).append(_judge(world, settings, base, adapters[place], place))
    print("rows    truth  scratch (CPU-s)   global  adapter (kept)")
    for size, lines in table.items():
        n = len(lines)
        true, own, own_s, of_all, adapted, kept = np.mean(lines, axis=0)
        print(
            f"{size:6d} {true:6.3f}   {own:6.3f} ({own_s:5.1f})   {of_all:6.3f}   {adapted:6.3f} "
            f"({kept * n:.0f} of {n})"
        )


def _judge(
    world: World, settings: Generator, base: vae.ConditionalVAE, adapter: AdapterFit, place: int
) -> list[float]:
    test = of_segment(world.test, place)
    true = world.truth.nats(test.codes, np.full(len(test.codes), place)).mean()
    parts = of_segment(world.training, place), of_segment(world.validation, place)
    clock = Clock()
    own = nats(fit(*parts, settings), test)
    own_s = clock.lap()
    data = adapter.data
    adapted = nats(base if data is None else with_adapter(base, data), test)
    return [true, own, own_s, nats(base, test), adapted, data is not None]


def measure_at_once(n: int, rows: int, settings: Generator) -> None:
    world = make_world(0.5, 7, {rows: n})
    # How good the base is does not matter here.
    base = fit(world.training, world.validation, settings.model_copy(update={"max_epochs": 1}))
    together = []
    for part in (world.training, world.validation):
        own = part.segment < n
        together.append(Rows(part.codes[own], part.segment[own], part.profiles[:n]))
    # A round costs the same however many follow it.
    settings = settings.model_copy(update={"patience": 2})
    clock = Clock()
    fit_adapters(base, *together, settings, 1, silent)
    at_once = clock.lap()
    few = min(n, 8)
    for place in range(few):
        own = [of_segment(part, place) for part in together]
        fit_adapters(base, *own, settings, 1, silent)
    one_by_one = clock.lap() * n / few
    print(
        f"{n} adapters of {rows} rows: at once {at_once:.1f} CPU-s, one by one {one_by_one:.1f} "
        f"({few} measured), ratio {one_by_one / at_once:.1f}"
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--own", type=float, default=0.5, help="what no profile tells; 0: nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=128, help="adapters; 0: leave this part out")
    parser.add_argument("--only-at-once", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = Generator(min_rows=20)
    if not given.only_at_once:
        measure(make_world(given.own, given.seed), settings)
    if given.at_once:
        measure_at_once(given.at_once, 300, settings)


if __name__ == "__main__":
    main()
