"""Tables in, tables out: types, missing values, conditions, odd columns, and what is saved."""

import struct
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rehearsal.errors import ModelError
from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator, Private

SETTINGS = Generator(hidden=16, latent=2, max_epochs=2, batch_rows=64)
N = 1200


def bookings(n: int = N) -> pd.DataFrame:
    """One column of each type, some with gaps; `member` is True for every gold plan, else False."""
    random = np.random.default_rng(1)
    plan = random.choice(["free", "paid", "gold"], n)
    gap = random.random(n) < 0.3
    seconds = random.integers(1_700_000_000, 1_710_000_000, n)
    opened = pd.Series(pd.to_datetime(seconds, unit="s"))
    return pd.DataFrame(
        {
            "price": np.where(gap, np.nan, random.normal(50, 10, n)),
            "plan": plan,
            "member": plan == "gold",
            "answered": pd.Series(random.random(n) < 0.4, dtype="boolean").mask(gap),
            "nights": random.integers(1, 15, n),
            "opened": opened,
            "closed": opened.dt.tz_localize("UTC").mask(gap),
            "city": pd.Series(random.choice(["Bern", "Oslo"], n), dtype=object).mask(gap, None),
            "room": pd.Categorical(random.choice(["single", "double"], n)),
        }
    )


@pytest.fixture(scope="module")
def made() -> Synthesizer:
    settings = SETTINGS.model_copy(update={"max_epochs": 30, "patience": 30})
    return Synthesizer.fit(bookings(), ["plan", "nights"], settings=settings)


GOLD = {"plan": "gold", "nights": 3}


def test_columns_keep_their_order_and_types(made: Synthesizer) -> None:
    drawn = made.sample(50, GOLD, seed=1)
    assert drawn.dtypes.to_dict() == bookings().dtypes.to_dict()
    assert list(drawn) == list(bookings())


def test_missing_values_survive_where_there_were_some_and_only_there(made: Synthesizer) -> None:
    drawn = made.sample(2000, GOLD, seed=1)
    gaps = drawn.isna().mean()
    with_gaps = ["price", "answered", "closed", "city"]
    assert gaps[with_gaps].between(0.2, 0.4).all()
    assert (gaps.drop(with_gaps) == 0).all()


def test_booleans_are_learnt_as_booleans(made: Synthesizer) -> None:
    shares = {
        p: made.sample(300, GOLD | {"plan": p}, seed=2)["member"].mean() for p in ("free", "gold")
    }
    assert shares["free"] < 0.15
    assert shares["gold"] > 0.85


def test_values_stay_in_the_range_that_was_seen(made: Synthesizer) -> None:
    drawn, seen = made.sample(2000, GOLD, seed=3), bookings()
    for name in ("price", "opened", "closed"):
        assert drawn[name].min() >= seen[name].min()
        assert drawn[name].max() <= seen[name].max()


def test_conditions_are_a_value_for_all_rows_or_a_table_of_one_row_each(made: Synthesizer) -> None:
    asked = bookings()[["nights", "plan", "city"]][5:25]
    drawn = made.sample(20, asked, seed=4)
    assert drawn["plan"].tolist() == asked["plan"].tolist()
    assert drawn["nights"].tolist() == asked["nights"].tolist()
    with pytest.raises(ModelError, match="19 rows are asked for, and conditions of 20 given"):
        made.sample(19, asked, seed=4)
    with pytest.raises(ModelError, match="give a value for the condition columns nights"):
        made.sample(5, {"plan": "gold"}, seed=4)


@pytest.mark.parametrize("value", ["silver", None, 7])
def test_a_category_never_seen_is_refused_and_the_known_ones_named(
    made: Synthesizer, value: object
) -> None:
    with pytest.raises(ModelError, match=rf"no plan = '{value}'.*'free', 'gold', 'paid'"):
        made.sample(5, GOLD | {"plan": value}, seed=1)


def test_at_most_ten_known_categories_are_named() -> None:
    rows = pd.DataFrame({"code": np.arange(400) % 14, "y": np.arange(400) % 3})
    fitted = Synthesizer.fit(rows.astype({"code": str}), ["code"], settings=SETTINGS)
    with pytest.raises(ModelError, match=r"'5' and 4 more$"):
        fitted.sample(1, {"code": "x"}, seed=1)
    assert fitted.sample(3, {"code": 13}, seed=1)["code"].tolist() == ["13"] * 3


def test_a_category_never_seen_counts_as_rare_where_rare_ones_were_trained_on() -> None:
    rows = pd.DataFrame({"code": ["a"] * 300 + ["b"] * 4, "y": np.arange(304) % 3})
    fitted = Synthesizer.fit(rows, ["code"], settings=SETTINGS)
    for asked in ("b", "never"):
        assert fitted.sample(3, {"code": asked}, seed=1)["code"].tolist() == [asked] * 3


