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
