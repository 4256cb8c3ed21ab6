import dataclasses

import numpy as np
import pandas as pd
import pytest

from rehearsal.report.bins import range_labels, shown_bins
from rehearsal.report.findings import findings, verdict
from rehearsal.report.frames import ReportData, empty
from rehearsal.report.reading import Reading
from rehearsal.report.rows import chart_rows, compact_json, plain, total_variation
from rehearsal.report.scores import ALL_KEY, Measure, measures, offered
from rehearsal.report.since import Since, onsets
from rehearsal.report.texts import seen


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


def test_offered_are_measures_with_a_threshold_and_one_for_each_other_test(
    data: ReportData,
) -> None:
    kinds = [(one.key, one.judged) for one in offered(measures(data))]
    assert kinds == [("class/kl_nats", True), ("value/relative_mse", False)]


def test_the_drift_begins_at_its_change_point_else_with_the_first_breach(data: ReportData) -> None:
    since = findings(data)[1].drifts
    assert since == Since("2024-03-18", between=("2024-03-11", "2024-03-18"))
    early = data.onsets.assign(last_window_start=data.onsets["window_start"])
    ended = findings(dataclasses.replace(data, onsets=early))[1].drifts
    assert ended is not None
    assert ended.last == "2024-03-18"
    other = dataclasses.replace(data, onsets=data.onsets.assign(output="value"))
    assert findings(other)[1].drifts == Since("2024-03-18")


def test_a_size_begins_where_the_distribution_of_its_output_does(data: ReportData) -> None:
    scores = data.scores.assign(test="size", metric="flip_rate")
    assert findings(dataclasses.replace(data, scores=scores))[1].since == "2024-03-18"
    found = onsets(data).of("s1", Measure("class", "flip_rate", "size"))
    assert found is not None
    assert onsets(data).of("s1", Measure("class", "mean_change", "mean")) is None


def test_beside_green_stands_what_would_have_shown(data: ReportData) -> None:
    everyone, drifting, *_ = findings(data)
    assert (seen(everyone), seen(drifting)) == ("0.05 or more would have shown", "")
    blunt = dataclasses.replace(data, scores=data.scores.assign(detectable=0.2))
    assert seen(findings(blunt)[0]) == "only 0.2 or more would have shown, above the threshold 0.05"
    untested = dataclasses.replace(data, scores=data.scores.assign(detectable=None))
    assert seen(findings(untested)[0]).startswith("too few users are answered differently")


def test_types_are_named_of_the_test_that_drifts_most(data: ReportData) -> None:
    mean = data.contributions.assign(test="mean", request_type="other")
    both = pd.concat([mean, data.contributions], ignore_index=True)
    assert findings(dataclasses.replace(data, contributions=both))[1].top_types[0][0] == "Sci-Fi"


def test_joint_counts_of_all_windows_are_their_sum(data: ReportData) -> None:
    rows = chart_rows(Reading(data))["joint_class"]
    whole = rows[(rows["key"] == "s1") & (rows["window"] == "all")]["counts"].item()
    assert whole == "3400,,600,20,2800,20,80,,3920"
    assert len(rows) == 3 * (4 + 1)


def test_rare_classes_are_summed_and_edges_told_apart(data: ReportData) -> None:
    k = 30
    joint = np.diag(np.arange(1, k + 1))
    joint[0, 29] = 7
    bins = pd.DataFrame([("class", [], [f"c{i}" for i in range(k)])], columns=data.bins.columns)
    one = data.joints.iloc[:1].assign(joint_bins=[joint.ravel()])
    shown = shown_bins(dataclasses.replace(data, bins=bins, joints=one))["class"]
    assert (shown.size, shown.labels[0], shown.labels[-1]) == (20, "c11", "11 other classes")
    summed = shown.shown(joint)
    assert summed.sum() == joint.sum()
    assert (summed[19, 19], summed[19, 18]) == (sum(range(1, 12)), 7)
    assert range_labels([0.12345, 0.12346]) == ("< 0.12345", "[0.12345, 0.12346)", "≥ 0.12346")


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
    rows = chart_rows(Reading(dataclasses.replace(data, contributions=frame)))
    steps = rows["contributions"]
    assert list(steps["kind"]) == ["up"] * 14 + ["rest", "total"]
    assert steps["share"].iloc[:-1].sum() == pytest.approx(steps["end"].iloc[-1]) == 1
    assert list(steps["start"].iloc[1:-1]) == list(steps["end"].iloc[:-2])
    assert steps["n_requests"].iloc[-1] == 40 * 900


def test_rows_of_steps_that_did_not_run_are_empty_not_missing(data: ReportData) -> None:
    bare = dataclasses.replace(
        data, **{name: empty(name) for name in ("contributions", "fidelity", "effects")}
    )
    rows = chart_rows(Reading(bare))
    assert [len(rows[name]) for name in ("contributions", "effects")] == [0, 0]
    assert not [name for name in rows if name.startswith("marginals")]
    assert '"effects":{"key":{"values":[]}' in compact_json(rows)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_a_number_is_null_in_the_page(value: float | None) -> None:
    assert plain(value) is None