@pytest.mark.parametrize(("asked", "nearest"), [(1e9, 14), (-np.inf, 1), (np.inf, 14)])
def test_a_number_out_of_range_counts_as_the_nearest_end(
    made: Synthesizer, asked: float, nearest: int
) -> None:
    far = made.codec.encode_conditions(pd.DataFrame([{"plan": "gold", "nights": asked}]))
    end = made.codec.encode_conditions(pd.DataFrame([{"plan": "gold", "nights": nearest}]))
    assert np.array_equal(far, end)


def test_saved_and_loaded_it_samples_the_same_table(made: Synthesizer, tmp_path: Path) -> None:
    made.save(tmp_path)
    again = Synthesizer.load(tmp_path)
    pd.testing.assert_frame_equal(again.sample(50, GOLD, seed=1), made.sample(50, GOLD, seed=1))
    with pytest.raises(ModelError, match="no plan = 'silver'"):
        again.sample(1, GOLD | {"plan": "silver"}, seed=1)


@pytest.mark.parametrize("name", ["codec.json", "synthesizer.json", "generator.safetensors"])
@pytest.mark.parametrize("text", ["", "{}", "[1, 2"])
def test_a_damaged_file_is_refused(made: Synthesizer, tmp_path: Path, name: str, text: str) -> None:
    made.save(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError):
        Synthesizer.load(tmp_path)


def test_a_planted_row_is_neither_sampled_nor_saved(tmp_path: Path) -> None:
    own = {"price": 987_654.321, "city": "Xanadu", "nights": 4_321}
    planted = bookings(5).iloc[[2] * 5].assign(**own)
    rows = pd.concat([bookings(), planted], ignore_index=True)
    fitted = Synthesizer.fit(rows, ["plan"], settings=SETTINGS)
    drawn = fitted.sample(20_000, {"plan": planted["plan"].iloc[0]}, seed=1)
    fitted.save(tmp_path)
    saved = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for name, value in own.items():
        assert not (drawn[name] == value).any(), name
        assert str(value).encode() not in saved, name
        if name != "city":
            assert not any(struct.pack(form, value) in saved for form in ("<d", "<f")), name


def odd_table(n: int) -> pd.DataFrame:
    """Constants, columns without values, infinities, a category seen once, and an id."""
    random = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "constant": 4,
            "always": True,
            "nothing": np.nan,
            "no_words": pd.Series([None] * n, dtype=object),
            "infinite": np.where(np.arange(n) % 3 == 0, np.inf, random.normal(size=n)),
            "once": np.where(np.arange(n) == 1, "rare", "usual"),
            "id": [f"id {i}" for i in range(n)],
        }
    )


@pytest.mark.parametrize("n", [2, 3, 10, 300])
def test_odd_columns_and_few_rows_are_fitted(n: int) -> None:
    rows = odd_table(n)
    drawn = Synthesizer.fit(rows, settings=SETTINGS).sample(100, seed=1)
    # A value of too few rows could give one of them away, and comes back as missing.
    assert set(drawn["constant"].dropna()) == ({4} if n >= SETTINGS.min_count else set())
    assert set(drawn["always"].dropna()) == ({True} if n >= SETTINGS.min_count else set())
    assert drawn[["nothing", "no_words", "id"]].isna().all(axis=None)
    finite = rows["infinite"][np.isfinite(rows["infinite"])]
    assert drawn["infinite"].dropna().between(finite.min(), finite.max()).all()
    assert "rare" not in set(drawn["once"])


