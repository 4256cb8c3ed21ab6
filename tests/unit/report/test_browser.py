"""The page in a real browser: it draws, nothing fails, and a click moves every chart."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rehearsal.report.data import ReportData
from rehearsal.report.page import render

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update",
    "--enable-logging=stderr", "--virtual-time-budget=20000", "--window-size=1280,3000",
]  # fmt: skip
PROBE = """
<script>
(async () => {
  const drawn = async (shown) => {
    while (document.body.dataset.shown !== shown) await new Promise((go) => setTimeout(go, 50));
  };
  const click = (element) => element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  STEPS
})();
</script>
</body>"""
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
  picker.value = "class/psi";
  picker.dispatchEvent(new Event("change"));
  await drawn("s2 class/psi");
  const psi = notes();
  const cell = document.querySelector("#chart-heat_map svg path[aria-roledescription='rect mark']");
  click(cell);
  await drawn("* class/psi");
  document.body.dataset.notes = JSON.stringify([before, after, psi, notes()]);
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


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def noted(page: str, steps: str, folder: Path) -> list[dict[str, Any]]:
    """Open the page, take the steps, and return what they noted; nothing may be complained of."""
    file = folder / "report.html"
    body, _, _ = page.rpartition("</body>")
    file.write_text(f"{body}{PROBE.replace('STEPS', steps)}</html>", encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder}/profile", "--dump-dom"]
    done = subprocess.run(
        [*command, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and '"WARN' not in line]
    assert said == []
    found = re.search(r'data-notes="([^"]*)"', done.stdout)
    assert found, done.stderr
    notes: list[dict[str, Any]] = json.loads(html.unescape(found[1]))
    return notes


@needs_browser
def test_a_click_on_a_segment_moves_every_chart(data: ReportData, tmp_path: Path) -> None:
    before, after, psi, everyone = noted(render(data), SCORES, tmp_path)
    assert before["title"].startswith("s1")
    assert after["title"].startswith("s2")
    assert (before["chosen"], after["chosen"]) == ("s1", "s2")
    assert before["path"] != after["path"] != psi["path"]
    assert not before["contributions"], "s1 has contributions"
    assert after["contributions"], "s2 has none, and says so"
    assert everyone["title"] == "All users"
    assert everyone["external"] == 0


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
