"""The page in a real browser: it draws, nothing fails, and a click moves every chart."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from browser import needs_browser, noted

from rehearsal.report.charts import BLUE, NO_SCORE, ORANGE
from rehearsal.report.frames import ReportData
from rehearsal.report.page import render

# Clicks the row of s2 in the heat map, and notes what the charts showed before and after.
SCORES = """
  const notes = () => ({
    title: document.querySelector("#h-series [data-told]").textContent,
    path: document.querySelector("#chart-time_series svg path[aria-roledescription='line mark']")
      .getAttribute("d"),
    contributions: document.getElementById("chart-contributions").hidden,
    chosen: document.querySelector("tr.chosen").dataset.row,
    external: performance.getEntriesByType("resource").length,
  });
  await drawn("s1 class/kl_nats");
  const before = notes();
  const label = [...document.querySelectorAll("#chart-heat_map svg text")]
    .find((one) => one.textContent.startsWith("s2"));
  click(label);
  await drawn("s2 class/kl_nats");
  const after = notes();
  const picker = document.getElementById("measure");
  picker.value = "value/relative_mse";
  picker.dispatchEvent(new Event("change"));
  await drawn("s2 value/relative_mse");
  const size = notes();
  const cell = document.querySelector("#chart-heat_map svg path[aria-roledescription='rect mark']");
  click(cell);
  await drawn("* value/relative_mse");
  document.body.dataset.notes = JSON.stringify([before, after, size, notes()]);
"""
# Reads the numbers of s1 in its worst window, in one chosen, and in all together; then of s2.
CELLS = """
  const data = (chart) => [...document.querySelectorAll(`#chart-${chart} svg path`)]
    .map((one) => one.__data__ && one.__data__.datum).filter((datum) => datum);
  const notes = () => ({
    window: document.getElementById("window").value,
    windows: [...document.getElementById("window").options].map((one) => one.textContent),
    moved: data("joint_class").filter((one) => one.row === 0 && one.column === 2)
      .map((one) => [one.n, one.share]),
    cells: data("joint_value").filter((one) => one.row !== undefined).length,
    labels: document.getElementById("chart-joint_value").textContent,
    numbers: [...document.querySelectorAll("#measures tr")]
      .map((one) => [...one.children].map((cell) => cell.textContent)),
    parts: [...document.getElementById("part").options].map((one) => one.textContent),
    steps: data("contributions").filter((one) => one.kind && one.after !== undefined)
      .map((one) => [one.request_type, one.start, one.end, one.share, one.kind]),
    onset: data("time_series").filter((one) => one.onset === "start").map((one) => one.window),
    thresholds: [...new Set(data("time_series").filter((one) => "level" in one)
      .map((one) => `${one.window} ${one.level} ${one.threshold_origin}`))],
  });
  const asked = async (window) => {
    const picker = document.getElementById("window");
    picker.value = window;
    picker.dispatchEvent(new Event("change"));
    while (document.body.dataset.window !== window) await new Promise((go) => setTimeout(go, 50));
  };
  await drawn("s1 class/kl_nats");
  const worst = notes();
  await asked("2024-03-11");
  const chosen = notes();
  await asked("all");
  const whole = notes();
  const of = (key, window) => (one) => one.__data__ && one.__data__.datum
    && one.__data__.datum.key === key && one.__data__.datum.window === window;
  const second = [...document.querySelectorAll("#chart-heat_map svg path")]
    .find(of("s2", "2024-03-18"));
  click(second);
  await drawn("s2 class/kl_nats");
  document.body.dataset.notes = JSON.stringify([worst, chosen, whole, notes()]);
