"""What a pass of EM, a fit and a sample of the mixture cost on Adult, in CPU seconds.

    OMP_NUM_THREADS=1 PYTHONPATH=lib python tests/benchmarks/bench_mixture.py adult.parquet

Prints one line per number of components: the fit, its held-out nats, rows sampled per CPU second,
and how many nats it is ahead of independent columns, which are the same fit with one component.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--components", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--bins", type=int, default=32)
    arguments = parser.parse_args()
    frame = pd.read_parquet(arguments.table).sample(frac=1, random_state=0, ignore_index=True)
    n = len(frame) * 4 // 5
    independent = None
    for components in (1, *arguments.components):
        settings = Generator(components=components, bins=arguments.bins)
        began = time.process_time()
        made = Synthesizer.fit(frame[:n], kind="mixture", settings=settings, seed=1)
        fit_s = time.process_time() - began
        began = time.process_time()
        made.sample(n, seed=2)
        rate = n / (time.process_time() - began)
        log_p = made.log_likelihood(frame[n:])
        nats = float("nan") if log_p is None else -float(log_p.mean())
        independent = nats if independent is None else independent
        epochs = len(made.fitted.curve) if made.fitted else 0
        print(
            f"K={components:4d}  fit {fit_s:5.1f} CPU-s in {epochs:2d} epochs  {nats:.3f} nats, "
            f"{independent - nats:.3f} ahead of independent columns  {rate:,.0f} rows/CPU-s"
        )


if __name__ == "__main__":
    main()
