"""A history of segments grows at its end; at one instant one run decides."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from rehearsal.configure import parse_settings
from rehearsal.errors import ContractError
from rehearsal.segments.timeline import asks_anew, fingerprint, place
from rehearsal.settings import Settings

MARCH, APRIL, MAY, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5, 6))


def settings(**segments: Any) -> Settings:
    columns = {"request_id": "id", "user_id": "user", "request_type": "kind", "requested_at": "at"}
    return parse_settings(
        {
            "seed": 1,
            "requests": {"table": "logs.calls", "columns": columns},
            "models": {"production": {"uri": "a"}, "experimental": {"uri": "b"}},
            "output": {"path": "out"},
            "replay": {"start": "2026-01-01", "end": "2026-02-01"},
            "segments": segments,
        }
    )


def past(*runs: tuple[str, datetime, str]) -> pd.DataFrame:
    columns = ["run_id", "valid_from", "decision"]
    rows = [(run, pd.Timestamp(at).tz_convert(None), decision) for run, at, decision in runs]
    return pd.DataFrame(rows, columns=columns).assign(settings_json=fingerprint(settings()))


HISTORY = past(
    ("a", MARCH, "fit"), ("b", APRIL, "reassign"), ("c", MAY, "cold_refit"), ("d", JUNE, "reassign")
)


def test_the_first_run_begins_and_a_later_one_goes_on_from_the_newest() -> None:
    assert place(past(), "a", MARCH, settings()).previous is None
    found = place(HISTORY.iloc[:2], "c", MAY, settings())
    assert found.held_by is None
    assert found.previous is not None
    assert found.previous["run_id"] == "b"
    assert found.before == ("a", "b")


def test_running_the_newest_again_goes_on_from_the_one_before_it() -> None:
    found = place(HISTORY, "d", JUNE, settings())
    assert found.previous is not None
    assert found.previous["run_id"] == "c"
    assert found.before == ("a", "b", "c")


def test_usual_flows_are_those_since_the_last_fit_from_scratch() -> None:
    assert place(HISTORY.iloc[:2], "x", MAY, settings()).steady == ("b",)
    july = datetime(2026, 7, 1, tzinfo=UTC)
    assert place(HISTORY, "x", july, settings()).steady == ("d",)


def test_an_instant_the_history_covers_uses_who_was_where_then() -> None:
    assert place(HISTORY, "b", APRIL, settings()).held_by == "b"
    between = datetime(2026, 4, 20, tzinfo=UTC)
    assert place(HISTORY, "x", between, settings()).held_by == "b"


def test_before_the_history_and_other_settings_are_refused_with_the_way_out() -> None:
    early = datetime(2026, 2, 1, tzinfo=UTC)
    with pytest.raises(ContractError, match="begins at 2026-03-01 .* segments.name"):
        place(HISTORY, "x", early, settings())
    with pytest.raises(ContractError, match="segments.k_max: 10 there, 7 here.*--run-id b"):
        place(HISTORY, "x", APRIL, settings(k_max=7))


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
