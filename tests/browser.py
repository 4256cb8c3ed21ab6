"""A page opened in headless chromium, and what steps taken in it note down."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

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
