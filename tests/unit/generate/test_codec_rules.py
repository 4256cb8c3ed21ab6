"""Ranges and constraints: kept by masked codes and by what is decoded, and counted where broken."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rehearsal.errors import SettingsError
from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import Field, fields_of, fit_codec_frame
from rehearsal.generate.codec.numeric import MISSING
from rehearsal.generate.codec.rules import closure
from rehearsal.generate.models.layout import Layout
from rehearsal.settings import Generator

Rule = dict[str, Any]


def at_most(column: str, other: str) -> Rule:
    return {"kind": "at_most", "column": column, "other": other}


def implied(column: str, value: str | float, then: str, then_value: float = 0.0) -> Rule:
    return {"kind": "implied", "column": column, "is": value, "then": then, "value": then_value}


def fit(
    frame: pd.DataFrame, *rules: Rule, conditions: tuple[str, ...] = (), **settings: Any
) -> Codec:
    made = Generator(**{"min_count": 2, "bins": 6} | settings, constraints=rules)
    return fit_codec_frame(frame, fields_of(frame, conditions), made)


def random_codes(
    layout: Layout, conditions: np.ndarray, seed: int, *, avoid_missing: bool
) -> np.ndarray:
    """Draw codes column after column among those the masks allow, as a generator does."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((len(conditions), len(layout.sizes)), dtype=np.int64)
    codes[:, : layout.n_conditions] = conditions
    for column in layout.generated:
        allowed = np.ones((len(codes), layout.sizes[column]), dtype=bool)
        for mask in layout.masks_of(column):
            allowed &= mask.allowed[codes[:, mask.earlier]]
        for never in layout.never:
            if never[0] == column:
                allowed[:, never[1]] = False
        assert allowed[:, MISSING].all()
        weight = allowed * rng.random(allowed.shape)
        if avoid_missing:
            weight[:, MISSING] = 1e-9
        codes[:, column] = weight.argmax(axis=1)
    return codes


def table(seed: int, n: int = 120) -> pd.DataFrame:
    """Numbers of several shapes that keep a <= b <= c and d <= b, some of them missing."""
    rng = np.random.default_rng(seed)
    shapes = [
        lambda: rng.normal(0, 3, n), lambda: rng.integers(-4, 5, n).astype(float),
        lambda: rng.integers(-99, 99, n).astype(float), lambda: np.full(n, 1.5),
        lambda: np.where(rng.random(n) < 0.5, 0.0, rng.gamma(1.0, 2.0, n)),
    ]  # fmt: skip
    drawn = {name: shapes[rng.integers(len(shapes))]() for name in "abcd"}
    for name in "abcd":
        drawn[name] = np.where(rng.random(n) < rng.choice([0.0, 0.2]), np.nan, drawn[name])
    drawn["k"] = rng.choice(["x", "y", "z"], n).astype(object)
    drawn["e"] = rng.integers(0, 9, n).astype(float)
    names = rng.permutation(list(drawn))
    return pd.DataFrame({name: drawn[name] for name in names})


RULES = (
    at_most("a", "b"), at_most("b", "c"), at_most("d", "b"), implied("k", "x", "a", 1.0),
    implied("e", 0, "d", 2.0), implied("e", 3, "a", 0.5),
)  # fmt: skip


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_masked_codes_always_decode_to_rows_that_keep_every_rule(
    seed: int, avoid_missing: bool, conditional: bool
) -> None:
    frame = table(seed)
    codec = fit(
        frame, *RULES, conditions=("k",) if conditional else (), ranges={"b": (-50.0, 60.0)}
    )
    layout = codec.layout()
    for mask in layout.masks:
        assert mask.allowed.any(axis=1).all()
    conditions = codec.encode_conditions(frame)
    codes = random_codes(layout, conditions, seed, avoid_missing=avoid_missing)
    made = codec.decode(codes, np.random.default_rng(seed))
    if conditional:
        made["k"] = frame["k"]
    assert not codec.rules.broken_in(made).any()


@given(st.integers(0, 10_000))
def test_any_codes_whatsoever_decode_to_rows_that_keep_every_rule(seed: int) -> None:
    codec = fit(table(seed), *RULES)
    uniform = np.random.default_rng(seed).random((200, len(codec.sizes)))
    made = codec.decode((uniform * codec.sizes).astype(np.int64), np.random.default_rng(seed))
    assert not codec.rules.broken_in(made).any()


