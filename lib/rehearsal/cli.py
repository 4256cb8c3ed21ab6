"""The `rehearsal` command: one subcommand per step, the whole loop, and the demo."""

import ast
import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from rehearsal import __version__
from rehearsal.runtime import run_main

# Imported when asked for, so that --help answers at once.
_COMMANDS = {
    "demo": "demo",
    "run": "run_loop",
    "segment": "step_1_segment_users",
    "replay": "step_2_replay_requests",
    "score-drift": "step_3_score_drift",
    "attribute-drift": "step_4_attribute_drift",
    "fit-generators": "step_5_fit_generators",
    "synthesize": "step_6_synthesize_requests",
    "augment": "step_7_augment_replay",
    "measure-effect": "step_8_measure_effect",
    "report": "report",
    "notify": "notify",
    "simulate": "simulate",
}


class _Jobs(click.Group):
    """The jobs by name, in the order of the loop."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rehearsal.jobs.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(job)) for name, job in _COMMANDS.items()])


def _summary(job: str) -> str:
    """First line of a job's docstring, read without importing what the job needs."""
    spec = find_spec(f"rehearsal.jobs.{job}")
    text = Path(spec.origin).read_text() if spec and spec.origin else ""
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


_HELP = """Rehearse a model release on every segment of users before users meet it.

Start with `rehearsal demo`. For your own tables, copy conf/example.yml and run

\b
  rehearsal run --config my.yml --run-id 2026-11-24

or one step at a time, in the order below; each rerun replaces its own rows only.
"""


@click.group(cls=_Jobs, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Hold the subcommands."""


def main(argv: Sequence[str] | None = None) -> None:
    """Console entry point."""
    run_main(cli, argv)
