"""Membership inference: can an attacker tell which rows a generator was trained on?"""

from collections.abc import Sequence

import numpy as np

from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.table import Floats
from rehearsal.seeds import derive_seed

MIN_ROWS = 10
Attack = tuple[Floats, Floats]
"""Scores of members and of others, higher for what the attacker takes for a member."""


def membership_advantage(attacks: Sequence[Attack], seed: int) -> Measured | None:
    """Return true less false positive rate of the best attack; 0 = none succeeds, 1 = always.

    Attack and threshold are chosen on one half of the rows and measured on the other, then the
    other way round, and the two are averaged: the largest over thresholds on the same rows is above
    0 even for fresh rows. None: no attack has MIN_ROWS members and as many others. Source: Yeom,
    Giacomelli, Fredrikson and Jha 2018, "Privacy risk in machine learning: analyzing the connection
    to overfitting", definition 4 and section 3.2.
    """
    rng = np.random.default_rng(derive_seed(seed, "membership"))
    halved = [
        [_halves(scores, rng) for scores in attack]
        for attack in attacks
        if min(map(len, attack)) >= MIN_ROWS
    ]
    if not halved:
        return None
    measured = []
    for chosen_on in (0, 1):
        chosen = [_best(members[chosen_on], others[chosen_on]) for members, others in halved]
        at = int(np.argmax([advantage for advantage, _ in chosen]))
        members, others = (scores[1 - chosen_on] for scores in halved[at])
        threshold = chosen[at][1]
        measured.append(float((members >= threshold).mean() - (others >= threshold).mean()))
    n, m = (min(len(scores[0]) + len(scores[1]) for scores in side) for side in zip(*halved))
    # The largest a rate's error can be; the rate itself is that of a chosen threshold.
    return Measured(float(np.mean(measured)), 0.5 * float(np.sqrt(1 / n + 1 / m)))


def _halves(scores: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    # An undefined score is one that no threshold takes for a member's.
    mixed = rng.permutation(np.where(np.isnan(scores), -np.inf, scores))
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


def _best(members: Floats, others: Floats) -> tuple[float, float]:
    """Return the largest advantage over thresholds on these rows, and the threshold."""
    thresholds = np.unique(np.concatenate([members, others]))
    rates = [
        1 - np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores)
        for scores in (members, others)
    ]
    advantages = rates[0] - rates[1]
    at = int(np.argmax(advantages))
    return float(advantages[at]), float(thresholds[at])
