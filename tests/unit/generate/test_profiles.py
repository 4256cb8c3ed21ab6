"""A segment is described by how its users differ; a new one too, on the same axes."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.errors import ModelError
from rehearsal.generate.training.profiles import (
    MAX_AXES,
    Profiles,
    effect_sizes,
    fit_profiles,
    segment_vectors,
)

# Age and requests rise together; devices differ on their own, and less.
EFFECTS = pd.DataFrame(
    {"age": [2.0, -2.0, 0.0, 0.0], "devices": [0.0, 0.0, 1.0, -1.0], "requests": [2, -2, 0, 0]},
    index=pd.Index(["a", "b", "c", "d"], name="segment_id"),
)


def test_axes_are_the_main_ways_segments_differ_in_units_of_their_deviation() -> None:
    profiles = fit_profiles(EFFECTS)
    assert profiles.size == 2
    half = 0.5**0.5
    assert np.allclose(profiles.axes, [[half, 0, half], [0, 1, 0]])
    # Of 2.83, -2.83, 0, 0 on the first axis, and of 1, -1, 0, 0.
    assert profiles.scales == pytest.approx((2.0, half))
    vectors = segment_vectors(profiles, EFFECTS, ["a", "b", "c", "d"])
    assert np.allclose(vectors, [[2**0.5, 0], [-(2**0.5), 0], [0, 2**0.5], [0, -(2**0.5)]])


def test_described_segments_are_centred_and_of_deviation_one() -> None:
    effects = pd.DataFrame(np.random.default_rng(1).normal(0.3, 1, (40, 5)), columns=list("abcde"))
    vectors = segment_vectors(fit_profiles(effects), effects, list(effects.index))
    assert np.allclose(vectors.mean(0), 0)
    assert np.allclose(np.cov(vectors.T, bias=True), np.eye(5))


def test_a_new_segment_is_described_by_its_profile_alone() -> None:
    profiles = fit_profiles(EFFECTS)
    assert profiles.describe({"age": 1.0, "requests": 1.0}) == pytest.approx([0.5**0.5, 0])
    told = Profiles.from_json(profiles.to_json()).describe({"age": 1.0, "requests": 1.0})
    assert told == profiles.describe({"age": 1.0, "requests": 1.0})


def test_features_left_out_unknown_or_not_there_are_the_average_of_all_users() -> None:
    profiles = fit_profiles(EFFECTS)
    whole = profiles.describe({"age": 0.0, "devices": 0.7, "requests": 0.0})
    assert profiles.describe({"devices": 0.7}) == whole
    assert profiles.describe({"devices": 0.7, "age": float("nan")}) == whole
    assert profiles.describe({"devices": 0.7, "added since": 9.0}) == whole


def test_an_effect_without_bound_counts_as_five_deviations() -> None:
    profiles = fit_profiles(EFFECTS)
    assert profiles.describe({"age": float("inf")}) == profiles.describe({"age": 5.0})
    assert profiles.describe({"age": -1e9}) == profiles.describe({"age": -5.0})


def test_a_segment_without_a_profile_is_average() -> None:
    profiles = fit_profiles(EFFECTS)
    vectors = segment_vectors(profiles, EFFECTS, ["cold", "a"])
    assert np.array_equal(vectors[0], [0, 0])
    assert vectors[1, 0] > 1


@pytest.mark.parametrize(
    "effects",
    [
        EFFECTS[:1],
        EFFECTS[:0],
        EFFECTS[[]],
        EFFECTS * 0,
        pd.DataFrame({"age": [np.nan, np.nan]}, index=["a", "b"]),
        effect_sizes(pd.DataFrame(columns=["segment_id", "feature", "effect_size"])),
    ],
    ids=["one segment", "no segment", "no feature", "all alike", "all unknown", "no profile"],
)
def test_segments_that_do_not_differ_are_described_by_nothing(effects: pd.DataFrame) -> None:
    profiles = fit_profiles(effects)
    assert profiles.size == 0
    assert segment_vectors(profiles, effects, ["a", "b"]).shape == (2, 0)
    assert Profiles.from_json(profiles.to_json()) == profiles
    json.loads(profiles.to_json(), parse_constant=pytest.fail)


@given(
    n=st.integers(1, 30), width=st.integers(1, 15), seed=st.integers(0, 99), scale=st.floats(0, 9)
)
def test_there_are_few_axes_they_are_upright_and_numbers_are_finite(
    n: int, width: int, seed: int, scale: float
) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, width)) * scale
    values[random.random(values.shape) < 0.1] = np.nan
    effects = pd.DataFrame(values, columns=[f"f{j}" for j in range(width)])
    profiles = fit_profiles(effects)
    assert profiles.size <= min(MAX_AXES, width, max(n - 1, 0))
    for axis in profiles.axes:
        assert axis[int(np.argmax(np.abs(axis)))] > 0
        assert np.linalg.norm(axis) == pytest.approx(1)
    vectors = segment_vectors(profiles, effects, list(effects.index))
    assert np.isfinite(vectors).all()
    assert Profiles.from_json(profiles.to_json()) == profiles


def test_effects_are_one_row_per_segment_whatever_the_order_of_the_table() -> None:
    long = EFFECTS.reset_index().melt("segment_id", var_name="feature", value_name="effect_size")
    shuffled = long.sample(frac=1, random_state=3)
    assert np.array_equal(effect_sizes(shuffled).loc[EFFECTS.index, EFFECTS.columns], EFFECTS)
    assert fit_profiles(effect_sizes(shuffled)) == fit_profiles(effect_sizes(long))


@pytest.mark.parametrize(
    "changed",
    [
        {"axes": [[1.0, 0.0]]},
        {"axes": [[1.0, 0.0], [0.0, 1.0]]},
        {"centre": [0.0]},
        {"scales": [2.0, 0.0]},
        {"scales": [2.0, float("nan")]},
        {"scales": [2.0, "wide"]},
        {"scales": None},
    ],
)
def test_damaged_axes_are_refused_before_they_describe_anything(changed: dict[str, Any]) -> None:
    plain = json.loads(fit_profiles(EFFECTS).to_json())
    assert Profiles.from_json(json.dumps(plain)).size == 2
    with pytest.raises(ModelError, match="the axes that describe segments are damaged: "):
        Profiles.from_json(json.dumps(plain | changed))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", None])
def test_text_that_is_no_axes_is_refused(text: Any) -> None:
    with pytest.raises(ModelError, match="the axes that describe segments are damaged: "):
        Profiles.from_json(text)
