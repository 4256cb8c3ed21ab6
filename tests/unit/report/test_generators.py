"""The sections on generators: who serves whom, what the gate said, and the rounds."""

import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from generators_report import GOOD, gate_rows_of, round_rows, synthesizer_rows

from rehearsal.report.frames import COLUMNS, ReportData, empty
from rehearsal.report.page import render
from rehearsal.report.reading import Reading
from rehearsal.report.rows_generated import BASE_KEY, gate_rows, generator_rows
from rehearsal.report.scores import keyed
from rehearsal.report.terms_generated import GATE_SCORES
from rehearsal.report.texts_generated import generator_texts, refusal, served_summary
from rehearsal.settings import Gate

RESAMPLED = "by logged requests again, since no generator may"
UNKNOWN = "1 it is not known by whom"


class Section(HTMLParser):
    """The text of one section."""

    def __init__(self, page: str, name: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        start = page.index(f'<section id="{name}"')
        self.feed(page[start : page.index("</section>", start)])

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.parts))


def frame(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS[name])).astype(object)


def with_rows(data: ReportData, **rows: list[dict[str, Any]]) -> ReportData:
    return dataclasses.replace(data, **{name: frame(name, own) for name, own in rows.items()})


def test_every_limit_of_the_gate_has_a_score_that_is_explained() -> None:
    limits = set(Gate.model_fields) - {"min_rows"}
    assert {one.setting for one in GATE_SCORES.values()} == limits
    assert len(GATE_SCORES) == len(limits)


def test_the_general_generator_and_who_serves_each_segment_are_told(data: ReportData) -> None:
    text = Section(render(data), "generated").text
    for said in (
        "VAE, a variational autoencoder", "41,210, 12 left out", "7.612 nats per row", "1.960 nats",
        "not differentially private",
        "3 drifting segments are served: 1 by a generator of its own, 1 by the generator of an",
        "earlier run, 1 by logged requests again, since no generator may.",
        "2,000 7.412 7.250 -0.162 serving refused: membership advantage",
        "the generator of an earlier run, r0 5,100 7.301 – held-out loss 7.301",
        "logged requests again, no generator 9 – – 9 requests, generator.min_rows is 100",
        "320 a generator of its own: the general one with what the segment adds",
    ):  # fmt: skip
        assert said in text, said


def test_the_budget_of_privacy_stands_beside_the_generator(data: ReportData) -> None:
    base, *others = synthesizer_rows()
    private = with_rows(data, synthesizers=[base | {"epsilon": 3.0, "delta": 1e-6}, *others])
    assert (
        "epsilon 3, delta 1e-06, of one user's requests"
        in Section(render(private), "generated").text
    )


def test_a_failed_generator_of_all_segments_is_said_with_its_reason(data: ReportData) -> None:
    base = {"segment_id": None, "status": "failed", "reason": "out of memory", "n_rows": 12}
    segments = [
        {"segment_id": "s1", "status": "failed", "served_by": "serving", "base_run_id": "r0",
         "reason": "the generator of all segments failed", "n_rows": 12},
    ]  # fmt: skip
    failed = with_rows(data, synthesizers=[base, *segments], curves=[], gate=[], rounds=[])
    page = render(failed)
    text = Section(page, "generated").text
    assert "The generator of all segments was not fitted: out of memory." in text
    assert "1 drifting segment is served: 1 by the generator of an earlier run." in text
    assert "chart-losses" not in text
    gate = Section(page, "gate").text
    assert "Served by the generator of an earlier run, r0" in gate
    assert "No generator was judged, since there was none to try." in gate


def test_without_a_generator_its_sections_are_not_there(data: ReportData) -> None:
    names = ("synthesizers", "curves", "gate", "rounds")
    none = dataclasses.replace(data, **{name: empty(name) for name in names})
    assert [len(rows) for rows in generator_rows(none, ["s1"]).values()] == [0, 0, 0]
    page = render(none)
    assert "No generator was fitted in this run" in Section(page, "generated").text
    assert '<section id="gate"' not in page
    assert '<section id="rounds"' not in page


@pytest.mark.parametrize(
    ("served_by", "said"),
    [
        ([], ""),
        (["all"], "1 drifting segment is served: 1 by the generator of all segments."),
        (["segment"] * 2, "2 drifting segments are served: 2 by a generator of their own."),
        (["resampled", None], f"2 drifting segments are served: 1 {RESAMPLED}, of {UNKNOWN}."),
    ],
)
def test_the_sentence_on_who_serves_counts_every_case(
    served_by: list[str | None], said: str
) -> None:
    assert served_summary(served_by) == said


def test_the_gate_tells_who_was_refused_for_what_and_on_which_rows(data: ReportData) -> None:
    text = Section(render(data), "gate").text
    assert "Judged on 412 held-out requests of the segment itself." in text
    assert (
        "✕ refused what served before: DCR share 0.611 is above the limit of 0.550 (real halves "
        "0.498, independent columns 0.503); exact copies 0.021 is above" in text
    )
    assert "✓ passed with what the segment adds: within all 8 limits." in text
    assert "pair trends 0.831 is below the limit of 0.850" in text
    assert "Judged on 31 held-out requests of small segments together" in text


def test_what_no_score_can_be_computed_of_is_not_called_within_limits(data: ReportData) -> None:
    few = "no score can be computed of so few rows"
    none = with_rows(data, gate=gate_rows_of("s3", "all", [None] * 8, passed=False, note=few))
    (told,) = next(one for one in generator_texts(Reading(none))["judged"] if one["tried"])["tried"]
    assert not told["passed"]
    assert told["said"] == few