@given(st.integers(0, 10_000))
def test_rows_that_are_no_breach_have_codes_that_the_masks_allow(seed: int) -> None:
    frame, held_out = table(seed), table(seed + 1)
    codec = fit(frame, *RULES)
    layout = codec.layout()
    for rows in (frame, held_out):
        codes = codec.encode(rows[~codec.breaches_in(rows)])
        for mask in layout.masks:
            assert mask.allowed[codes[:, mask.earlier], codes[:, mask.later]].all()
        for column, code in layout.never:
            assert (codes[:, column] != code).all()


def chain(n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    a = rng.normal(0, 1, n)
    b = a + rng.exponential(1, n)
    return pd.DataFrame({"c": b + rng.exponential(1, n), "a": a, "b": b})


def test_columns_without_missing_values_never_run_into_a_dead_end() -> None:
    codec = fit(chain(), at_most("a", "b"), at_most("b", "c"), bins=32, min_count=10)
    codes = random_codes(codec.layout(), np.zeros((5000, 0)), 3, avoid_missing=True)
    assert (codes != MISSING).all()
    assert codec.decode(codes, np.random.default_rng(1)).notna().all(axis=None)


def test_encoded_rows_come_back_in_order_near_what_they_were() -> None:
    frame = chain()
    codec = fit(frame, at_most("a", "b"), at_most("b", "c"), bins=32, min_count=10)
    back = codec.decode(codec.encode(frame), np.random.default_rng(1))
    assert (back["a"] <= back["b"]).all()
    assert (back["b"] <= back["c"]).all()
    for name in "abc":
        assert np.corrcoef(back[name], frame[name])[0, 1] > 0.98
        assert back[name].mean() == pytest.approx(frame[name].mean(), abs=0.1)


def test_masks_allow_what_may_stand_in_order_and_missing_beside_everything() -> None:
    frame = pd.DataFrame({"a": np.tile([1.0, 5.0], 50), "b": np.tile([2.0, np.nan], 50)})
    (mask,) = fit(frame, at_most("a", "b")).layout().masks
    # Rows: missing, 1, 5; columns: missing, 2.
    assert mask.allowed.tolist() == [[True, True], [True, True], [True, False]]


def test_a_code_that_nothing_later_goes_with_is_never_drawn() -> None:
    a = np.tile(np.arange(5.0), 20)
    frame = pd.DataFrame({"k": ["y"] * 100, "a": a, "b": a + 1})
    codec = fit(frame, at_most("a", "b"), implied("k", "x", "a", 9.0))
    # No b reaches the 9 that the rule is about, so neither that nor what implies it can be.
    names = {(codec.tokens[at].column, codec.label(codec.tokens[at], code))
             for at, code in codec.layout().never}  # fmt: skip
    assert names == {("k", "x"), ("a", "9")}
    frame.loc[0, "b"] = np.nan
    assert fit(frame, at_most("a", "b"), implied("k", "x", "a", 9.0)).layout().never == ()


def test_two_columns_that_leave_a_third_between_them_no_code_are_never_drawn_together() -> None:
    frame = pd.DataFrame({"a": [0.0, 5.0] * 50, "c": [6.0, 20.0] * 50, "b": [1.0, 10.0] * 50})
    codec = fit(frame, at_most("a", "b"), at_most("b", "c"))
    beside = {(m.earlier, m.later): m.allowed for m in codec.layout().masks}[0, 1]
    # a = 5 and c = 6 are in order, but b is 1 or 10.
    assert beside[1:, 1:].tolist() == [[True, True], [False, True]]


def test_an_implied_value_is_exact_for_a_condition_and_has_a_code_though_never_seen() -> None:
    frame = pd.DataFrame({"k": ["x", "y"] * 50, "a": np.arange(100.0) + 5})
    codec = fit(frame, implied("k", "z", "a"), conditions=("k",))
    codes = codec.encode_conditions(pd.DataFrame({"k": ["z"] * 30}))
    drawn = random_codes(codec.layout(), codes, 1, avoid_missing=True)
    assert codec.decode(drawn, np.random.default_rng(1))["a"].tolist() == [0.0] * 30


def test_other_is_never_the_category_a_rule_is_about() -> None:
    frame = pd.DataFrame({"k": ["x"] * 60 + ["y"] * 40, "a": [0.0] * 60 + list(range(40))})
    codec = fit(frame, implied("k", "x", "a"))
    others = np.stack([np.ones(50, dtype=np.int64), np.full(50, 2)], axis=1)
    assert set(codec.decode(others, np.random.default_rng(1))["k"]) == {"y"}


def test_rows_that_break_a_rule_are_found_and_not_learnt_from() -> None:
    nan = np.nan
    frame = pd.DataFrame(
        {
            "a": [1.0, 5.0, nan, 2.0, 2.0, -np.inf],
            "b": [2.0, 4.0, 1.0, nan, 900.0, 3.0],
            "k": ["y", "y", "x", "x", "y", None],
            "c": [0.0, 0.0, 0.0, 7.0, 1.0, nan],
        }
    )
    rules = (at_most("a", "b"), implied("k", "x", "c"))
    codec = fit(frame, *rules, ranges={"b": (0, 100), "a": (-10, 10)})
    assert codec.rules.broken_in(frame).tolist() == [False, True, False, True, True, True]
    sound = fit(frame.iloc[[0, 2]], *rules, ranges={"b": (0, 100), "a": (-10, 10)})
    assert codec == sound


def test_ranges_bound_what_is_decoded() -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(1).normal(0, 10, 3000)})
    codec = fit(frame, ranges={"a": (-3.0, 4.0)}, bins=16, min_count=10)
    assert codec.breaches_in(frame).sum() == ((frame["a"] < -3) | (frame["a"] > 4)).sum()
    codes = np.random.default_rng(2).integers(0, codec.sizes[0], (2000, 1))
    made = codec.decode(codes, np.random.default_rng(3))["a"].dropna()
    assert made.between(-3, 4).all()
    assert made.max() - made.min() > 6.5


