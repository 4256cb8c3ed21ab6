"""Who serves a segment: the fresh generator or the one that serves, by hand-made scores."""

from dataclasses import replace
from math import hypot
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from rehearsal.generate import fit
from rehearsal.generate.fit import Outcome
from rehearsal.generate.gate.candidates import SERVING, Candidate
from rehearsal.generate.gate.in_turn import Bench
from rehearsal.generate.rounds import Choice, Predecessor, choose, round_row
from rehearsal.settings import Gate

NUMBERS = ("c2st", "shapes", "pairs", "exact")
ERROR = 0.02
# Two standard errors of the difference of two scores.
CHANCE = 2 * hypot(ERROR, ERROR)


def scores_of(
    candidate: str, c2st: float | None, *, refused: str = "", **values: float | None
) -> pd.DataFrame:
    """The rows of a candidate; `refused` is the reason that its C2ST does not pass."""
    found = {"c2st": c2st, "shapes": 0.96, "pairs": 0.9, "exact": 0.0} | values
    return pd.DataFrame(
        [
            {
                "candidate": candidate, "score": name, "value": found[name],
                "standard_error": ERROR if name == "c2st" else None,
                "passed": not (name == "c2st" and refused),
                "note": refused if name == "c2st" else "",
            }
            for name in NUMBERS
        ]
    ).astype({"value": float, "standard_error": float})  # fmt: skip


def predecessor(effect: tuple[float, float] | None = None) -> Predecessor:
    made = Candidate(SERVING, "v-old", "vae", "{}", b"", None, {"s": [0.0]})
    return Predecessor("v-old", "r-old", effect, made)


GONE = "the generator of all segments of run r-old is gone"


def lost() -> Predecessor:
    return replace(predecessor((4.0, 0.5)), candidate=None, lost=GONE)


def chosen(
    *judged: pd.DataFrame, effect: tuple[float, float] | None = None, before: bool = True
) -> Choice:
    return choose(pd.concat(judged), predecessor(effect) if before else None)


def test_in_the_first_round_the_first_that_passed_serves() -> None:
    refused = scores_of("segment", 0.9, refused="C2ST AUC 0.900 is above gate.max_c2st 0.750.")
    assert chosen(refused, scores_of("all", 0.6), before=False) == Choice(
        "all", "the first that passed its gate"
    )
    assert chosen(scores_of("segment", 0.6), before=False).served_by == "segment"


def test_who_passes_goes_before_who_does_not_however_known_the_other_is() -> None:
    fails, passes = "C2ST AUC 0.900 is above gate.max_c2st 0.750.", scores_of("segment", 0.7)
    found = chosen(scores_of("serving", 0.9, refused=fails), passes, effect=(9.0, 5.0))
    assert found == Choice("segment", f"the one that served no longer passes its gate: {fails}")
    stays = chosen(scores_of("serving", 0.74), scores_of("all", 0.9, refused=fails))
    assert stays == Choice(SERVING, f"the fresh one did not pass its gate: {fails}")


@pytest.mark.parametrize(
    ("fresh", "served_by", "why"),
    [
        (0.65 - CHANCE - 0.001, "segment", "harder to tell from real requests: C2ST AUC 0.592"),
        (0.65 - CHANCE + 0.001, SERVING, "known to show +4.0 disagreements per 1,000"),
        (0.65 + CHANCE - 0.001, SERVING, "known to show +4.0 disagreements per 1,000"),
        (0.65 + CHANCE + 0.001, SERVING, "the fresh one is easier to tell from real requests"),
    ],
)
def test_a_difference_counts_from_two_standard_errors_on(
    fresh: float, served_by: str, why: str
) -> None:
    found = chosen(scores_of("serving", 0.65), scores_of("segment", fresh), effect=(4.0, 0.5))
    assert found.served_by == served_by
    assert why in found.why
    assert "against 0.650, 0.057 by chance" in found.why


@pytest.mark.parametrize("effect", [None, (4.0, 0.0), (4.0, -1.0)])
def test_of_two_as_good_the_newer_serves_unless_the_other_is_known_to_show_more(
    effect: tuple[float, float] | None,
) -> None:
    found = chosen(scores_of("serving", 0.65), scores_of("all", 0.66), effect=effect)
    assert found.served_by == "all"
    assert found.why == (
        "as good (C2ST AUC 0.660 against 0.650, 0.057 by chance), and of newer requests"
    )