def test_a_scale_runs_from_worst_to_best_whatever_its_direction(data: ReportData) -> None:
    rows = gate_rows(keyed(data.gate)).query("key == 's1'")
    # C2ST: from .958 (independent columns) down to .512 (real halves).
    auc = rows[rows["score"] == "C2ST AUC"]
    at = dict(zip(auc["kind"], auc["at"], strict=True))
    assert (at["independent columns"], at["real halves"]) == (0, 1)
    assert auc["limit_at"].dropna().unique() == pytest.approx([(0.958 - 0.75) / (0.958 - 0.512)])
    own = auc[auc["candidate"] == "with what the segment adds"].iloc[0]
    assert own["at"] == pytest.approx((0.958 - 0.604) / 0.446)
    # Pair trends: from .742 up to .961.
    pairs = rows[(rows["score"] == "pair trends") & (rows["kind"] == "candidate")]
    assert list(pairs["at"]) == pytest.approx([(0.927 - 0.742) / 0.219, (0.944 - 0.742) / 0.219])
    assert set(rows["limit_told"].dropna()) >= {"≤ 0.750", "≥ 0.850"}


def test_a_score_without_values_keeps_its_line_and_refuses_nobody(data: ReportData) -> None:
    rows = gate_rows(keyed(data.gate)).query("key == 's3' and score == 'TSTR ÷ TRTR'")
    one = rows[rows["kind"] == "candidate"].iloc[0]
    assert (one["verdict"], one["told"]) == ("not computable", "–")
    assert pd.isna(one["at"])


def test_a_score_that_the_page_does_not_know_goes_by_its_own_name() -> None:
    row = {"segment_id": "s1", "candidate": "all", "score": "novelty", "value": 0.4, "limit": 0.5,
           "half_vs_half": 0.9, "independent": 0.1, "passed": False,
           "direction": "at least"}  # fmt: skip
    rows = gate_rows(keyed(frame("gate", [row])))
    assert set(rows["limit_told"]) == {"≥ 0.500"}
    assert refusal(row).startswith("novelty 0.400 is below the limit of 0.500")


def test_numbers_on_a_scale_do_not_lie_over_one_another(data: ReportData) -> None:
    rows = gate_rows(keyed(data.gate)).query("key == 's1' and score == 'exact copies'")
    told = rows[rows["kind"].isin(["independent columns", "real halves"])]["told"]
    assert sorted(told) == ["", "0.000"], "both are 0"


def test_losses_are_of_all_segments_and_of_those_shown(data: ReportData) -> None:
    curves = generator_rows(data, ["s1", "s2"])["curves"]
    assert curves.groupby("key").size().to_dict() == {BASE_KEY: 24, "s1": 12}


def test_the_epoch_is_ringed_whose_weights_were_kept_be_its_loss_the_lowest_or_not(
    data: ReportData,
) -> None:
    # The general one's later epochs had a lower loss, and had learnt more rows by heart.
    curves = generator_rows(data, ["s1"])["curves"]
    kept = curves[curves["kept"] == 1]
    assert kept[["key", "epoch"]].to_numpy().tolist() == [[BASE_KEY, 20], ["s1", 10]]
    assert kept["membership"].tolist() == ["0.100", "–"]
    lowest = curves[curves["key"] == BASE_KEY].sort_values("held-out").iloc[0]
    assert lowest["epoch"] > 20
    # Of a run before this was told nothing is ringed.
    base, *segments = ({**row, "best_epoch": None} for row in synthesizer_rows())
    untold = generator_rows(with_rows(data, synthesizers=[base, *segments]), ["s1"])["curves"]
    assert untold["kept"].sum() == 0


def test_rounds_are_of_segments_that_have_more_than_one(data: ReportData) -> None:
    rounds = generator_rows(data, ["s1", "s2", "s3"])["rounds"]
    assert rounds.groupby("key").size().to_dict() == {"s1": 7, "s2": 2}
    first, fourth = rounds.iloc[0], rounds.iloc[3]
    assert (first["keeps"], first["effect"]) == ("the fresh one", "+21.0 [+15.0, +31.0]")
    assert (fourth["keeps"], fourth["effect"]) == ("none: logged requests", None)


def test_a_first_round_says_that_the_next_run_compares(data: ReportData) -> None:
    page = render(with_rows(data, rounds=round_rows(["s1", "s2", "s3"], 1)))
    text = Section(page, "rounds").text
    assert "its next run compares its fresh generators with those that serve now" in text
    assert 'id="chart-rounds_auc"' not in page


def test_resampled_requests_are_not_praised_for_their_likeness(data: ReportData) -> None:
    page = render(data)
    note = page.index("No generator serves this segment: what is compared are logged requests")
    assert page.rindex('data-segment="s3"', 0, note) > note - 60


def test_texts_of_the_tables_are_never_markup(data: ReportData) -> None:
    hostile = "<script>throw 1</script>"
    base, *segments = synthesizer_rows()
    page = render(
        with_rows(
            data,
            synthesizers=[base, *(row | {"reason": hostile} for row in segments)],
            gate=gate_rows_of("s1", hostile, GOOD, note=hostile, judged_on=hostile),
            rounds=[row | {"why": hostile} for row in round_rows(["s1"], 2)],
        )
    )
    assert hostile not in page
    assert "&lt;script&gt;throw 1" in page