def test_order_reaches_over_a_column_between() -> None:
    assert closure([("a", "b"), ("b", "c"), ("c", "d")]) == {
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")
    }  # fmt: skip
    codec = fit(chain(200), at_most("a", "b"), at_most("b", "c"))
    gap = pd.DataFrame({"a": [2.0], "b": [np.nan], "c": [1.0]})
    assert codec.breaches_in(gap).tolist() == [True]


def test_the_rules_come_back_with_the_codec() -> None:
    codec = fit(table(3), *RULES, ranges={"b": (-5, 6.0)})
    back = Codec.from_json(codec.to_json())
    assert back == codec
    assert back.layout().never == codec.layout().never
    assert len(back.layout().masks) == len(codec.layout().masks) >= len(RULES)


FIELDS = [
    Field("type", "categorical", True), Field("age", "continuous", True),
    Field("a", "continuous", False), Field("b", "continuous", False), Field("t", "datetime", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ranges": {"t": (0, 1)}}, "generator.ranges: 't' .*allowed: age, a, b"),
        ({"ranges": {"new": (0, 1)}}, "generator.ranges: 'new'"),
        ({"constraints": [at_most("a", "t")]}, "constraints.0.other: 't' .*allowed: a, b"),
        ({"constraints": [at_most("age", "a")]}, "constraints.0.column: 'age'"),
        ({"constraints": [implied("age", 3, "a")]}, "0.column: 'age' .*allowed: type, a, b"),
        ({"constraints": [implied("a", 3, "type")]}, "constraints.0.then: 'type'"),
        ({"constraints": [implied("type", 3, "a")]}, "constraints.0.is: .*put 3.0 in quotes"),
        ({"constraints": [implied("a", "x", "b")]}, "constraints.0.is: 'a' holds numbers"),
    ],
)
def test_a_rule_that_no_column_can_have_is_refused_with_its_key(
    settings: dict[str, Any], said: str
) -> None:
    frame = pd.DataFrame({"type": ["x"], "age": [1.0], "a": [1.0], "b": [1.0]})
    frame["t"] = pd.Timestamp("2024-01-01")
    with pytest.raises(SettingsError, match=said):
        fit_codec_frame(frame, FIELDS, Generator(**settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ranges": {"a": (2, 1)}}, "ranges.a: the lowest, 2.0, is not below the highest, 1.0"),
        ({"ranges": {"a": (1, 1)}}, "ranges.a: the lowest, 1.0, is not below the highest, 1.0"),
        ({"constraints": [at_most("a", "a")]}, "are both 'a'"),
        ({"constraints": [implied("a", 1, "a")]}, "are both 'a'"),
        (
            {"constraints": [at_most("a", "b"), at_most("b", "c"), at_most("c", "a")]},
            "'a' is at most itself, in a circle",
        ),
        (
            {"constraints": [implied("k", "x", "a", 0), implied("k", "x", "a", 1)]},
            "where k is 'x', a cannot be both 0.0 and 1.0",
        ),
        (
            {"constraints": [implied("k", True, "a", 0), implied("k", "true", "a", 1)]},
            "where k is 'true', a cannot be both 0.0 and 1.0",
        ),
        (
            {"constraints": [implied("k", "x", "a", 0)], "ranges": {"a": (1, 2)}},
            r"constraints.0.value: 0.0 is outside ranges.a",
        ),
    ],
)
def test_rules_that_contradict_one_another_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Generator(**settings)
