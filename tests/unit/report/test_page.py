import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from large_report import large_run

from rehearsal.errors import ContractError
from rehearsal.report import charts_gate
from rehearsal.report.frames import COLUMNS, ReportData, empty
from rehearsal.report.glossary import METRIC_LABELS, STATUS_NOTES
from rehearsal.report.page import render
from rehearsal.report.picture import picture, with_rows
from rehearsal.report.rows_generated import generator_rows
from rehearsal.report.scores import keyed
from rehearsal.report.terms import (
    GLOSSARY,
    NUMBER_GLOSSARY,
    OUTPUT_GLOSSARY,
    SEGMENT_GLOSSARY,
    TEST_GLOSSARY,
)
from rehearsal.report.terms_generated import GENERATOR_GLOSSARY
from rehearsal.settings import METRICS, OUTPUT_METRICS, OUTPUTS

LATER = (
    "contributions",
    "reasons",
    "drivers",
    "synthesizers",
    "curves",
    "gate",
    "rounds",
    "generated",
    "fidelity",
    "effects",
)


class Reader(HTMLParser):
    """The page as a browser takes it apart: scripts, and the text outside them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag == "script":
            self.scripts.append("")
        addresses = [value or "" for name, value in attrs if name in ("src", "href")]
        # What <a> names is opened only when a reader follows it.
        (self.links if tag == "a" else self.loaded).extend(addresses)

    def handle_endtag(self, _tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def without(data: ReportData, *names: str) -> ReportData:
    return dataclasses.replace(data, **{name: empty(name) for name in names})


def test_the_page_names_run_models_range_and_counts(data: ReportData) -> None:
    text = Reader(render(data)).text
    for shown in (
        "run r1", "models:/ranker/3", "models:/ranker/4", "2024-03-04 to 2024-04-01", "48,007",
        "6,609", "15 rows were quarantined", "user_id is null", "age is not a number",
    ):  # fmt: skip
        assert shown in text


def test_the_verdict_says_who_drifts_since_when_and_why(data: ReportData) -> None:
    text = Reader(render(data)).text
    assert "1 of 3 segments drifts: s1 (students) since 2024-03-18, driven by Sci-Fi (70%)" in text


def test_status_is_written_out_beside_its_colour(data: ReportData) -> None:
    text = Reader(render(data)).text
    for status in ("▲ drifts", "◆ watch", "✓ no drift seen", "– too little data"):
        assert text.count(status) >= 2, status


def test_user_texts_are_never_markup(segmented: Callable[[int], ReportData]) -> None:
    data = segmented(3)
    hostile = "</script><script>throw 1</script><!--"
    frames = {
        "profiles": data.profiles.assign(segment_name=hostile, feature=hostile),
        "contributions": data.contributions.assign(request_type=hostile),
        "quarantine": data.quarantine.assign(reason=hostile),
        "reasons": data.reasons.assign(reason=hostile, verdict=hostile),
        "drivers": data.drivers.assign(dimension_1=hostile, value_1=hostile),
        "bins": data.bins.assign(classes=[[], [hostile, "b", "c"]]),
        "fidelity": data.fidelity.assign(column_name=hostile, label=hostile),
        "segmentation": data.segmentation.assign(reason=hostile, run_id=hostile),
        "samples": data.samples.assign(user_id=hostile),
        "events": data.events.assign(segment_id=hostile, event=hostile),
        "migrations": data.migrations.assign(reason=hostile, to_segment_id=hostile),
    }
    harmless = Reader(render(data))
    page = render(dataclasses.replace(data, production_model=hostile, **frames))
    reader = Reader(page)
    assert hostile not in page
    assert hostile in reader.text
    assert len(reader.scripts) == len(harmless.scripts)
    assert reader.scripts[-2:] == harmless.scripts[-2:]
    rows = json.loads(reader.scripts[0])
    assert rows["profiles"]["feature"]["texts"] == [hostile]
    assert rows["segment_map"]["user"]["texts"] == [hostile]
    assert rows["migration_matrix"]["target"]["texts"] == [hostile]


def test_the_page_loads_nothing_and_is_small(data: ReportData) -> None:
    page = render(data)
    reader = Reader(page)
    assert reader.loaded == []
    assert {link.partition("//")[0] for link in reader.links} == {"https:", "#quarantine"}
    assert "default-src 'none'" in page
    assert len(page.encode()) < 1_500_000


def test_why_a_segment_drifts_is_told_where_it_is_known(data: ReportData) -> None:
    text = Reader(render(data)).text
    assert "class: its distribution the requests changed : The mix of request_type brings" in text
    assert "and hour of day = night 800 10.0% 35.0% 3.5 × < 0.001" in text
    assert "country = (other) 800 10.0% 35.0% 3.5 × – – not confirmed" in text
    ranges = data.drivers.assign(value_1="< 3.1", value_2=">= 7")
    text = Reader(render(dataclasses.replace(data, drivers=ranges))).text
    assert "country < 3.1 and hour of day >= 7 800" in text
    unknown = render(without(data, "reasons", "drivers"))
    assert "h-why" not in unknown.partition("<main>")[2].partition("<script")[0]


def test_every_metric_output_and_test_is_in_the_glossary(data: ReportData) -> None:
    assert set(GLOSSARY) == set(METRIC_LABELS) == set(METRICS)
    assert set(OUTPUT_GLOSSARY) == {*OUTPUTS, "any other name"}
    assert set(TEST_GLOSSARY) == {"distribution", "mean", "size"}
    reader = Reader(render(data))
    glossaries = (
        GLOSSARY, OUTPUT_GLOSSARY, TEST_GLOSSARY, NUMBER_GLOSSARY, SEGMENT_GLOSSARY,
        GENERATOR_GLOSSARY,
    )  # fmt: skip
    for term in [one for terms in glossaries for one in terms.values()]:
        assert all(told for told in (term.words, term.unit, term.span, term.direction))
        assert term.words in reader.text
        assert term.sources
        for source in term.sources:
            assert source.text in reader.text
            assert source.link is None or source.link in reader.links


def test_the_readme_counts_the_metrics_as_they_are_and_leaves_the_rest_to_the_report() -> None:
    readme = re.sub(r"\s+", " ", (Path(__file__).parents[3] / "README.md").read_text())
    most = max(len(metrics) for metrics in OUTPUT_METRICS.values())
    assert f"up to {most} metrics per segment, window and output" in readme
    assert "formula, unit, direction and source" in readme


def test_no_quarantined_row_is_said_too(data: ReportData) -> None:
    text = Reader(render(without(data, "quarantine"))).text
    assert "0 rows were quarantined: every row kept the contract." in text


def test_missing_later_steps_are_said_in_their_sections(data: ReportData) -> None:
    stored = dataclasses.replace(without(data, *LATER, "alerts"), stored_outputs=True)
    text = Reader(render(stored)).text
    for said in ("No contributions", "No synthetic requests", "No generator", "No effect"):
        assert said in text
    assert "outputs come from the log" in text


def test_a_run_without_breach_says_that_nothing_was_to_amplify(data: ReportData) -> None:
    calm = data.scores.assign(
        status=data.scores["status"].where(data.scores["status"] != "red", "green")
    )
    quiet = dataclasses.replace(without(data, *LATER, "alerts"), scores=calm)
    text = Reader(render(quiet)).text
    assert "None of 3 segments breaches a threshold." in text
    assert "nothing breaches a threshold, so there is nothing to amplify" in text


def test_a_segment_without_any_score_has_a_row(data: ReportData) -> None:
    scores = data.scores[data.scores["segment_id"] != "s3"]
    page = render(dataclasses.replace(data, scores=scores))
    assert Reader(page).text.count("s3 · Sci-Fi ×2.3") >= 2


def test_the_same_run_gives_the_same_page(data: ReportData) -> None:
    assert render(data) == render(data)


def test_hundred_windows_of_all_of_thirty_segments_stay_under_three_megabytes(
    segmented: Callable[[int], ReportData],
) -> None:
    page = render(large_run(segmented(30), 100))
    assert len(page.encode()) < 3_000_000
    held = columns_of(page)["windows"]
    assert set(held.groupby("key").size()) == {12}, "as many of the worst as there is room for"


def test_of_hundreds_of_segments_the_page_draws_the_worst_and_says_so(
    large: tuple[ReportData, str],
) -> None:
    run, page = large
    assert len(page.encode()) < 3_000_000
    text = Reader(page).text
    assert "hold the 23 worst of 501 segments" in text
    assert "The largest segments and the chosen one are shown; 461 smaller ones are" in text
    assert "486 segments with smaller flows are summed as others" in text
    assert text.count("s500 · ") >= 2
    assert "10 of 30 measures can be chosen above" in text
    columns = columns_of(page)
    assert len(columns["scores"]) == 24 * 30 * 10
    drawn = set(columns["joint_value"]["key"])
    assert len(drawn) == 24, "all users among them"
    whole = columns["joint_value"].query("window == 'all'")
    assert len(whole) == 24
    worst = columns["windows"].query("place == 0 and key != '*'").iloc[0]
    scores = keyed(run.scores).query("key == @worst.key and threshold == threshold")
    ratio = scores["score_bias_corrected"] / scores["threshold"]
    assert worst["window"] == f"{scores.loc[ratio.idxmax(), 'window_start']:%Y-%m-%d}"


def test_a_change_of_means_keeps_both_means(data: ReportData) -> None:
    held = data.scores["metric"] == "relative_mse"
    levels = {"production_level": 0.5, "experimental_level": 0.75}
    scores = data.scores.assign(**{name: np.where(held, v, np.nan) for name, v in levels.items()})
    rows = columns_of(render(dataclasses.replace(data, scores=scores)))["measures"]
    mean = rows["metric"] == "relative_mse"
    assert rows.loc[mean, ["production", "experimental"]].drop_duplicates().to_numpy().tolist() == [
        [0.5, 0.75]
    ]
    assert rows.loc[~mean, ["production", "experimental"]].isna().all(axis=None)


def columns_of(page: str) -> dict[str, pd.DataFrame]:
    """Return the page's rows as the browser unpacks them."""
    packed = json.loads(Reader(page).scripts[0])
    return {
        name: pd.DataFrame({column: unpacked(**held) for column, held in columns.items()})
        for name, columns in packed.items()
    }


