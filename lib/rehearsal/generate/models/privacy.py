"""What a private fit may spend, and what it has spent: (epsilon, delta) of any one user's rows.

Everything released of the rows is a sum with Gaussian noise, one release after the other. Such
releases, each with noise of standard deviation z times its L2 sensitivity, are together exactly as
private as one with z = 1 / sqrt(sum of 1 / z**2), also when a later sum depends on earlier
results (Dong, Roth, Su 2022, "Gaussian differential privacy", corollary 3.3). So the account is
closed, and no bound is lost.

The noise comes from the operating system, not from the run's seed: a seed stands in a settings
file, and whoever knows it could subtract the noise. A private fit therefore differs every time,
and fitting again spends the budget again: of n fits on the same users that are given away, the
leaks add up in squares, `epsilon_of` all their releases. An attempt that goes on where one on the
same rows and settings was stopped takes the codec and the generator that it left, and spends
nothing twice; what is left of an attempt is deleted once the step is done.

Which rows count, and what is public and what not covered: `training.private_rows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr
from scipy.stats import norm

from rehearsal.generate.models.layout import Floats
from rehearsal.settings import Private

CODEC_SHARE = 0.2
CUT_SHARE = 0.1
# Noise is rounded to the grid of the sums, so that no bit below it tells of the rows.
GRID = 2.0**-16


@dataclass(frozen=True)
class Spend:
    """How a budget is divided.

    Args:
        private: the budget.
        codec_noise: standard deviation of the codec's noise, in sensitivities of all its counts.
        pass_noise: the same of every pass of EM.
        passes: of EM over the rows, the count of the codes included.
        cut_delta: probability left to a category or value being kept though one user alone has it.
    """

    private: Private
    codec_noise: float
    pass_noise: float
    passes: int
    cut_delta: float

    @property
    def releases(self) -> tuple[float, ...]:
        """The noise of every release, in its sensitivities."""
        return (self.codec_noise, *(self.pass_noise,) * self.passes)

    @property
    def epsilon(self) -> float:
        """What all releases cost together, at the delta that the cut leaves."""
        return epsilon_of(self.releases, self.private.delta - self.cut_delta)


def spend(private: Private, passes: int) -> Spend:
    """Return how much noise the codec and every pass of EM get.

    Args:
        private: epsilon, delta, and the rows of one user.
        passes: over the rows, all of the same noise.
    """
    cut_delta = CUT_SHARE * private.delta
    leak = leak_of(private.epsilon, private.delta - cut_delta)
    return Spend(
        private,
        codec_noise=1 / (leak * sqrt(CODEC_SHARE)),
        pass_noise=sqrt(passes) / (leak * sqrt(1 - CODEC_SHARE)),
        passes=passes,
        cut_delta=cut_delta,
    )


def delta_of(leak: float, epsilon: float) -> float:
    """Return the smallest delta of one Gaussian release of sensitivity / noise = `leak`.

    Balle and Wang 2018, "Improving the Gaussian mechanism", theorem 8.
    """
    above = log_ndtr(leak / 2 - epsilon / leak)
    below = epsilon + log_ndtr(-leak / 2 - epsilon / leak)
    return float(exp(above) - exp(below))


def leak_of(epsilon: float, delta: float) -> float:
    """Return the largest sensitivity / noise whose release keeps (epsilon, delta)."""
    highest = 1.0
    while delta_of(highest, epsilon) < delta:
        highest *= 2
    root = brentq(lambda leak: delta_of(leak, epsilon) - delta, 1e-6, highest, xtol=1e-12)
    return float(root) * (1 - 1e-9)


def epsilon_of(noises: Sequence[float], delta: float) -> float:
    """Return the smallest epsilon that releases keep together at delta; inf without noise.

    Args:
        noises: standard deviation of each release's noise, in its sensitivities.
        delta: of all of them.
    """
    if min(noises) <= 0:
        return inf
    leak = sqrt(sum(noise**-2 for noise in noises))
    if delta_of(leak, 0.0) <= delta:
        return 0.0
    highest = 1.0
    while delta_of(leak, highest) > delta:
        highest *= 2
    return float(brentq(lambda epsilon: delta_of(leak, epsilon) - delta, 0.0, highest))


def secret_noise() -> np.random.Generator:
    """Return a source of noise that nobody can repeat, seeded by the operating system."""
    return np.random.default_rng()


def noisy(values: Floats, deviation: float, noise: np.random.Generator) -> Floats:
    """Return multiples of GRID with Gaussian noise of a standard deviation, on the same grid."""
    if deviation == 0:
        return values
    drawn: Floats = np.rint(noise.normal(0.0, deviation, values.shape) / GRID) * GRID
    return values + drawn


def cut_above(deviation: float, user_rows: int, places: int, delta: float) -> float:
    """Return the noisy count below which a value is dropped, for values nobody declared.

    A value that one user alone has must not show up: its count is at most `user_rows`, and with
    probability 1 - delta none of the `places` such values reaches the cut.
    """
    return user_rows + deviation * float(norm.isf(delta / places))
