"""The page in a real browser: it draws, nothing fails, and a click moves every chart."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

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
# Clicks the row of s2 in the heat map, and notes what the charts showed before and after.
PROBE = """
<script>
(async () => {
  const drawn = async (shown) => {
    while (document.body.dataset.shown !== shown) await new Promise((go) => setTimeout(go, 50));
  };
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
  label.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await drawn("s2 class/kl_nats");
  const after = notes();
  const picker = document.getElementById("measure");
  picker.value = "class/psi";
  picker.dispatchEvent(new Event("change"));
  await drawn("s2 class/psi");
  const psi = notes();
  const cell = document.querySelector("#chart-heat_map svg path[aria-roledescription='rect mark']");
  cell.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await drawn("* class/psi");
  document.body.dataset.notes = JSON.stringify([before, after, psi, notes()]);
})();
</script>
</body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_click_on_a_segment_moves_every_chart(data: ReportData, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    body, _, _ = render(data).rpartition("</body>")
    page.write_text(f"{body}{PROBE}</html>", encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}/profile", "--dump-dom"]
    done = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and '"WARN' not in line]
    assert said == []
    noted = re.search(r'data-notes="([^"]*)"', done.stdout)
    assert noted, done.stderr
    before, after, psi, everyone = json.loads(html.unescape(noted[1]))
    assert before["title"].startswith("s1")
    assert after["title"].startswith("s2")
    assert (before["chosen"], after["chosen"]) == ("s1", "s2")
    assert before["path"] != after["path"] != psi["path"]
    assert not before["contributions"], "s1 has contributions"
    assert after["contributions"], "s2 has none, and says so"
    assert everyone["title"] == "All users"
    assert everyone["external"] == 0
