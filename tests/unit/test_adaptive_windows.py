"""Segments over many windows keep still, find who migrates, and change when the groups do.

The small version of tests/benchmarks/bench_adaptive.py, through the same functions.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

USERS = 6_000


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield import_module("bench_adaptive")


def test_few_users_change_segment_without_cause_and_nearly_all_migrants_do(
    bench: ModuleType,
) -> None:
    policies = ("cold refit, raw ids", "cold refit, matched ids", "ours")
    table = bench.churn(USERS, 8, 0, {name: bench.POLICIES[name] for name in policies})
    mean = table.groupby("policy")[["churn", "switched", "ari", "refits", "inertia"]].mean()
    ours, matched = mean.loc["ours"], mean.loc["cold refit, matched ids"]
    assert mean.loc["cold refit, raw ids", "churn"] > 0.7
    assert ours["churn"] <= 0.06 < matched["churn"]
    assert ours["switched"] >= 0.96
    assert ours["ari"] > matched["ari"]
    assert ours["inertia"] < 0.01
    assert ours["refits"] == 0


@pytest.mark.parametrize(
    ("kind", "k", "event"), [("split", 13, "split"), ("merge", 11, "merged"), ("birth", 13, "born")]
)
def test_a_planted_change_is_found_in_its_window_with_the_right_k(
    bench: ModuleType, kind: str, k: int, event: str
) -> None:
    table = bench.planted(kind, USERS, seed=0, windows=4, at=3, ks=(10, 11, 12, 13, 14))
    assert list(table["decision"]) == ["reassign", "reassign", "cold_refit", "reassign"]
    assert list(table["k"]) == [12, 12, k, k]
    assert table["events"][2][event] == 1
    assert table["ari"].min() > 0.9


def test_a_mass_migration_is_an_unusual_flow_in_its_window_and_no_reason_to_refit(
    bench: ModuleType,
) -> None:
    table = bench.planted("migration", USERS, seed=0, windows=5, at=4, ks=(12,))
    assert set(table["decision"]) == {"reassign"}
    assert list(table["unusual"]) == [0, 0, 0, 1, 0]


@pytest.mark.parametrize("users", [300, USERS])
def test_users_who_only_draw_new_noise_are_never_fitted_again(
    bench: ModuleType, users: int
) -> None:
    assert bench.refits_on_stationary_users(users, seed=0) == 0


def test_a_fit_on_a_bootstrap_sample_keeps_the_ids(bench: ModuleType) -> None:
    assert bench.ids_kept_by_a_bootstrap(USERS, seed=0) >= 0.95
