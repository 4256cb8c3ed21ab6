"""Memory and time to score a year of days, against the counts it is scored from.

    python tests/benchmarks/bench_scores.py [--segments 500] [--days 365] [--requests 200]

One segment's requests are counted by the workers' own code; every segment has the same counts, so
that they need not be held: a block is made when it is read, as Spark would read it. The limit is
the size of all counts, which is what scoring them at once would hold at the very least, beside the
rows of scores themselves, which are held either way.
"""

import argparse
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from paired_world import alike, all_types, count, segment_name

from rehearsal.drift.blocks import SIZES, Counted
from rehearsal.drift.counts import layout_of
from rehearsal.drift.score import score_counts
from rehearsal.settings import Drift

MEGA = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=500)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--requests", type=int, default=200, help="of a segment and day")
    options = parser.parse_args()
    sizes = np.array([options.requests])
    replays = alike(np.random.default_rng(1), sizes, looks=options.days)
    one = all_types(count(replays)).reset_index(drop=True)
    names = [segment_name(i) for i in range(options.segments)]

    def read(segments: Sequence[str]) -> pd.DataFrame:
        return pd.concat([one.assign(segment_id=name) for name in segments], ignore_index=True)

    plain = pd.concat([one[list(SIZES)].assign(segment_id=name) for name in names])
    before = peak()
    began = time.perf_counter()
    settings = Drift(window="day", min_requests=options.requests // 2)
    scores = score_counts(Counted(plain, read), replays.bins, settings, names).scores
    took, held = time.perf_counter() - began, peak() - before
    cells = options.segments * options.days
    width = layout_of(replays.bins, [], graded=False).cell_width
    counts, rows = 8 * width * cells / MEGA, scores.memory_usage().sum() / MEGA
    print(f"{cells:,} cells, {len(scores):,} scores: {took:.0f} s, {cells / took:,.0f} cells/s")
    print(f"peak {held:,.0f} MB more, of which scores {rows:,.0f} MB; all counts {counts:,.0f} MB")
    print(f"ratio of the peak to counts and scores: {held / (counts + rows):.2f}")


def peak() -> float:
    """Return the most memory this process ever held, in MB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / (MEGA if sys.platform == "darwin" else 1000)


if __name__ == "__main__":
    main()