@pytest.mark.parametrize(
    ("rows", "conditions", "said"),
    [
        (odd_table(1), [], "fitted on 2 rows or more, not 1"),
        (pd.DataFrame(np.zeros((9, 3))), [], r"texts, each its own, not 0, 1, 2; rename them"),
        (pd.DataFrame([[1, 2]] * 9, columns=["a", "a"]), [], "not 'a', 'a'; rename them"),
        (bookings(9)[["plan"]], ["plan"], "every column is a condition; leave one"),
        (bookings(9)[["plan"]], ["city"], "the table has no column 'city', only 'plan'"),
    ],
)
def test_a_table_that_nothing_can_be_fitted_on_is_refused(
    rows: pd.DataFrame, conditions: list[str], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        Synthesizer.fit(rows, conditions, kind="mixture", settings=SETTINGS)


@pytest.mark.parametrize("kind", ["vae", "mixture"])
def test_too_few_rows_that_keep_the_rules_are_refused(kind: str) -> None:
    rows = pd.DataFrame({"x": [1.0, 200.0, 300.0]})
    settings = Generator(ranges={"x": (0, 10)})
    with pytest.raises(ModelError, match="on 2 rows or more that keep the rules, not 1"):
        Synthesizer.fit(rows, kind=kind, settings=settings)


def test_privacy_which_needs_users_is_refused_and_not_left_out_in_silence() -> None:
    with pytest.raises(ModelError, match="privacy is that of users.*rehearsal fit-generators"):
        Synthesizer.fit(bookings(), settings=Generator(private=Private(epsilon=1)))


def test_a_rule_about_a_boolean_is_kept() -> None:
    random = np.random.default_rng(1)
    visit = random.random(400) < 0.5
    rows = pd.DataFrame({"visit": visit, "x": np.where(visit, 0.0, random.random(400) + 1)})
    rule = {"kind": "implied", "column": "visit", "is": True, "then": "x", "value": 0.0}
    settings = Generator(max_epochs=2, components=5, constraints=[rule])
    drawn = Synthesizer.fit(rows, kind="mixture", settings=settings).sample(2000, seed=1)
    assert 800 < drawn["visit"].sum() < 1200
    assert set(drawn.loc[drawn["visit"], "x"].dropna()) == {0.0}


def test_where_in_its_bin_a_value_falls_is_not_what_chose_the_code() -> None:
    random = np.random.default_rng(3)
    rows = pd.DataFrame({"x": random.normal(size=1000), "z": random.normal(size=1000)})
    settings = Generator(max_epochs=2, components=1)
    fitted = Synthesizer.fit(rows, kind="mixture", settings=settings)
    (column, _) = fitted.codec.generated
    drawn = pd.concat([fitted.sample(1, seed=seed) for seed in range(300)], ignore_index=True)
    low, high = column.numeric.bounds(column.encode(drawn["x"])[:, 0])
    place = (drawn["x"] - low) / (high - low)
    # Independent: of 300 pairs a correlation is below 4 / sqrt(300) in size.
    assert abs(place.corr(drawn["z"], method="spearman")) < 0.23


def few(**columns: object) -> Synthesizer:
    settings = Generator(max_epochs=2, components=5)
    rows = pd.DataFrame({"y": np.arange(400) % 7, **columns})
    return Synthesizer.fit(rows, [*columns], kind="mixture", settings=settings)


def test_integers_beyond_what_a_double_tells_apart_come_back_as_integers() -> None:
    random = np.random.default_rng(2)
    wide = pd.Series(random.integers(2**54, 2**60, 400))
    top = np.where(np.arange(400) % 3 == 0, np.iinfo(np.int64).max, 5)
    rows = pd.DataFrame({"wide": wide.astype("Int64").mask(np.arange(400) % 9 == 0), "top": top})
    rows["unsigned"] = np.where(top == 5, np.iinfo(np.uint64).max, np.uint64(7))
    settings = Generator(max_epochs=2, components=5)
    drawn = Synthesizer.fit(rows, kind="mixture", settings=settings).sample(300, seed=1)
    assert drawn.dtypes.to_dict() == rows.dtypes.to_dict()
    assert drawn["wide"].dropna().between(2**54, 2**60).all()
    assert set(drawn["top"]) == {5, 2**63 - 1024}
    assert set(drawn["unsigned"]) == {7, 2**64 - 2048}


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_an_instant_is_asked_for_in_any_spelling(zone: str | None) -> None:
    hours = pd.Series(pd.date_range("2024-01-01", periods=400, freq="h", tz=zone))
    fitted = few(at=hours)
    at = pd.Timestamp("2024-01-03", tz="UTC")
    for asked in ("2024-01-03", datetime(2024, 1, 3, tzinfo=UTC), at, at.tz_localize(None)):
        drawn = fitted.sample(2, {"at": asked}, seed=1)["at"]
        assert drawn.dtype == hours.dtype
        assert (drawn.dt.tz_localize("UTC") if zone is None else drawn).tolist() == [at, at]
    assert fitted.sample(2, {"at": None}, seed=1)["at"].isna().all()
    with pytest.raises(ModelError, match="the condition at is datetime, got 'soon'"):
        fitted.sample(1, {"at": "soon"}, seed=1)


def test_a_whole_number_is_not_asked_for_with_a_fraction() -> None:
    fitted = few(age=np.arange(400) % 90)
    for asked in (30, "30", 30.0):
        assert fitted.sample(1, {"age": asked}, seed=1)["age"].tolist() == [30]
    with pytest.raises(ModelError, match=r"whole numbers as age, got 30\.7"):
        fitted.sample(1, {"age": 30.7}, seed=1)
    with pytest.raises(ModelError, match="the condition age is continuous, got 'old'"):
        fitted.sample(1, {"age": "old"}, seed=1)


def test_categories_that_are_other_objects_come_back_as_their_texts() -> None:
    rows = pd.DataFrame({"day": [date(2024, 1, 1 + i % 5) for i in range(400)]})
    fitted = Synthesizer.fit(rows, kind="mixture", settings=Generator(max_epochs=2, components=5))
    assert set(fitted.sample(300, seed=1)["day"]) == {f"2024-01-0{day}" for day in range(1, 6)}
