"""Size and opening time of the report of 500 segments x 30 windows, against 3 MB and 2 s.

    PYTHONPATH=tests python tests/benchmarks/bench_report.py [--page report.html] [--rounds 5]

Opens the page in headless chromium, in real time, until every chart is drawn. Without `--page` it
is that of a made-up run of 500 segments with all metrics.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from browser import CHROMIUM, FLAGS, PROBE
from unit.report.conftest import large_run, run_by_hand, with_segments

from rehearsal.report.page import render

LIMIT_MB, LIMIT_S = 3.0, 2.0
OPENED = """
  await drawn(Object.values(JSON.parse(document.getElementById("state").textContent))
    .slice(0, 2).join(" "));
  console.log(`opened after ${Math.round(performance.now())} ms`);
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    page = (
        options.page.read_text(encoding="utf-8")
        if options.page
        else render(large_run(with_segments(run_by_hand(), 500), 30))
    )
    size = len(page.encode()) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        seconds = min(opened_after(page, Path(folder)) for _ in range(options.rounds))
    print(f"size    {size:5.2f} MB  {size / LIMIT_MB:.2f} x the limit of {LIMIT_MB:g} MB")
    print(f"opened  {seconds:5.2f} s   {seconds / LIMIT_S:.2f} x the limit of {LIMIT_S:g} s")


def opened_after(page: str, folder: Path) -> float:
    """Return the seconds from opening the page until every chart is drawn, in real time."""
    file = folder / "report.html"
    body, _, _ = page.rpartition("</body>")
    file.write_text(f"{body}{PROBE.replace('STEPS', OPENED)}</html>", encoding="utf-8")
    flags = [one for one in FLAGS if not one.startswith("--virtual-time")]
    command = [str(CHROMIUM), *flags, f"--user-data-dir={folder}/profile"]
    with subprocess.Popen(
        [*command, "--remote-debugging-port=0", file.as_uri()], stderr=subprocess.PIPE, text=True
    ) as browser:
        try:
            for line in browser.stderr or ():
                if found := re.search(r"opened after (\d+) ms", line):
                    return int(found[1]) / 1000
        finally:
            browser.terminate()
    raise SystemExit("the browser ended before the page was drawn")


if __name__ == "__main__":
    main()
