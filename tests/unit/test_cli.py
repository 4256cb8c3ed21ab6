"""One command whose help teaches, and whose failures are one clear message and a non-zero exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rehearsal import cli
from rehearsal.errors import MachineError
from rehearsal.session import check_java

ROOT = Path(__file__).parents[2]


def test_help_lists_the_steps_in_the_order_of_the_loop() -> None:
    shown = CliRunner().invoke(cli.cli, ["--help"]).output
    order = ["demo", "run", "segment", "replay", "score-drift", "attribute-drift",
             "fit-generators", "synthesize", "augment", "measure-effect", "report",
             "notify"]  # fmt: skip
    places = [shown.index(f"\n  {name} ") for name in order]
    assert places == sorted(places)


@pytest.mark.parametrize("name", list(cli._COMMANDS))  # noqa: SLF001 - every command there is
def test_every_command_has_help_with_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli.cli, [name, "--help"])
    assert shown.exit_code == 0
    assert f"rehearsal {name}" in shown.output


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from rehearsal.cli import main; main()", *arguments],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_a_bad_key_is_told_before_spark_starts_and_exits_1(tmp_path: Path) -> None:
    file = tmp_path / "my.yml"
    file.write_text("sead: 1")
    found = run("score-drift", "--config", str(file), "--run-id", "r1")
    assert found.returncode == 1
    assert "error: the configuration is not usable" in found.stderr
    assert "sead: unknown key; did you mean 'seed'?" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_missing_option_is_told_and_exits_2() -> None:
    found = run("score-drift", "--run-id", "r1")
    assert found.returncode == 2
    assert "Missing option '--config'" in found.stderr


def test_a_missing_java_is_one_line_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(MachineError, match="^Java 17 is missing; install it: sudo apt-get"):
        check_java()


def test_an_old_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MachineError, match=r"Java 11.0.2 .* is too old, Spark 4 needs 17"):
        check_java()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JAVA_HOME": "/nowhere"}, "error: Java 17 is missing; install it: sudo apt-get install"),
        ({"PYTHON": "python0"}, "error: Python is missing; install it: sudo apt-get install"),
    ],
)
def test_make_says_in_one_line_what_the_machine_lacks(
    environment: dict[str, str], message: str
) -> None:
    found = subprocess.run(
        ["bash", str(ROOT / ".ci" / "preflight")],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    assert found.returncode == 1
    assert found.stderr.startswith(message)
    assert len(found.stderr.splitlines()) == 1


def test_an_unsupported_python_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.14\n")
    python.chmod(0o755)
    found = subprocess.run(
        ["bash", str(ROOT / ".ci" / "preflight")],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHON": str(python)},
    )  # fmt: skip
    assert found.returncode == 1
    assert found.stderr.startswith("error: Python 3.14 is not supported")