@pytest.mark.parametrize(("old", "new"), [(None, 0.6), (0.6, None), (None, None)])
def test_where_c2st_of_either_is_unknown_they_count_as_equally_good(
    old: float | None, new: float | None
) -> None:
    judged = scores_of("serving", old), scores_of("segment", new)
    assert chosen(*judged).served_by == "segment"
    assert chosen(*judged, effect=(4.0, 1.0)).served_by == SERVING
    assert "unknown" in chosen(*judged).why


def test_a_score_of_zero_is_a_score() -> None:
    # No AUC is below .5; but 0 must not read as "unknown".
    found = chosen(scores_of("serving", 0.6), scores_of("segment", 0.0))
    assert found.why.startswith("harder to tell from real requests: C2ST AUC 0.000 against 0.600")


def test_when_none_passes_logged_requests_serve_and_the_last_ones_reasons_are_told() -> None:
    judged = [scores_of(name, 0.9, refused=f"{name} is bad.") for name in ("serving", "all")]
    assert chosen(*judged) == Choice("resampled", "no generator passed its gate: all is bad.")
    nothing = choose(pd.DataFrame(), None)
    assert nothing.served_by == "resampled"
    assert "too few rows are held out" in nothing.why


def test_one_that_could_not_be_judged_tells_its_reason_once() -> None:
    why = "Not judged: the weights are damaged"
    broken = scores_of("serving", None).assign(passed=False, note=why)
    found = chosen(broken, scores_of("all", 0.6))
    assert found == Choice("all", f"the one that served no longer passes its gate: {why}")
    assert chosen(scores_of("serving", 0.6)) == Choice(SERVING, "no fresh one was fitted")


def row_of(*judged: pd.DataFrame, before: Predecessor | None) -> dict[str, Any]:
    scores = pd.concat(judged) if judged else pd.DataFrame()
    versions = {"segment": "v-own", "all": "v-all"}
    return round_row("s", versions, scores, before, choose(scores, before))


def test_a_round_tells_both_the_fresh_one_and_the_one_that_served() -> None:
    row = row_of(
        scores_of("serving", 0.7, shapes=None),
        scores_of("segment", 0.9, refused="too easy to tell."),
        scores_of("all", 0.6),
        before=predecessor((4.0, 0.5)),
    )
    assert row == {
        "segment_id": "s", "fresh_candidate": "all", "fresh_version": "v-all",
        "serving_version": "v-old", "serving_run_id": "r-old", "kept": "fresh",
        "why": "harder to tell from real requests: C2ST AUC 0.600 against 0.700, 0.057 by chance",
        "fresh_c2st_auc": 0.6, "serving_c2st_auc": 0.7,
        "fresh_quality": pytest.approx(0.93), "serving_quality": pytest.approx(0.9),
        "serving_effect_per_1000": 4.0, "serving_effect_ci_low": 0.5,
    }  # fmt: skip


def test_what_served_and_is_gone_is_told_whoever_serves_now() -> None:
    row = row_of(scores_of("all", 0.6), before=lost())
    assert (row["kept"], row["serving_version"], row["serving_run_id"]) == (
        "fresh", "v-old", "r-old"
    )  # fmt: skip
    assert row["why"] == f"the one that served cannot be judged: {GONE}"
    assert (row["serving_effect_per_1000"], row["serving_c2st_auc"]) == (4.0, None)
    refused = row_of(scores_of("all", 0.9, refused="too easy to tell."), before=lost())
    assert refused["kept"] == "resampled"
    assert refused["why"] == (
        "no generator passed its gate: too easy to tell; the one that served cannot be judged: "
        f"{GONE}"
    )
    assert row_of(before=lost())["why"].endswith(GONE)


def outcome_of(before: dict[str, Predecessor], *judged: pd.DataFrame) -> Outcome:
    """Of two segments, both served by the generator of all if it passed."""
    base = {"segment_id": None, "status": "fitted", "synthesizer_version": "v-all"}
    own = [{"segment_id": s, "synthesizer_version": f"v-{s}"} for s in ("s", "t")]
    scores = pd.concat([rows.assign(segment_id=s) for rows in judged for s in ("s", "t")])
    return fit._decided([base, *own], scores, before)  # noqa: SLF001


