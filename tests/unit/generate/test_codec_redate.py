"""An earlier generator's requests lie in the time that is replayed now."""

import numpy as np
import pandas as pd
import pytest

from rehearsal.generate.codec.encode import Codec
from rehearsal.generate.codec.fit_codec import fields_of, fit_codec_frame
from rehearsal.generate.codec.redate import redated
from rehearsal.settings import Generator

WEEK = pd.Timedelta(days=7)


def requests(start: str, days: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    seconds = rng.integers(0, days * 86_400, 400)
    return pd.DataFrame(
        {
            "requested_at": pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s"),
            "born_at": pd.Timestamp("1980-01-01") + pd.to_timedelta(seconds // 86_400, unit="D"),
        }
    )


def codec_of(frame: pd.DataFrame, bins: int) -> Codec:
    return fit_codec_frame(frame, fields_of(frame, ()), Generator(bins=bins, min_count=2))


@pytest.mark.parametrize(("days", "bins"), [(20, 32), (200, 16)], ids=["days", "weeks"])
def test_requests_move_by_whole_weeks_and_everything_else_stays(days: int, bins: int) -> None:
    then = requests("2026-03-02", days)
    # 23 days later: three weeks are nearest.
    later = requests("2026-03-25", days)
    earlier, now = codec_of(then, bins), codec_of(later, bins)
    first, last = later["requested_at"].min(), later["requested_at"].max()
    codec = redated(earlier, now)
    assert codec.sizes == earlier.sizes
    moved = then.assign(requested_at=then["requested_at"] + pd.Timedelta(days=21))
    codes = earlier.encode(then)
    assert np.array_equal(codec.encode(moved), codes)
    before, after = (c.decode(codes, np.random.default_rng(1)) for c in (earlier, codec))
    pd.testing.assert_series_equal(before["born_at"], after["born_at"])
    # The first and the last week were seen in part, and are drawn inside of that part.
    begin, end = (now_at.tz_localize("UTC") for now_at in (first, last))
    assert after["requested_at"].between(begin, end).all()
    inner = after["requested_at"].between(begin + WEEK, end - WEEK)
    apart = (after["requested_at"] - before["requested_at"])[inner]
    assert (apart == 3 * WEEK).mean() > 0.9
    assert set(apart.dt.total_seconds() % WEEK.total_seconds()) == {0}


def test_of_the_same_time_or_without_instants_it_is_the_same_codec() -> None:
    earlier = codec_of(requests("2026-03-02", 20), 8)
    assert redated(earlier, codec_of(requests("2026-03-04", 20), 8)) == earlier
    plain = codec_of(pd.DataFrame({"amount": np.arange(100.0)}), 8)
    assert redated(earlier, plain) == earlier
    assert redated(plain, earlier) == plain


def shipped(start: str, days: int, *, born: str = "1980-01-01") -> pd.DataFrame:
    """Requests shipped one to four days later, by people born within 400 days; one stamp is 0."""
    frame = requests(start, days)
    later = pd.to_timedelta(86_400 + np.arange(len(frame)) * 600, unit="s")
    frame["shipped_at"] = (frame["requested_at"] + later).where(np.arange(len(frame)) % 9 > 0)
    frame.loc[4:7, "shipped_at"] = pd.Timestamp("1970-01-01")
    birthdays = pd.to_timedelta(np.arange(len(frame)), unit="D")
    return frame.assign(born_at=pd.Timestamp(born) + birthdays, never_at=pd.NaT)


@pytest.mark.parametrize(("days", "bins"), [(20, 40), (200, 40)], ids=["days", "weeks"])
def test_an_instant_that_goes_with_the_request_moves_with_it(days: int, bins: int) -> None:
    then = shipped("2026-03-02", days)
    # Other users, a few days younger on the whole.
    now = codec_of(shipped("2026-03-25", days, born="1980-01-05"), bins)
    earlier = codec_of(then, bins)
    codec = redated(earlier, now)
    codes = earlier.encode(then)
    before, after = (c.decode(codes, np.random.default_rng(1)) for c in (earlier, codec))
    for name in ("born_at", "never_at"):
        pd.testing.assert_series_equal(before[name], after[name])
    apart = after["shipped_at"] - before["shipped_at"]
    real = (before["shipped_at"] > pd.Timestamp("2026-01-01", tz="UTC")).to_numpy()
    assert (apart[real] == 3 * WEEK).mean() > 0.9
    assert (after["shipped_at"].isna() == before["shipped_at"].isna()).all()


def test_a_column_that_is_no_instant_any_more_stays() -> None:
    earlier = codec_of(shipped("2026-03-02", 20), 8)
    later = shipped("2026-03-25", 20).assign(shipped_at=1.5)
    codec = redated(earlier, codec_of(later, 8))
    by_name = [{c.name: c for c in one.generated} for one in (earlier, codec)]
    assert by_name[0]["shipped_at"] == by_name[1]["shipped_at"]
    assert by_name[0]["requested_at"] != by_name[1]["requested_at"]
