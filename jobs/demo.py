"""Run the whole loop on MovieLens-100K with two models trained on the spot.

Everything lands under .rehearsal/ in the working directory. The first run fetches the data set
(21 MB, once) and trains the models; later ones start in seconds.
"""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

import click
from pyspark.sql import SparkSession

from rehearsal.configure import load_settings
from rehearsal.demo import prepare
from rehearsal.jobs.run_loop import run_all
from rehearsal.runtime import run_main, start

NAME = "demo"
FOLDER = Path(".rehearsal")


@click.command(name=NAME, help=f"{__doc__.strip()}\n\n\b\nExample:\n  rehearsal demo")
@click.option("--run-id", default="demo", show_default=True, metavar="ID", help="Keys every row.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override one setting, e.g. drift.window=month; repeatable.",
)  # fmt: skip
def command(run_id: str, overrides: tuple[str, ...]) -> None:
    """Prepare data and models where they are not ready yet, then run the loop."""
    with as_file(files("rehearsal.conf") / "demo.yml") as config:
        settings = load_settings([config], overrides)

    def prepared(spark: SparkSession) -> None:
        prepare(spark, FOLDER / "source", settings.mlflow)

    start(settings, run_id, run_all, before=prepared)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo from a console or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
