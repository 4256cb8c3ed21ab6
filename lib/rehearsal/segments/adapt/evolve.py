"""The next segments from the last ones: kept, refitted from where they are, or fitted from scratch.

Works on the bounded sample of prepared users, so that a run and a simulation go through one code.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rehearsal.segments.adapt.change import Kind, Measures, choose_refit, decide
from rehearsal.segments.cluster.centres import Panel, choose, fit_centres, judge, nearest, stability
from rehearsal.settings import Adapt


@dataclass(frozen=True)
class Evolution:
    """The decision, its reason in words, the centres (k, p) in force, and what each k would give.

    `panels` are empty if nothing was fitted.
    """

    kind: Kind
    reason: str
    centres: np.ndarray
    panels: tuple[Panel, ...]


def evolve(
    points: np.ndarray,
    centres: np.ndarray,
    measures: Measures,
    ks: Sequence[int],
    adapt: Adapt,
    seed: int,
    starts: int,
    max_iterations: int,
) -> Evolution:
    """Return the segments to go on with, by `measures` of all users and fits of the sample.

    Args:
        points: the sample, prepared as the fit in force does, shape (n, p).
        centres: of the fit in force, shape (k, p).
        measures: all users against that fit.
        ks: numbers of segments to try.
        adapt: when to refit.
        seed: of the fits.
        starts: fits from scratch for each k, of which the cheapest counts.
        max_iterations: of each fit.
    """
    asked = decide(measures, adapt)
    if asked.kind == "reassign":
        return Evolution("reassign", asked.reason, centres, ())
    warm = fit_centres(points, len(centres), seed, 1, max_iterations, init=centres).centres
    best, panels = choose(points, ks, seed, starts, max_iterations)
    users = np.bincount(nearest(points, warm)[0], minlength=len(warm))
    # Weighted: a few users that come and go as a segment are no reason to start anew.
    steady = float(np.average(stability(points, warm, seed), weights=users))
    chosen = choose_refit(judge(points, warm), panels, measures, adapt, len(points), steady)
    if chosen.kind == "warm_refit":
        found = warm
    elif chosen.k == len(best.centres):
        found = best.centres
    else:
        found = fit_centres(points, len(centres), seed, starts, max_iterations).centres
    return Evolution(chosen.kind, f"{asked.reason}. {chosen.reason}", found, tuple(panels))
