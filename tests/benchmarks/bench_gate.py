"""CPU seconds of a full judgement by rows, how often it errs, and its formulas against sdmetrics'.

    python tests/benchmarks/bench_gate.py --peer /path/of/an/environment/with/sdmetrics/bin/python
        [--rows 300 2000 20000] [--table adult.parquet --target income] [--worlds 0]

Rows of a known law, 20 columns (numbers with spikes, categories, missing values), a fifth as many
held out; or draws of a table. The synthetic rows are fresh draws of the same law. With `--worlds`,
that many perfect generators and as many that draw columns independently are judged at 40 and at
300 held-out rows: how many of either are refused.
sdmetrics runs in an environment of its own: it is a peer to measure against, not a dependency.
"""

import argparse
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from rehearsal.generate.gate.judge import judge
from rehearsal.generate.gate.shapes import column_shapes, pair_trends
from rehearsal.generate.gate.table import encode
from rehearsal.settings import Gate

PEER = """
import sys, time, itertools, warnings
import numpy as np, pandas as pd
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import KSComplement, TVComplement
warnings.simplefilter("ignore")
kinds = {name: float if name.startswith("n") else str for name in pd.read_csv(sys.argv[1], nrows=0)}
real, made = (pd.read_csv(path, dtype=kinds) for path in sys.argv[1:3])
number = {name: kind is float for name, kind in kinds.items()}
start = time.process_time()
shapes = [(KSComplement if number[c] else TVComplement).compute(real[c], made[c]) for c in real]
middle = time.process_time()
def pair(a, b):
    both = real[[a, b]].copy(), made[[a, b]].copy()
    if number[a] and number[b]:
        return CorrelationSimilarity.compute(*both)
    cut = [c for c in (a, b) if number[c]]
    return ContingencySimilarity.compute(*both, continuous_column_names=cut or None)
pairs = [pair(a, b) for a, b in itertools.combinations(real, 2)]
print(np.nanmean(shapes), np.nanmean(pairs), middle - start, time.process_time() - middle)
"""


def world(n: int, seed: int) -> pd.DataFrame:
    """Ten numbers and ten categories that follow one hidden number, 3% of them missing."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=n)
    made: dict[str, object] = {}
    for i in range(10):
        number = hidden * (i % 3) + rng.normal(size=n)
        made[f"n{i}"] = np.where(number < 0, 0.0, number) if i % 4 == 0 else number
    for i in range(10):
        codes = np.digitize(hidden + rng.normal(size=n), np.linspace(-2, 2, 2 + 3 * i))
        made[f"c{i}"] = np.char.add("v", codes.astype(str)).astype(object)
    frame = pd.DataFrame(made)
    return frame.mask(rng.random(frame.shape) < 0.03)


class Draws:
    """Training, held-out and fresh rows: of the world, or of a table's rows without replacement."""

    def __init__(self, table: str | None, target: str | None) -> None:
        self.rows = pd.read_parquet(table) if table else None
        self.target = target or "c1"

    def draw(self, sizes: list[int], seed: int) -> list[pd.DataFrame]:
        if self.rows is None:
            return [world(n, 10 * seed + place) for place, n in enumerate(sizes)]
        mixed = self.rows.sample(min(sum(sizes), len(self.rows)), random_state=seed)
        ends = np.cumsum([0, *sizes])
        return [mixed[a:b].reset_index(drop=True) for a, b in pairwise(ends)]


def permuted(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: frame[name].array[rng.permutation(len(frame))] for name in frame})


def costs(draws: Draws, rows: list[int]) -> None:
    print("training rows | held out | judgement CPU-s | shapes CPU-s | pairs CPU-s | passed")
    for n in rows:
        training, test, fresh = draws.draw([n, n // 5, n], 1)
        start = time.process_time()
        verdict = judge(training, test, fresh, draws.target, None, Gate(), 1)
        spent = time.process_time() - start
        real, made = encode(training, fresh)
        start = time.process_time()
        column_shapes(real, made)
        middle = time.process_time()
        pair_trends(real, made)
        parts = f"{middle - start:12.3f} | {time.process_time() - middle:11.3f}"
        print(f"{n:13d} | {n // 5:8d} | {spent:15.2f} | {parts} | {verdict.passed}", flush=True)


def against_sdmetrics(peer: str, n: int) -> None:
    real, made = world(n, 1), world(n, 2)
    for name in ("n1", "n2"):
        made[name] = np.random.default_rng(3).permutation(made[name])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("real.csv", "made.csv")]
        for frame, path in zip((real, made), paths, strict=True):
            frame.to_csv(path, index=False)
        command = [peer, "-c", PEER, *map(str, paths)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    theirs = [float(part) for part in said]
    tables = encode(real, made)
    print(f"{n} rows, 20 columns | ours | sdmetrics | difference | CPU-s, ours | theirs | ratio")
    for place, (name, score) in enumerate((("shapes", column_shapes), ("pairs", pair_trends))):
        start = time.process_time()
        value = score(*tables)
        spent, peers = time.process_time() - start, theirs[2 + place]
        print(
            f"{name:21s} | {value:.6f} | {theirs[place]:.6f} | {abs(value - theirs[place]):.1e} | "
            f"{spent:.3f} | {peers:.3f} | {peers / spent:.0f}x"
        )


def errors(draws: Draws, worlds: int) -> None:
    for n in (40, 300):
        refused = {"perfect": 0, "independent columns": 0}
        for seed in range(worlds):
            training, test, fresh = draws.draw([4 * n, n, 4 * n], seed)
            for name, made in (
                ("perfect", fresh),
                ("independent columns", permuted(training, seed)),
            ):
                verdict = judge(training, test, made, draws.target, None, Gate(), seed)
                refused[name] += not verdict.passed
        print(f"{n} held-out rows, refused of {worlds}: {refused}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[300, 2_000, 20_000])
    parser.add_argument("--peer", help="python of an environment with sdmetrics")
    parser.add_argument("--table", help="parquet file to draw from")
    parser.add_argument("--target", help="its column to predict")
    parser.add_argument("--worlds", type=int, default=0)
    arguments = parser.parse_args()
    draws = Draws(arguments.table, arguments.target)
    if arguments.peer:
        against_sdmetrics(arguments.peer, 20_000)
    costs(draws, arguments.rows)
    if arguments.worlds:
        errors(draws, arguments.worlds)


if __name__ == "__main__":
    main()