def test_the_step_says_whose_generator_is_gone_and_judges_the_others() -> None:
    found = outcome_of({"s": lost()}, scores_of("all", 0.6))
    assert [row["served_by"] for row in found.synthesizers[1:]] == ["all", "all"]
    assert [row["why"] for row in found.rounds] == [
        f"the one that served cannot be judged: {GONE}", "the first that passed its gate"
    ]  # fmt: skip
    assert found.summary == (
        "2 drifting segments: 2 by the generator of all segments; "
        f"what served 1 of them until now cannot be judged: {GONE}"
    )
    both = outcome_of({"s": lost(), "t": lost()}, scores_of("all", 0.6)).summary
    assert both.endswith(f"what served 2 of them until now cannot be judged: {GONE}")


def test_one_that_served_a_segment_of_too_few_rows_to_judge_it_is_told_too() -> None:
    found = outcome_of({"s": predecessor()}, scores_of("all", 0.6))
    row = found.rounds[0]
    assert (row["kept"], row["serving_version"]) == ("fresh", "v-old")
    assert row["why"] == (
        "the one that served cannot be judged: too few of the segment's requests are held out"
    )
    # It is there, and the step need not say so on the console.
    assert found.summary == "2 drifting segments: 2 by the generator of all segments"


def test_without_a_fresh_generator_the_judges_get_the_rows_of_whom_an_earlier_run_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # s has a predecessor; t has none; u has too few rows to be judged by itself.
    gate = Gate()
    few = gate.min_rows - 1
    names = {"s": 500, "t": 500, "u": few}
    rows = [
        {"segment_id": name, "profile": [0.0], "synthesizer_version": f"v-{name}"}
        for name in (None, *names)
    ]
    rows[0] |= {"status": "failed", "kind": "vae", "codec_json": "{}", "weights": None}
    prepared = SimpleNamespace(
        drifting=[SimpleNamespace(segment_id=s, n_test=n) for s, n in names.items()],
        settings=SimpleNamespace(
            generator=SimpleNamespace(gate=gate, task_minutes=1),
            requests=SimpleNamespace(columns=SimpleNamespace(outcome=None)),
        ),
        codec=SimpleNamespace(to_json=lambda: "{}"), sound_rows=None, seed=1,
    )  # fmt: skip
    monkeypatch.setattr(fit, "target_of", lambda *_: "")
    monkeypatch.setattr(fit, "judged_rows", lambda _, __, judged_as: judged_as)

    def judged(judged_as: dict[str, str], bench: Bench) -> Any:
        shown = [
            scores_of(one.name, 0.6).assign(judged_as=name)
            for name in sorted(set(judged_as.values()))
            for one in bench.candidates[name]
        ]
        return SimpleNamespace(toPandas=lambda: pd.concat(shown))

    monkeypatch.setattr(fit, "judge_candidates", judged)
    before = {"s": predecessor(), "u": predecessor()}
    scores = fit._judge(prepared, rows, before)  # type: ignore[arg-type]  # noqa: SLF001
    assert set(scores["segment_id"]) == {"s"}
    found = fit._decided(rows, scores, before)  # noqa: SLF001
    assert [(row["kept"], row["serving_version"]) for row in found.rounds] == [
        ("serving", "v-old"), ("resampled", None), ("resampled", "v-old")
    ]  # fmt: skip
    assert "cannot be judged: too few" in found.rounds[2]["why"]


def test_a_round_that_keeps_the_serving_one_tells_whom_it_was_kept_over() -> None:
    before = predecessor()
    row = row_of(scores_of("serving", 0.6), scores_of("segment", 0.7), before=before)
    assert (row["kept"], row["fresh_candidate"], row["fresh_version"]) == (
        SERVING, "segment", "v-own"
    )  # fmt: skip
    assert row["serving_effect_per_1000"] is None


def test_what_was_never_judged_is_null_not_zero() -> None:
    row = row_of(before=None)
    assert row["kept"] == "resampled"
    told = ("fresh_candidate", "fresh_version", "serving_version", "serving_run_id")
    numbers = ("fresh_c2st_auc", "serving_c2st_auc", "fresh_quality", "serving_quality")
    assert [row[name] for name in (*told, *numbers)] == [None] * 8
