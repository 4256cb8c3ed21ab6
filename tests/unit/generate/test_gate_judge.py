"""The verdict: a perfect generator passes, one that lost the dependence or copies does not."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.gate.judge import ends_of_scale, judge
from rehearsal.generate.gate.measured import Measured
from rehearsal.generate.gate.verdict import CRITERIA, Judgement, decide
from rehearsal.settings import Gate

GATE = Gate()


def draw(n: int, seed: int) -> pd.DataFrame:
    """Dependent columns of every kind, with missing values in each."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, n)
    level = group + rng.normal(0, 0.5, n)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(level.round(2), unit="D")
    frame = pd.DataFrame(
        {
            "group": np.array(list("abcd"), dtype=object)[group],
            "level": level,
            "spend": np.where(group == 0, 0.0, rng.exponential(10 * (1 + group))),
            "when": when,
            "flag": np.where(rng.random(n) < 0.2 + 0.2 * group, "True", "False").astype(object),
        }
    )
    return frame.mask(rng.random(frame.shape) < 0.03)


def judged(made: pd.DataFrame, n: int = 300, seed: int = 1) -> Judgement:
    training, test = draw(n, 10 * seed + 1), draw(n // 2, 10 * seed + 2)
    return judge(training, test, made, "group", None, GATE, seed)


def permuted(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {name: frame[name].iloc[rng.permutation(len(frame))].array for name in frame}
    )


@cache
def verdict_on(made: str) -> Judgement:
    training = draw(300, 11)
    return judged({"fresh": draw(300, 3), "copies": training, "junk": permuted(training, 0)}[made])


def test_fresh_rows_pass_at_forty_rows_and_at_more() -> None:
    refused = [judged(draw(80, 10 * s + 3), n=80, seed=s).reasons for s in range(5)]
    assert refused == [()] * 5
    assert verdict_on("fresh").passed


def test_independent_columns_are_refused_although_their_shapes_are_as_of_real_rows() -> None:
    verdict = verdict_on("junk")
    by_name = {score.score: score for score in verdict.scores}
    assert by_name["shapes"].passed
    assert by_name["shapes"].value == pytest.approx(by_name["shapes"].half_vs_half, abs=0.03)
    assert not verdict.passed
    c2st = by_name["c2st"]
    assert c2st.value == pytest.approx(c2st.independent, abs=0.1)
    (reason,) = [reason for reason in verdict.reasons if reason.startswith("C2ST")]
    assert reason == (
        f"C2ST AUC {c2st.value:.3f} is above gate.max_c2st 0.750; real halves reach "
        f"{c2st.half_vs_half:.3f}, independent columns {c2st.independent:.3f}."
    )


def test_copies_are_refused_for_privacy_alone() -> None:
    verdict = verdict_on("copies")
    failed = {score.score for score in verdict.scores if not score.passed}
    assert failed == {"dcr_share", "nndr_gap", "exact", "membership"}
    assert "loosened to" in " ".join(verdict.reasons)


def test_likelihoods_that_know_the_training_rows_are_a_reason() -> None:
    training, test, fresh = draw(100, 1), draw(50, 2), draw(100, 3)
    known = np.full(100, 1.0), np.full(50, 0.0)
    verdict = judge(training, test, fresh, None, known, GATE, 1)
    (reason,) = verdict.reasons
    assert reason.startswith("membership advantage 1.000 is above gate.max_membership 0.150, loos")


def test_limits_depend_on_the_real_rows_and_their_number_alone() -> None:
    good, bad = verdict_on("fresh"), verdict_on("junk")
    assert [s.limit for s in good.scores] == [s.limit for s in bad.scores]
    assert [s.half_vs_half for s in good.scores] == [s.half_vs_half for s in bad.scores]
    for score, criterion in zip(good.scores, CRITERIA, strict=True):
        asked = getattr(GATE, criterion.setting)
        assert criterion.sign * score.limit >= criterion.sign * asked
        assert (score.limit != asked) == ("is loosened to what real halves reach" in score.note)


def test_a_limit_is_the_same_however_uncertain_the_synthesizers_own_score_is() -> None:
    utility = next(criterion for criterion in CRITERIA if criterion.name == "utility")
    undefined = {"utility": None}
    perfect = {"utility": Measured(1.0, 0.2)}
    for error in (0.05, 0.5):
        own = {"utility": Measured(0.3, error)}
        unknown = decide(utility, (own, undefined, undefined), {}, GATE)
        assert (unknown.limit, unknown.passed) == (GATE.min_utility, False)
        known = decide(utility, (own, undefined, undefined), perfect, GATE)
        assert known.limit == pytest.approx(1 - 3 * 0.2)
        assert not known.passed


def test_where_half_of_the_rows_predict_nothing_the_error_is_that_of_all_real_rows() -> None:
    training, test = draw(40, 1), draw(40, 2)
    ends = ends_of_scale(training, test, 40, "group", 1)
    assert ends.half["utility"] is None
    assert ends.expected["utility"].value == 1
    limits = {
        score.limit
        for made in (draw(40, 3), permuted(training, 0))
        for score in judge(training, test, made, "group", None, GATE, 1, ends).scores
        if score.score == "utility"
    }
    assert limits == {1 - 3 * ends.expected["utility"].error}


def test_there_is_one_row_per_score_and_the_same_ones_for_the_same_seed() -> None:
    rows = judged(draw(80, 3), n=80).as_rows()
    assert [row["score"] for row in rows] == [criterion.name for criterion in CRITERIA]
    assert list(rows[0]) == [
        "score", "direction", "synthesizer", "standard_error", "half_vs_half", "independent",
        "limit", "passed", "note",
    ]  # fmt: skip
    assert {row["score"] for row in rows if row["direction"] == "at least"} == {
        "shapes", "pairs", "utility",
    }  # fmt: skip
    assert judged(draw(80, 3), n=80).as_rows() == rows


def test_what_cannot_be_computed_is_null_and_passes_with_a_note() -> None:
    few = draw(12, 1)
    verdict = judge(few, few[:6], draw(12, 2), None, None, GATE, 1)
    null = {score.score: score.note for score in verdict.scores if score.value is None}
    assert set(null) == {"c2st", "utility", "membership"}
    assert all(note.startswith("Undefined") for note in null.values())
    assert null["utility"] == "Undefined: no target."


def test_a_synthesizer_of_which_nothing_can_be_said_does_not_pass() -> None:
    verdict = judge(draw(100, 1), draw(50, 2), draw(0, 3), "group", None, GATE, 1)
    assert all(score.passed for score in verdict.scores)
    assert verdict.reasons == ("no score can be computed of so few rows",)
    assert not verdict.passed


def test_empty_and_constant_columns_are_judged_too() -> None:
    blank = {"empty": np.nan, "nothing": None, "one": 1.0, "same": "x"}
    verdict = judge(*(draw(100, s).assign(**blank) for s in (1, 2, 3)), "same", None, GATE, 1)
    assert verdict.passed
    note = next(score.note for score in verdict.scores if score.score == "utility")
    assert note == "Undefined: too few rows with same, or a single class or value of it."


def test_a_target_that_is_no_column_is_refused() -> None:
    with pytest.raises(ModelError, match="the target 'sales' is no column"):
        judge(draw(50, 1), draw(50, 2), draw(50, 3), "sales", None, GATE, 1)
