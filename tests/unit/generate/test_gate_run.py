"""Candidates are judged one after another, and what is wrong with one stays with that one."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.gate import in_turn, run
from rehearsal.generate.gate.candidates import Candidate
from rehearsal.generate.gate.in_turn import Bench
from rehearsal.generate.gate.run import judge_group
from rehearsal.generate.gate.verdict import CRITERIA
from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.generate.training import child as child_module
from rehearsal.generate.training.child import ChildDied
from rehearsal.settings import Gate, Generator

SECONDS = 100.0


def requests(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    return pd.DataFrame(
        {
            "request_type": np.array(["browse", "buy"], dtype=object)[kind],
            "amount": kind * 50 + rng.normal(0, 5, n),
            "device": np.array(["desk", "phone", "tv"], dtype=object)[rng.integers(0, 3, n)],
        }
    )


def staged(n_training: int = 300, n_test: int = 100) -> pd.DataFrame:
    """The rows of a judgement as a worker gets them."""
    n = n_training + n_test
    keys = {
        "judged_as": "s", "segment_id": "s", "part": ["training"] * n_training + ["test"] * n_test,
        "request_id": [f"{i:04d}" for i in range(n)],
    }  # fmt: skip
    return requests(n, 1).assign(**keys)


def candidate(name: str, frame: pd.DataFrame | None = None) -> Candidate:
    learnt = requests(300, 2) if frame is None else frame
    settings = Generator(kind="mixture", min_count=5, bins=8, components=10)
    made = Synthesizer.fit(learnt, ["request_type"], kind="mixture", settings=settings)
    weights, codec = made.generator.to_bytes(), made.codec.to_json()
    return Candidate(name, f"v-{name}", "mixture", codec, weights, None, {"s": []})


def judged(candidates: Sequence[Candidate]) -> pd.DataFrame:
    now = candidate("now").codec_json
    bench = Bench({"s": candidates}, now, "request_type", Gate(), 1, SECONDS)
    return judge_group(bench)(staged())


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge in this process, where a test can look on."""

    def here(function: Callable[..., bytes], arguments: tuple[Any, ...], seconds: float) -> bytes:
        assert seconds == SECONDS
        return function(*arguments)

    monkeypatch.setattr(run, "run_in_child", here)


def refusals(rows: pd.DataFrame, name: str) -> set[str]:
    """The notes of a candidate that was not judged: every score is null and refused."""
    own = rows[rows["candidate"] == name]
    assert list(own["score"]) == [criterion.name for criterion in CRITERIA]
    assert own["value"].isna().all()
    assert not own["passed"].any()
    return set(own["note"])


def test_the_serving_one_and_the_first_that_passes_are_judged_by_one_scale() -> None:
    rows = judged([candidate("serving"), candidate("segment"), candidate("all")])
    assert list(dict.fromkeys(rows["candidate"])) == ["serving", "segment"]
    by_name = {name: own.set_index("score") for name, own in rows.groupby("candidate")}
    assert by_name["segment"]["passed"].all()
    ends = ["half_vs_half", "independent"]
    pd.testing.assert_frame_equal(by_name["serving"][ends], by_name["segment"][ends])
    assert by_name["segment"].loc["c2st", "standard_error"] == pytest.approx(0.0650, abs=1e-4)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("learnt", "told"),
    [
        (requests(300, 2).drop(columns="device"),
         "column 'device' is categorical now, and none to the generator"),
        (requests(300, 2).assign(colour="red"),
         "column 'colour' is none now, and categorical to the generator"),
        (requests(300, 2).assign(device=1.5),
         "column 'device' is categorical now, and continuous to the generator"),
    ],
)  # fmt: skip
def test_one_of_other_columns_than_requests_have_now_is_passed_over(
    learnt: pd.DataFrame, told: str
) -> None:
    rows = judged([candidate("serving", learnt), candidate("all")])
    assert refusals(rows, "serving") == {
        f"Not judged: it was fitted on other columns than requests have now: {told}"
    }
    fresh = rows[rows["candidate"] == "all"]
    assert fresh["passed"].all()
    both = rows.groupby("score")[["half_vs_half", "independent", "limit"]].nunique(dropna=False)
    assert (both == 1).all(axis=None), "who was not judged stands on the same scale"


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("damage", ["cut short", "not JSON", "no profile"])
def test_a_damaged_generator_is_told_and_the_others_are_judged(damage: str) -> None:
    whole = candidate("serving")
    broken = {
        "cut short": replace(whole, base=whole.base[:200]),
        "not JSON": replace(whole, codec_json="{"),
        "no profile": replace(whole, profiles={"elsewhere": []}),
    }[damage]
    rows = judged([broken, candidate("all")])
    (note,) = refusals(rows, "serving")
    assert note.startswith("Not judged: ")
    assert rows.loc[rows["candidate"] == "all", "passed"].all()


