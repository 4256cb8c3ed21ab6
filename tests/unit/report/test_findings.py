import dataclasses

import pytest

from rehearsal.report.data import ReportData, empty
from rehearsal.report.findings import ALL_KEY, findings, measures, verdict
from rehearsal.report.rows import chart_rows, compact_json, plain, total_variation


def test_findings_come_with_all_users_first_then_the_worst(data: ReportData) -> None:
    found = findings(data)
    assert [one.key for one in found] == [ALL_KEY, "s1", "s2", "s3"]
    assert [one.status for one in found] == ["green", "red", "yellow", "insufficient_data"]
    worst = found[1]
    assert (worst.since, worst.n_synthetic) == ("2024-03-18", 500)
    assert worst.ratio == pytest.approx(0.19 / 0.05)
    assert worst.top_types[0] == ("Sci-Fi", 0.7)


def test_request_types_that_pull_together_are_not_named_as_causes(data: ReportData) -> None:
    assert "Horror" not in dict(findings(data)[1].top_types)


def test_a_negative_change_is_as_far_over_the_threshold_as_a_positive(data: ReportData) -> None:
    scores = data.scores.assign(score_bias_corrected=-data.scores["score_bias_corrected"])
    found = findings(dataclasses.replace(data, scores=scores))
    assert found[1].ratio == pytest.approx(3.8)


def test_the_measure_with_most_breaches_is_shown_first(data: ReportData) -> None:
    assert [one.key for one in measures(data)] == [
        "class/kl_nats",
        "class/psi",
        "value/relative_mse",
    ]


def test_only_all_users_breaching_is_a_verdict_of_its_own(data: ReportData) -> None:
    whole = data.scores["segment_id"].isna() & (data.scores["metric"] == "kl_nats")
    scores = data.scores.assign(status="green")
    scores.loc[whole, "status"] = "red"
    said = verdict(findings(dataclasses.replace(data, scores=scores)))
    assert (
        said
        == "None of 3 segments breaches a threshold, but all users together do since 2024-03-04."
    )


def test_a_long_verdict_names_three_segments_and_counts_the_rest(data: ReportData) -> None:
    one = findings(data)[1]
    many = [dataclasses.replace(one, key=f"s{i}") for i in range(5)]
    said = verdict([findings(data)[0], *many])
    assert said.startswith("5 of 5 segments drift: s0")
    assert "s2" in said
    assert "s3" not in said
    assert said.endswith("; and 2 more.")


def test_total_variation_is_half_the_summed_difference(data: ReportData) -> None:
    found = total_variation(data).set_index("column_name")["distance"]
    assert found["genre"] == pytest.approx((0.05 + 0.1 + 0.05) / 2)
    assert found["hour"] == pytest.approx(0)


def test_summed_request_types_still_add_up(data: ReportData) -> None:
    one = data.contributions.iloc[0]
    many = [
        one.to_dict() | {"request_type": f"t{i}", "share": 1 / 40, "rank": i} for i in range(1, 41)
    ]
    frame = type(data.contributions)(many, columns=list(data.contributions.columns))
    rows = chart_rows(dataclasses.replace(data, contributions=frame), findings(data))
    assert len(rows["contributions"]) == 15
    assert rows["contributions"]["share"].sum() == pytest.approx(1)


def test_rows_of_steps_that_did_not_run_are_empty_not_missing(data: ReportData) -> None:
    bare = dataclasses.replace(
        data, **{name: empty(name) for name in ("contributions", "curves", "fidelity", "effects")}
    )
    rows = chart_rows(bare, findings(bare))
    assert [len(rows[name]) for name in ("contributions", "curves", "effects")] == [0, 0, 0]
    assert not [name for name in rows if name.startswith("marginals")]
    assert '"effects":{"key":{"values":[]}' in compact_json(rows)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_a_number_is_null_in_the_page(value: float | None) -> None:
    assert plain(value) is None
