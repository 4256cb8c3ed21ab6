"""What is trained, and the names of it, hang on all that decides the result, and on no more."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rehearsal.generate.fit import _training_told
from rehearsal.generate.training.plan import Parts, Share
from rehearsal.generate.training.reader import Files
from rehearsal.generate.training.stage import TRAINING, VALIDATION, Part, Snapshot
from rehearsal.generate.training.train import Trained, _bins, _train_base, segment_version
from rehearsal.settings import Generator, Private

SNAPSHOT = Snapshot(("segment",), {}, "rows", {0: "own rows"})
PLANNED = Parts(20, 15, 85)


def share(position: int = 0, kept: Parts = PLANNED) -> Share:
    return Share(f"s{position}", position, 1, kept, kept)


def prepared(
    codec: str = "codec", axes: str = "axes", drifting: tuple[Share, ...] = (), **generator: Any
) -> Any:
    """Stand in for the training data: all of it but what is asked here needs Spark."""
    settings = SimpleNamespace(generator=Generator(**generator))
    told = {"codec": SimpleNamespace(to_json=lambda: codec)}
    told["axes"] = SimpleNamespace(to_json=lambda: axes)
    return SimpleNamespace(settings=settings, kind="vae", seed=5, drifting=drifting, **told)


def version(snapshot: Snapshot = SNAPSHOT, **changed: Any) -> str:
    return segment_version(prepared(**changed), snapshot, share())


@pytest.mark.parametrize(
    "changed",
    [
        {"codec": "the same codes, of prices times 100"},
        {"axes": "other axes"},
        {"max_epochs": 7},
        {"gate": {"max_membership": 0.3}},
        {"snapshot": Snapshot(("segment",), {}, "rows", {0: "others"})},
    ],
)
def test_a_version_changes_with_all_that_decides_what_is_trained(changed: dict[str, Any]) -> None:
    assert version(**changed) != version()
    assert version(**changed) == version(**changed)


def test_a_version_does_not_change_with_what_only_judges() -> None:
    assert version(gate={"max_c2st": 0.6}) == version()


def test_what_is_added_to_other_weights_is_not_taken_for_the_same() -> None:
    data = prepared(drifting=(share(),))
    (first,), (again,), (other,) = (_bins(data, SNAPSHOT, base) for base in (b"1", b"1", b"2"))
    assert first.key == again.key != other.key


def test_rows_to_learn_from_count_and_not_those_of_the_test_part() -> None:
    held = (share(0), share(1, Parts(20, 15, 84)), share(2, Parts(0, 50, 50)))
    (made,) = _bins(prepared(drifting=held, min_rows=100), SNAPSHOT, b"")
    assert made.segments == {0: "s0", 2: "s2"}


def parts(n_training: int, n_validation: int) -> Snapshot:
    staged = {TRAINING: n_training, VALIDATION: n_validation}
    held = {(1, name): Part(Files((), ()), n) for name, n in staged.items()}
    return Snapshot(("segment",), held, "", {})


@pytest.mark.parametrize(("kind", "n"), [("vae", (9, 0)), ("mixture", (9, 0)), ("vae", (0, 9))])
def test_without_rows_of_a_part_the_training_fails_and_says_so(
    kind: str, n: tuple[int, int]
) -> None:
    task: Any = SimpleNamespace(kind=kind, settings=Generator())
    told = _train_base(prepared(), task, parts(*n), "", "version")
    assert told["status"] == "failed"
    assert told["reason"].startswith(f"{n[0]} requests to learn from and {n[1]} held out")


def test_a_private_training_needs_no_row_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from rehearsal.generate.training import train as train_module

    made = {"status": "fitted"}
    monkeypatch.setattr(train_module, "train_generator", lambda *_: made)
    task: Any = SimpleNamespace(kind="mixture", settings=Generator(private=Private(epsilon=1)))
    data = prepared()
    data.spark = None
    assert _train_base(data, task, parts(9, 0), "", "version") == made


FITTED = {"status": "fitted", "base_nats": 10.0, "adapted_nats": 9.5, "weights": None}
CURVE = [{"epoch": 1, "validation_nats": 9.5}]


@pytest.mark.parametrize(
    ("kept", "added", "status"),
    [
        (Parts(20, 15, 84), None, "insufficient_data"),
        # Trained with all that was planned, but some of it was left out, or few were held out.
        (PLANNED, FITTED | {"adapted_nats": np.nan, "curve": []}, "insufficient_data"),
        (PLANNED, FITTED | {"curve": CURVE}, "no_gain"),
        (PLANNED, FITTED | {"curve": CURVE, "weights": b"w"}, "fitted"),
        (PLANNED, {"status": "failed", "reason": "killed"}, "failed"),
        (PLANNED, None, "no_gain"),
    ],
)
def test_a_segment_that_was_not_trained_is_not_told_of_as_one_that_gained_nothing(
    kept: Parts, added: dict[str, Any] | None, status: str
) -> None:
    trained = Trained(SNAPSHOT, "v", {"status": "fitted"}, {})
    told = _training_told(prepared(min_rows=100), trained, share(0, kept), added)
    assert told["status"] == status
    assert "nan" not in str(told["reason"])
    if status == "insufficient_data":
        learnt = f"{kept.training} requests to train on and 15 held out: generator.min_rows is 100"
        assert told["reason"].startswith(learnt)