"""
# Chooses s3 by its button, s5 on the map, s1 by the ribbon of the unusual flow, s2 in the matrix.
SEGMENTS = """
  const marks = (chart) => [...document.querySelectorAll(`#chart-${chart} svg path`)]
    .filter((one) => one.__data__ && one.__data__.datum);
  const of = (chart, wanted) => marks(chart).find((one) => wanted(one.__data__.datum));
  const faint = (chart, key) => new Set(marks(chart)
    .filter((one) => one.__data__.datum.key === key)
    .map((one) => Number(one.getAttribute("opacity")) < 0.5)).size === 1
    && Number(of(chart, (datum) => datum.key === key).getAttribute("opacity")) < 0.5;
  const notes = () => ({
    faint: ["s3", "s5", "s6"].filter((key) => faint("segment_map", key)),
    chosen: document.querySelector("#segments tr.chosen").dataset.row,
    ringed: [...document.querySelectorAll("#chart-segment_map svg text")]
      .filter((one) => /^s[0-9]+$/.test(one.textContent)).length,
    charts: [...document.querySelectorAll("#segments .chart")]
      .filter((one) => one.querySelector("svg")).map((one) => one.id.slice(6)),
    triangles: ["migration_matrix", "sankey"].map((chart) =>
      document.getElementById(`chart-${chart}`).textContent.split("▲").length - 1),
  });
  await drawn("s1 class/kl_nats");
  const all = [];
  click(document.querySelector("#segments button[data-pick='s3']"));
  await drawn("s3 class/kl_nats");
  all.push(notes());
  click(of("segment_map", (datum) => datum.key === "s5"));
  await drawn("s5 class/kl_nats");
  all.push(notes());
  click(of("sankey", (datum) => datum.unusual));
  await drawn("s1 class/kl_nats");
  click(of("migration_matrix", (datum) => datum.source === "s1" && datum.target === "s2"));
  await drawn("s2 class/kl_nats");
  click(of("profile_map", (datum) => datum.key === "cold"));
  await drawn("cold class/kl_nats");
  document.body.dataset.notes = JSON.stringify(all);
"""

# Reads where the label of the onset lies in its chart, and what cells without a score are coloured.
LABELS = """
  await drawn("s1 class/kl_nats");
  const texts = [...document.querySelectorAll("#chart-time_series svg text")];
  const label = texts.find((one) => one.textContent.startsWith("drifts since"));
  const [frame, told] = [document.querySelector("#chart-time_series path.background"), label]
    .map((one) => one.getBoundingClientRect());
  const cells = [...document.querySelectorAll("#chart-heat_map svg path")]
    .filter((one) => one.__data__ && one.__data__.datum && one.__data__.datum.key === "s3");
  document.body.dataset.notes = JSON.stringify([{
    inside: told.left >= frame.left && told.right <= frame.right,
    before: told.right < frame.left + frame.width * Number("PLACE"),
    unknown: cells.map((one) => one.__data__.datum.ratio),
    fills: [...new Set(cells.map((one) => one.getAttribute("fill")))],
  }]);
"""


# Reads who was tried for s1 and how, its rounds, then the same of s2 and s3.
GENERATORS = """
  const data = (chart) => [...document.querySelectorAll(`#chart-${chart} svg path`)]
    .filter((one) => one.__data__ && one.__data__.datum)
    .map((one) => ({ ...one.__data__.datum, fill: one.getAttribute("fill") }));
  const texts = (chart) => [...document.querySelectorAll(`#chart-${chart} svg text`)]
    .map((one) => one.textContent);
  const lines = (rows) => [...document.querySelectorAll(`[data-rows="${rows}"] tr`)]
    .map((one) => [...one.children].map((cell) => cell.textContent));
  const notes = () => ({
    tried: data("scales").filter((one) => one.kind === "candidate" && one.at !== undefined
      && one.end === undefined).map((one) => [one.score, one.candidate, one.verdict, one.fill]),
    crossed: texts("scales").filter((one) => one.startsWith("✕")),
    unknown: texts("scales").filter((one) => one === "– not computable").length,
    scores: lines("gate"), rounds: lines("rounds"),
    points: document.getElementById("chart-rounds_auc").hidden ? null
      : data("rounds_auc").filter((one) => one.who).length,
    told: [...document.querySelectorAll("#gate [data-segment]:not([hidden])")].length,
    losses: ["losses_all", "losses"].map((one) => document.getElementById(`chart-${one}`).hidden),
  });
  const all = [];
  for (const key of ["s1", "s2", "s3"]) {
    click(document.querySelector(`#generated button[data-pick='${key}']`));
    await drawn(`${key} class/kl_nats`);
    all.push(notes());
  }
  document.body.dataset.notes = JSON.stringify(all);
