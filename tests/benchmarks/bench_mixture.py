"""What a pass of EM, a fit and a sample of the mixture cost on Adult, in CPU seconds.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_mixture.py

Prints one line per number of components: the fit, its held-out nats, rows sampled per CPU second,
and how many nats it is ahead of independent columns, which are the same fit with one component.
"""

import argparse
import time

from adult import adult

from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--bins", type=int, default=32)
    arguments = parser.parse_args()
    training, test = adult(seed=1)
    n = len(training)
    independent = None
    for components in (1, *arguments.components):
        settings = Generator(components=components, bins=arguments.bins)
        began = time.process_time()
        made = Synthesizer.fit(training, kind="mixture", settings=settings, seed=1)
        fit_s = time.process_time() - began
        began = time.process_time()
        made.sample(n, seed=2)
        rate = n / (time.process_time() - began)
        log_p = made.log_likelihood(test)
        nats = float("nan") if log_p is None else -float(log_p.mean())
        independent = nats if independent is None else independent
        epochs = len(made.fitted.curve) if made.fitted else 0
        print(
            f"K={components:4d}  fit {fit_s:5.1f} CPU-s in {epochs:2d} epochs  {nats:.3f} nats, "
            f"{independent - nats:.3f} ahead of independent columns  {rate:,.0f} rows/CPU-s"
        )


if __name__ == "__main__":
    main()
