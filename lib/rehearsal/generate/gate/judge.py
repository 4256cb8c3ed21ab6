"""Judge a synthesizer by its scores beside both ends of the scale."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.membership import Attack
from rehearsal.generate.gate.scores import (
    Comparison,
    Scores,
    compared_rows,
    likeness_of_halves,
    score_all,
)
from rehearsal.generate.gate.table import encode
from rehearsal.generate.gate.utility import Utility, tstr
from rehearsal.generate.gate.verdict import CRITERIA, Judgement, decide
from rehearsal.seeds import derive_seed
from rehearsal.settings import Gate


@dataclass(frozen=True, eq=False)
class Ends:
    """Both ends of the scale, which are of the real rows alone, whoever is judged by them.

    Args:
        n: rows of either kind in the scores of fidelity.
        half: of one half of the training rows in place of synthetic ones.
        independent: of the training rows, each column in an order of its own.
        expected: mean and standard deviation that real rows have, of scores that say so.
    """

    n: int
    half: Scores
    independent: Scores
    expected: dict[str, Measured]


def ends_of_scale(
    training: pd.DataFrame, test: pd.DataFrame, n_synthetic: int, target: str | None, seed: int
) -> Ends:
    """Return both ends of the scale; of the arguments of `judge`, and how many rows it judges.

    Raises:
        ModelError: the tables' columns differ, or the target is none of them.
    """
    _check_target(training, target)
    members, others = encode(training, test)
    rng = np.random.default_rng(derive_seed(seed, "judge"))
    order = rng.permutation(len(members))
    middle = len(order) // 2
    halves = members.take(order[:middle]), members.take(order[middle:])
    n = compared_rows(len(members), len(others), n_synthetic)
    comparison = Comparison(n, target, seed)
    half, _ = score_all(halves[1], others, halves[0], comparison)
    independent, _ = score_all(members, others, members.independent(rng), comparison)
    expected = likeness_of_halves(members, n, seed)
    if half["utility"] is None and target is not None:
        # Half of the rows may be too few for a score that all of them have.
        whole = tstr(members, others, members, target, seed)
        if whole is not None and whole.ratio is not None:
            expected["utility"] = whole.ratio
    return Ends(n, half, independent, expected)


def judge(
    training: pd.DataFrame,
    test: pd.DataFrame,
    synthetic: pd.DataFrame,
    target: str | None,
    likelihoods: Attack | None,
    settings: Gate,
    seed: int,
    ends: Ends | None = None,
) -> Judgement:
    """Return the scores of the synthesizer and whether it may be used.

    A limit asks for no more than real rows reach: it is loosened to `STANDARD_ERRORS` standard
    errors beyond the score that one half of the training rows has in place of synthetic ones (the
    other half standing for the training rows), or beyond a perfect generator's score where the half
    happens to do better. So a limit depends on the real rows and on the number of rows, never on
    the synthesizer, and with many rows it is the configured one.

    Args:
        training: rows the synthesizer was fitted on, columns as a codec decodes them.
        test: real rows it has not seen.
        synthetic: its rows, drawn for the conditions of training and test rows, any of them as
            likely, or for conditions of the same distribution.
        target: column that is predicted to measure utility; None: utility is not measured.
        likelihoods: log-likelihoods by the generator of training rows, and of test rows.
        settings: the limits.
        seed: of everything drawn.
        ends: of these rows; None: they are computed, which is two thirds of the work.

    Raises:
        ModelError: the tables' columns differ, or the target is none of them.
    """
    _check_target(training, target)
    if ends is None:
        ends = ends_of_scale(training, test, len(synthetic), target, seed)
    members, others, made = encode(training, test, synthetic)
    attacks = [likelihoods] if likelihoods is not None else []
    own, utility = score_all(members, others, made, Comparison(ends.n, target, seed), attacks)
    notes = {"utility": _about_utility(utility, target)}
    return Judgement(
        tuple(
            decide(
                criterion,
                (own, ends.half, ends.independent),
                ends.expected,
                settings,
                notes.get(criterion.name, ""),
            )
            for criterion in CRITERIA
        )
    )


def _check_target(training: pd.DataFrame, target: str | None) -> None:
    if target is not None and target not in training.columns:
        raise ModelError(f"the target {target!r} is no column of the rows that are judged")


def _about_utility(utility: Utility | None, target: str | None) -> str:
    if target is None:
        return "Undefined: no target."
    if utility is None:
        return f"Undefined: too few rows with {target}, or a single class or value of it."
    parts = f"TSTR {utility.tstr.value:.3f}, TRTR {utility.trtr.value:.3f} for {target}."
    return (
        parts if utility.ratio else f"Undefined: real rows predict no better than chance. {parts}"
    )
