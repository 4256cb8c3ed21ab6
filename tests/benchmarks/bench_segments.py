"""A thousand drifting segments trained on two cores, against one segment at a time.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_segments.py --segments 1000

Segments of 200 to 2,000 rows differ in 8 columns by their profiles, and three in ten also in a way
no profile tells, which only an adapter can learn. They are staged as step 5 stages them; then the
generator of all segments and the adapters are trained as Spark tasks on local[2]. CPU-seconds are
summed over all Python processes; the largest resident one counts as the worker's peak. The
contrast trains the adapters of `--sample` segments, each on its own, in this process.
"""

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.training.plan import Share, plan_shares
from rehearsal.generate.training.profiles import effect_sizes, fit_profiles, segment_vectors
from rehearsal.generate.training.progress import watching
from rehearsal.generate.training.reader import Files
from rehearsal.generate.training.run import train_adapters, train_generator
from rehearsal.generate.training.stage import TEST, TRAINING, VALIDATION, Part, Snapshot
from rehearsal.generate.training.task import Bin, Task
from rehearsal.session import get_session
from rehearsal.settings import Generator, Spark

FEATURES = 4
ODD_SHARE = 0.3
SETTINGS = Generator(max_segments=100_000, max_total_rows=100_000_000, context_rows=0)
TYPES = np.array(["browse", "buy", "compare", "search"], dtype=object)
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=8, help="segments trained one by one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = World.of(options.segments, Path(folder))
        print(f"{len(world.shares):,} segments, {world.n_rows:,} rows of "
              f"{len(world.codec.tokens)} token columns, {len(world.bins)} bins; "
              f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
        base, cpu_seconds = trained(world)
        alone = one_by_one(world, base, options.sample)
        print(f"one by one: {alone:.2f} CPU-s per segment, "
              f"{alone / cpu_seconds:.1f} times as much")  # fmt: skip


@dataclass(frozen=True)
class World:
    """What was staged of planted segments."""

    codec: Codec
    shares: list[Share]
    bins: list[Bin]
    snapshot: Snapshot
    task: Task
    n_rows: int

    @classmethod
    def of(cls, n: int, folder: Path) -> "World":
        random = np.random.default_rng(7)
        features = random.normal(size=(n, FEATURES))
        counts = {f"s{i:05d}": int(random.integers(200, 2001)) for i in range(n)}
        parts = {
            (segment, part): round(rows * share)
            for segment, rows in counts.items()
            for part, share in ((TEST, 0.15), (VALIDATION, 0.15), (TRAINING, 0.7))
        }
        truth = Truth(random, features)
        sample = truth.rows(random.integers(0, n, 20_000))
        codec = fit_codec_frame(sample, fields_of(sample, ["type"]), SETTINGS)
        shares = plan_shares(parts, sorted(counts), SETTINGS)
        long = [
            {"segment_id": segment, "feature": f"f{j}", "effect_size": value}
            for segment, values in zip(sorted(counts), features, strict=True)
            for j, value in enumerate(values)
        ]
        effects = effect_sizes(pd.DataFrame(long))
        vectors = segment_vectors(fit_profiles(effects), effects, [s.segment_id for s in shares])
        snapshot = staged(folder, codec, truth, shares)
        task = Task(
            "vae", codec.to_json(), vectors, SETTINGS, 5, f"{folder}/kept", f"{folder}/told"
        )
        places = sorted({share.bin for share in shares})
        bins = [bin_of(snapshot, place, shares) for place in places]
        return cls(codec, shares, bins, snapshot, task, sum(counts.values()))


class Truth:
    """How rows of a segment are drawn: by its profile, and by a quirk of its own in some."""

    def __init__(self, random: np.random.Generator, features: np.ndarray) -> None:
        n = len(features)
        self._random = random
        self._scores = features @ random.normal(size=(FEATURES, 12))
        self._quirk = np.where(random.random(n) < ODD_SHARE, random.integers(1, 5, n), 0)

    def rows(self, segment: np.ndarray) -> pd.DataFrame:
        random, n, scores = self._random, len(segment), self._scores[segment]
        quirk = self._quirk[segment]
        kind = self._choice(0.6 * scores[:, :4])
        device = self._choice(0.6 * scores[:, 4:8] + np.eye(4)[kind])
        device = np.where((quirk > 0) & (random.random(n) < 0.4), quirk - 1, device)
        amount = np.exp(0.4 * scores[:, 8] + 0.5 * kind + 0.6 * random.normal(size=n))
        hour = (14 + 3 * scores[:, 9] + 3 * random.normal(size=n)) % 24
        items = random.poisson(1 + amount)
        return pd.DataFrame(
            {
                "type": TYPES[kind],
                "device": np.array(["desk", "phone", "tablet", "tv"], dtype=object)[device],
                "amount": amount,
                "items": items,
                "hour": hour,
                "age": 40 + 8 * scores[:, 10] + 6 * random.normal(size=n),
                "member": random.random(n) < 1 / (1 + np.exp(-scores[:, 11] - items + 4)),
                "country": (np.char.mod("c%d", random.geometric(0.2, n).clip(max=20))),
                "delay": np.where(hour > 20, 0.0, random.exponential(3.0, n)),
            }
        )

    def _choice(self, scores: np.ndarray) -> np.ndarray:
        return (scores + self._random.gumbel(size=scores.shape)).argmax(1)


def staged(folder: Path, codec: Codec, truth: Truth, shares: list[Share]) -> Snapshot:
    """Write a file per bin and part, its rows in random order, as step 5 does."""
    names = ("segment", *(token.name for token in codec.tokens))
    random, parts = np.random.default_rng(8), {}
    for place in sorted({share.bin for share in shares}):
        held = [share for share in shares if share.bin == place]
        for part, size in ((TRAINING, "n_training"), (VALIDATION, "n_validation")):
            each = [getattr(share, size) for share in held]
            segment = random.permutation(np.repeat([share.position for share in held], each))
            codes = codec.encode(truth.rows(segment))
            columns = zip(names, [segment, *codes.T], strict=True)
            path = folder / "rows" / f"bin={place}" / f"part={part}" / "0.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.table({k: v.astype(np.int32) for k, v in columns}), path)
            parts[place, part] = Part(Files((path.as_uri(),), names), len(segment))
    return Snapshot(names, parts, "0", {})


def bin_of(snapshot: Snapshot, place: int, shares: list[Share]) -> Bin:
    held = {share.position: share.segment_id for share in shares if share.bin == place}
    parts = snapshot.of(place, TRAINING), snapshot.of(place, VALIDATION)
    return Bin(place, held, *parts, str(place))


def trained(world: World) -> tuple[bytes, float]:
    """Train everything; return the general weights, and CPU-seconds per segment of adapters."""
    spark = get_session(Spark(master="local[2]", driver_memory="1g"))
    with told(world, "generator of all segments"):
        base = train_generator(spark, world.task, world.snapshot, "all")
    if base["status"] != "fitted":
        raise SystemExit(base["reason"])
    last = base["best"]["validation_nats"]
    print(f"  {len(base['curve'])} epochs, {last:.3f} nats held out, "
          f"{len(base['weights']) / MIB:.2f} MiB")  # fmt: skip
    with told(world, "adapters") as meter:
        rows = train_adapters(spark, world.task, base["weights"], world.bins)
    spark.stop()
    summary(world, rows)
    return base["weights"], meter.cpu_seconds / len(world.shares)


def summary(world: World, rows: list[dict[str, Any]]) -> None:
    kept = [row for row in rows if row.get("weights") is not None]
    sizes = {share.position: share.n_kept for share in world.shares}
    gains = [row["base_nats"] - row["adapted_nats"] for row in kept]
    by_size = Counter(sizes[row["position"]] // 500 * 500 for row in kept)
    of_size = Counter(n // 500 * 500 for n in sizes.values())
    shares = ", ".join(f"{n}: {by_size[n] / of_size[n]:.0%}" for n in sorted(of_size))
    print(f"  {Counter(row['status'] for row in rows)}, {len(kept)} kept, median gain "
          f"{np.median(gains):.3f} nats, {sum(len(r['weights']) for r in kept) / MIB:.1f} MiB; "
          f"kept by rows from {shares}; mean rounds "
          f"{np.mean([len(row.get('curve', [])) for row in rows]):.0f}")  # fmt: skip


def one_by_one(world: World, base: bytes, n: int) -> float:
    """Return CPU-seconds per segment where each of a sample is trained on its own."""
    import torch

    from rehearsal.generate.models.adapter import fit_adapters
    from rehearsal.generate.models.vae import load
    from rehearsal.generate.training.feed import read_rows
    from rehearsal.generate.training.task import _of_segments

    torch.set_num_threads(1)
    network = load(world.codec.layout(world.task.profiles.shape[1]), base)
    by_size = sorted(world.shares, key=lambda share: share.n_kept)
    chosen = [by_size[int((i + 0.5) * len(by_size) / n)] for i in range(n)]
    spent = 0.0
    for share in chosen:
        parts = (world.snapshot.of(share.bin, part) for part in (TRAINING, VALIDATION))
        place = [share.position]
        own = [
            _of_segments(read_rows(p.files, p.n_rows, world.task.profiles), place, place)
            for p in parts
        ]
        began = time.process_time()
        fit_adapters(network, *own, SETTINGS, 1, lambda _: None)
        spent += time.process_time() - began
    return spent / n


@dataclass
class Meter:
    """CPU-seconds and peak memory of the Python processes below this one, looked at often."""

    seconds: dict[int, float] = field(default_factory=dict)
    peak: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        for process in psutil.Process().children(recursive=True):
            try:
                if not process.name().startswith("java"):
                    times = process.cpu_times()
                    self.seconds[process.pid] = times.user + times.system
                    used = process.memory_info().rss
                    self.peak[process.pid] = max(used, self.peak.get(process.pid, 0))
            except psutil.NoSuchProcess:
                continue

    @property
    def cpu_seconds(self) -> float:
        return sum(self.seconds.values())


@contextmanager
def told(world: World, name: str) -> Iterator[Meter]:
    """Print what the body takes."""
    meter, done, lines = Meter(), threading.Event(), list[str]()

    def measure() -> None:
        while not done.wait(0.1):
            meter.look()

    began, load = time.monotonic(), os.getloadavg()[0]
    watcher = threading.Thread(target=measure)
    watcher.start()
    with watching(world.task.progress, lines.append):
        yield meter
    done.set()
    watcher.join()
    minutes = (time.monotonic() - began) / 60
    each = meter.cpu_seconds / len(world.shares)
    print(f"{name}: {minutes:.1f} minutes, {meter.cpu_seconds:.0f} CPU-s, {each:.3f} per segment, "
          f"largest worker {max(meter.peak.values()) / MIB:.0f} MiB; load {load:.1f} to "
          f"{os.getloadavg()[0]:.1f}, {len(lines)} reports")  # fmt: skip


if __name__ == "__main__":
    main()
