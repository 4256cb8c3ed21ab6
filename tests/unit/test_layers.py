"""Imports point one way: a reader of one step need not read another."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIB = ROOT / "lib" / "rehearsal"
BASE = (
    "errors", "settings", "seeds", "sums", "names", "stats", "configure", "session", "span",
    "background",
)  # fmt: skip
LAYERS = {
    **dict.fromkeys(BASE, 1),
    "tables": 2,
    "tracking": 2,
    "runtime": 3,
    **dict.fromkeys(("segments", "replay", "drift", "generate", "augment", "evaluate"), 4),
    **dict.fromkeys(("report", "notify", "simulate", "datasets", "demo"), 5),
    "jobs": 6,
    "cli": 7,
}
STEPS = {name for name, layer in LAYERS.items() if layer == 4}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rehearsal."):
            found.add(part_of(str(node.module)))
        elif isinstance(node, ast.Import):
            found |= {part_of(n.name) for n in node.names if n.name.startswith("rehearsal.")}
    return found


def files() -> list[Path]:
    found = sorted(LIB.rglob("*.py"))
    assert len(found) > 40
    return found


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(LIB)))
def test_imports_point_down(file: Path) -> None:
    own = file.relative_to(LIB).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for other in imports(file) - {own}:
        assert LAYERS[other] <= LAYERS[own], f"{own} imports {other}, which is above it"
        assert not {own, other} <= STEPS, f"steps meet in tables, but {own} imports {other}"


def test_drift_is_planned_without_torch_petastorm_or_mlflow() -> None:
    code = (
        "import sys, rehearsal.jobs.step_3_score_drift; "
        "print({'torch', 'petastorm', 'mlflow'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_no_file_is_longer_than_a_reader_holds() -> None:
    long = {f.name: n for f in files() if (n := len(f.read_text().splitlines())) > 300}
    assert set(long) <= {"settings.py", "schemas.py"}, long