"""


# Touches nothing; waits until all is drawn.
NOTHING = """
  await drawn(Object.values(JSON.parse(document.getElementById("state").textContent))
    .slice(0, 2).join(" "));
  const charts = document.querySelectorAll(".vega-embed svg").length;
  document.body.dataset.notes = JSON.stringify([{ drawn: charts }]);
"""


@needs_browser
def test_a_click_on_a_segment_moves_every_chart(data: ReportData, tmp_path: Path) -> None:
    before, after, size, everyone = noted(render(data), SCORES, tmp_path)
    assert before["title"].startswith("s1")
    assert after["title"].startswith("s2")
    assert (before["chosen"], after["chosen"]) == ("s1", "s2")
    assert before["path"] != after["path"] != size["path"]
    assert not before["contributions"], "s1 has contributions"
    assert after["contributions"], "s2 has none, and says so"
    assert everyone["title"] == "All users"
    assert everyone["external"] == 0


@needs_browser
def test_a_windows_numbers_answers_and_parts_can_be_read(data: ReportData, tmp_path: Path) -> None:
    scores = data.scores.assign(threshold_origin="mean + 3 sd of the last 8 windows")
    judged = scores["threshold"].notna()
    windows = sorted(data.scores["window_start"].unique())
    later = scores["window_start"] >= windows[2]
    scores.loc[judged & later, "threshold"] = 0.06
    scores.loc[scores["metric"] == "relative_mse", ["production_level", "experimental_level"]] = (
        0.5, 0.75,
    )  # fmt: skip
    stepped = dataclasses.replace(data, scores=scores)
    worst, chosen, whole, second = noted(render(stepped), CELLS, tmp_path)
    days = [f"{one:%Y-%m-%d}" for one in pd.to_datetime(windows)]
    assert worst["windows"] == [*days[:3], f"{days[3]} (worst)", "all windows together"]
    # Of 1,000 of s1's requests of the first class 100 more leave in each window.
    assert (worst["window"], worst["moved"][0]) == (days[3], [300, 0.3])
    assert (chosen["window"], chosen["moved"][0]) == (days[1], [100, 0.1])
    assert (whole["window"], whole["moved"][0]) == ("all", [600, 0.15])
    assert worst["cells"] == 9, "a rectangle for each pair of bins"
    for label in ("< 0.5", "[0.5, 1.25)", "≥ 1.25"):
        assert label in worst["labels"]
    assert worst["numbers"][0] == [
        "class", "kl_nats", "distribution", "0.19", "0.133 to 0.266", "0.06", "0.001", "0.012",
        "▲ drifts",
    ]  # fmt: skip
    assert worst["numbers"][-1][-1] == "no threshold"
    assert "0.57 (0.5 to 0.75)" in [one[3] for one in worst["numbers"]], "levels, where there are"
    assert (chosen["numbers"][0][3], whole["numbers"]) == ("0.02", [])
    assert worst["onset"] == [days[2]] * len(worst["onset"]) != []
    origin = "mean + 3 sd of the last 8 windows"
    assert {f"{days[1]} 0.05 {origin}", f"{days[2]} 0.06 {origin}"} <= set(worst["thresholds"])
    assert (second["window"], second["moved"][0]) == (days[2], [10, 0.01])
    assert (worst["parts"], second["parts"]) == (["class: its distribution"], [])


@needs_browser
@pytest.mark.parametrize(("first", "before"), [(0, False), (2, True)])
def test_the_words_at_the_onset_lie_in_the_chart(
    data: ReportData, tmp_path: Path, first: int, before: bool
) -> None:
    windows = sorted(data.scores["window_start"].unique())
    since = data.onsets.assign(window_start=windows[first], earliest_window_start=windows[0])
    page = render(dataclasses.replace(data, onsets=since))
    (found,) = noted(page, LABELS.replace("PLACE", str(first / (len(windows) - 1))), tmp_path)
    assert found["inside"]
    assert found["before"] == before
    assert set(found["unknown"]) == {None}, "too little data is no score of 0"
    assert found["fills"] == [NO_SCORE]


@needs_browser
def test_the_waterfall_adds_up_to_the_whole_drift(data: ReportData, tmp_path: Path) -> None:
    (worst, *_) = noted(render(data), CELLS, tmp_path)
    steps = list(dict.fromkeys(tuple(one) for one in worst["steps"]))
    *parts, whole = steps
    assert [name for name, *_ in parts] == list(data.contributions["request_type"])
    assert [start for _, start, *_ in parts] == pytest.approx([0, 0.7, 1.1, 1.15])
    assert sum(share for *_, share, _ in parts) == pytest.approx(1)
    assert parts[-1][2] == pytest.approx(1)
    assert whole == ("the whole drift", 0, 1, 1, "total")
    assert [kind for *_, kind in parts] == ["up", "up", "up", "down"]


@needs_browser
def test_every_chart_of_five_hundred_segments_is_drawn(
    large: tuple[ReportData, str], tmp_path: Path
) -> None:
    """How fast is for tests/benchmarks/bench_report.py."""
    (found,) = noted(large[1], NOTHING, tmp_path)
    assert found["drawn"] >= 8


@needs_browser
def test_the_map_and_the_flows_choose_a_segment_and_follow_it(
    segmented: Callable[[int], ReportData], tmp_path: Path
) -> None:
    third, fifth = noted(render(segmented(8)), SEGMENTS, tmp_path)
    assert third["charts"] == [
        "segment_map", "profile_map", "k_silhouette", "k_davies_bouldin", "k_calinski_harabasz",
        "k_cost", "k_smallest_share", "migration_matrix", "sankey",
    ]  # fmt: skip
    assert (third["chosen"], fifth["chosen"]) == ("s3", "s5")
    assert third["faint"] == ["s5", "s6"]
    assert fifth["faint"] == ["s3", "s6"]
    assert third["ringed"] == 2 * 8, "every id, and the white around it"
    assert third["triangles"] == [2, 1], "in a cell with its number and, when narrow, alone"


@needs_browser
def test_the_gates_scales_and_the_rounds_follow_the_segment(
    data: ReportData, tmp_path: Path
) -> None:
    first, second, third = noted(render(data), GENERATORS, tmp_path)
    marks = {tuple(one) for one in first["tried"]}
    assert len(marks) == 2 * 8, "a mark per score and generator tried"
    assert ("DCR share", "what served before", "refused", ORANGE) in marks
    assert ("DCR share", "with what the segment adds", "within the limit", BLUE) in marks
    assert first["crossed"] == ["✕ 0.611", "✕ 0.021", "✕ 0.118"], "not by colour alone"
    assert first["scores"][0] == [
        "C2ST AUC", "what served before", "0.668", "≤ 0.750", "within the limit", "0.512", "0.958",
        "–",
    ]  # fmt: skip
    assert [len(one["rounds"]) for one in (first, second, third)] == [7, 2, 0]
    assert first["rounds"][3][6:] == ["none: logged requests", "made resampled", "–"]
    assert first["points"] >= 13
    assert third["points"] is None, "one round is no series"
    assert third["unknown"] == 1
    assert [one["told"] for one in (first, second, third)] == [1, 1, 1]
    assert [one["losses"] for one in (first, third)] == [[False, False], [False, True]]