def unpacked(
    values: list[Any] | None = None,
    codes: list[int] | None = None,
    texts: list[str] | None = None,
    runs: list[int] | None = None,
) -> list[Any]:
    heads = values if values is not None else [texts[code] if code >= 0 else None for code in codes]
    repeats = runs or [1] * len(heads)
    return [head for head, n in zip(heads, repeats, strict=True) for _ in range(n)]


def test_a_frame_with_other_columns_is_refused(data: ReportData) -> None:
    with pytest.raises(ContractError, match="report frame effects has columns"):
        dataclasses.replace(data, effects=data.effects.drop(columns="scope"))


def test_a_reason_whose_numbers_are_columns_is_told_in_the_words_of_its_status(
    data: ReportData,
) -> None:
    scores = data.scores.reset_index(drop=True)
    own = (scores["metric"] == "kl_nats") & (scores["segment_id"] == "s1")
    untested = own & (scores.index == scores.index[own][0])
    scores.loc[untested, "detectable"] = None
    page = columns_of(render(dataclasses.replace(data, scores=scores)))["scores"]
    of = page[page["measure"] == "class/kl_nats"].groupby("key")["reason"].agg(list)
    red, green = STATUS_NOTES["red"], STATUS_NOTES["green"]
    assert of["s1"] == ["made green", green, red, red], "what cannot be tested says so itself"
    assert of["s2"] == [green, "made yellow", green, green]
    assert of["s3"] == ["made insufficient_data"] * 4
    bare = page[(page["measure"] == "value/relative_mse") & (page["key"] == "s1")]
    assert set(bare["reason"]) == {"made green"}, "without a threshold green needs its reason"


def test_the_picture_is_a_png_wider_than_high(data: ReportData) -> None:
    png = picture(data)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width > height > 600


@pytest.mark.parametrize(
    ("segment", "own", "other"), [("s1", "0.668", "0.871"), ("s2", "0.871", "0.668")]
)
def test_a_chart_with_its_rows_is_drawn_without_a_page(
    data: ReportData, segment: str, own: str, other: str
) -> None:
    rows = generator_rows(data, ["s1", "s2"])["gate"]
    chart = with_rows(charts_gate.scales(600), rows, segment=segment)
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    assert own in drawn
    assert other not in drawn


def test_every_frame_has_an_empty_form() -> None:
    assert all(tuple(empty(name).columns) == columns for name, columns in COLUMNS.items())
