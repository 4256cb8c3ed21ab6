"""A history of segments grows at its end; at one instant one run decides."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from shared import plain_settings

from rehearsal.errors import ContractError
from rehearsal.segments.timeline import Place, asks_anew, fingerprint, instants, place
from rehearsal.settings import Settings

MARCH, APRIL, MAY, JUNE, JULY = (datetime(2026, month, 1, tzinfo=UTC) for month in range(3, 8))


def settings(start: datetime = MARCH, **segments: Any) -> Settings:
    return plain_settings(start, segments=segments)


def past(*runs: tuple[str, datetime, str]) -> pd.DataFrame:
    columns = ["run_id", "valid_from", "decision"]
    rows = [(run, pd.Timestamp(at).tz_convert(None), decision) for run, at, decision in runs]
    frame = pd.DataFrame(rows, columns=columns).assign(settings_json=fingerprint(settings()))
    return frame.assign(as_of=frame["valid_from"])


HISTORY = past(
    ("a", MARCH, "fit"), ("b", APRIL, "reassign"), ("c", MAY, "cold_refit"), ("d", JUNE, "reassign")
)


def test_segments_hold_from_the_replay_or_from_what_describes_users_if_that_is_earlier() -> None:
    assert instants(settings(APRIL)) == (APRIL, APRIL)
    assert instants(settings(APRIL, as_of=MARCH)) == (MARCH, MARCH)
    assert instants(settings(APRIL, as_of=MAY)) == (MAY, APRIL)
    new_york = datetime.fromisoformat("2026-03-31T20:00:00-04:00")
    assert instants(settings(new_york))[0].isoformat() == "2026-04-01T00:00:00+00:00"


def test_the_first_run_begins_and_a_later_one_goes_on_from_the_newest() -> None:
    assert place(past(), "a", settings(MARCH)) == Place(None, None, ())
    found = place(HISTORY.iloc[:2], "c", settings(MAY))
    assert found == Place(None, "b", ("a", "b"), ("b",))


def test_running_the_newest_again_goes_on_from_the_one_before_it() -> None:
    found = place(HISTORY, "d", settings(JUNE))
    assert (found.held_by, found.previous, found.before) == (None, "c", ("a", "b", "c"))
    assert place(HISTORY, "d", settings(JULY)).previous == "c"  # it moves, nothing builds on it


def test_a_run_that_later_ones_go_on_from_is_not_moved_to_another_instant() -> None:
    with pytest.raises(ContractError, match="run a made .* 2026-03-01 .* another --run-id"):
        place(HISTORY, "a", settings(JULY))


def test_usual_flows_are_those_since_the_last_fit_from_scratch() -> None:
    assert place(HISTORY.iloc[:2], "x", settings(MAY)).steady == ("b",)
    assert place(HISTORY, "x", settings(JULY)).steady == ("d",)


def test_an_instant_the_history_covers_uses_who_was_where_then() -> None:
    assert place(HISTORY, "b", settings(APRIL)).held_by == "b"
    between = datetime(2026, 4, 20, tzinfo=UTC)
    assert place(HISTORY, "x", settings(between)).held_by == "b"
    # What is replayed decides, not what an earlier description would have held from.
    assert place(HISTORY, "x", settings(between, as_of=MARCH)).held_by == "b"


def test_segments_that_know_what_is_still_to_come_are_not_gone_on_from() -> None:
    ahead = HISTORY.assign(as_of=pd.Timestamp(JULY).tz_convert(None))
    with pytest.raises(ContractError, match="learnt from behaviour up to 2026-07-01 .*run d"):
        place(ahead, "x", settings(datetime(2026, 6, 10, tzinfo=UTC)))


def test_before_the_history_and_other_settings_are_refused_with_the_way_out() -> None:
    early = datetime(2026, 2, 1, tzinfo=UTC)
    with pytest.raises(ContractError, match="begins at 2026-03-01 .* segments.name"):
        place(HISTORY, "x", settings(early))
    with pytest.raises(ContractError, match="k_max: 10 there, 7 here.*use --run-id d to replace"):
        place(HISTORY, "x", settings(JUNE, k_max=7))
    with pytest.raises(
        ContractError, match=r"k_max: 10 there, 7 here\); use another segments.name"
    ):
        place(HISTORY, "b", settings(APRIL, k_max=7))
    with pytest.raises(ContractError, match="as_of: 2026-06-01 00:00 there, 2026-07-01 00:00 here"):
        place(HISTORY, "x", settings(JUNE, as_of=JULY))


@pytest.mark.parametrize(
    ("segments", "told"),
    [
        ({"k_max": 8}, "segments.k_max: 10 there, 8 here"),
        ({"adapt": {"psi": 0.2}}, ""),
        ({"migration": {"min_users": 5}}, ""),
        ({"as_of": "2026-01-05"}, ""),
    ],
)
def test_a_new_fit_is_asked_for_by_settings_a_fit_depends_on_and_no_others(
    segments: dict[str, Any], told: str
) -> None:
    assert asks_anew(fingerprint(settings()), fingerprint(settings(**segments))) == told