@pytest.mark.usefixtures("in_process")
def test_when_nobody_can_be_judged_the_limits_are_the_configured_ones() -> None:
    whole = candidate("all")
    rows = judged([replace(whole, base=b"")])
    assert refusals(rows, "all")
    asked = {criterion.name: getattr(Gate(), criterion.setting) for criterion in CRITERIA}
    assert dict(zip(rows["score"], rows["limit"], strict=True)) == asked


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("most", [5_000, 200])
def test_training_and_held_out_rows_are_asked_for_at_the_same_rate(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(in_turn, "ASKED_ROWS", most)
    asked, encode_conditions = [], Codec.encode_conditions
    monkeypatch.setattr(
        Codec,
        "encode_conditions",
        lambda codec, rows: asked.append(rows) or encode_conditions(codec, rows),
    )
    judged([candidate("all")])
    counts = asked[0]["part"].value_counts()
    assert len(asked[0]) == min(most, 400)
    assert asked[0]["request_id"].is_unique
    # 300 training and 100 held-out rows; of a sample, within three deviations of its share.
    assert counts["training"] == pytest.approx(0.75 * len(asked[0]), abs=0 if most > 400 else 13)


@pytest.mark.usefixtures("in_process")
def test_the_scale_is_computed_once_however_many_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, compute = [], in_turn.ends_of_scale
    monkeypatch.setattr(
        in_turn, "ends_of_scale", lambda *given: calls.append(given) or compute(*given)
    )
    judged([candidate("serving"), candidate("segment")])
    assert len(calls) == 1


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let the judgement of `segment` kill its process; return who was judged in which."""
    made: list[list[str]] = []
    forked, whole = child_module.multiprocessing.get_context("fork"), run.run_in_child

    def load(tried: Candidate) -> Any:
        if tried.name == "segment":
            os.kill(os.getpid(), signal.SIGKILL)
        return loaded(tried)

    def noted(function: Callable[..., bytes], arguments: tuple[Any, ...], seconds: float) -> bytes:
        made.append([one.name for one in arguments[1]])
        return whole(function, arguments, seconds)

    loaded = Candidate.load
    monkeypatch.setattr(Candidate, "load", load)
    monkeypatch.setattr(child_module, "_context", lambda: forked)
    monkeypatch.setattr(run, "run_in_child", noted)
    return made


def test_a_judge_that_is_killed_refuses_its_candidate_and_the_others_are_judged(
    deadly: list[list[str]],
) -> None:
    rows = judged([candidate(name) for name in ("serving", "segment", "all", "none")])
    # All together; then apart, up to the first that may serve.
    assert deadly == [["serving", "segment", "all", "none"], ["serving"], ["segment"], ["all"]]
    (note,) = refusals(rows, "segment")
    assert note.startswith("Not judged: killed by signal 9: most likely for want of memory; lower ")
    whole = judged([candidate(name) for name in ("serving", "all")])
    others = rows[rows["candidate"] != "segment"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, whole)
    assert others["passed"].all()
    both = rows.groupby("score")[["half_vs_half", "independent", "limit"]].nunique(dropna=False)
    assert (both == 1).all(axis=None), "who was not judged stands on the same scale"


def test_a_judge_that_takes_too_long_refuses_its_candidate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any) -> bytes:
        raise ChildDied("no answer within 60 s")

    monkeypatch.setattr(run, "run_in_child", never)
    rows = judged([candidate("serving"), candidate("all")])
    for name in ("serving", "all"):
        assert refusals(rows, name) == {"Not judged: no answer within 60 s"}


@pytest.mark.usefixtures("in_process")
def test_a_note_holds_no_password_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: Candidate) -> Any:
        raise OSError("s3a://key:secret@bucket/rows.parquet?token=abc is not there")

    monkeypatch.setattr(Candidate, "load", load)
    assert refusals(judged([candidate("all")]), "all") == {
        "Not judged: OSError: s3a://bucket/rows.parquet is not there"
    }


@pytest.mark.usefixtures("in_process")
def test_want_of_memory_refuses_a_candidate_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(_: Candidate) -> Any:
        raise MemoryError

    monkeypatch.setattr(Candidate, "load", load)
    (note,) = refusals(judged([candidate("all")]), "all")
    assert note.startswith("Not judged: out of memory (MemoryError); lower generator.batch_rows")
