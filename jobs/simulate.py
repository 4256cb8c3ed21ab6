"""Write a simulated request log with planted drift, the truth behind it, and two models."""

import math
import time
from collections.abc import Sequence

import click

from rehearsal import simulate
from rehearsal.errors import SettingsError
from rehearsal.runtime import make_console, run_main
from rehearsal.session import get_session
from rehearsal.settings import Mlflow, Spark
from rehearsal.simulate import Simulation

NAME = "simulate"


@click.command(
    name=NAME,
    help=f"{__doc__}\n\n\b\nExample:\n  rehearsal simulate --users 200000 --seed 1 "
    "--out .rehearsal/simulated\n  rehearsal run --config conf/simulated.yml --run-id s1",
)
@click.option("--users", required=True, type=click.IntRange(min=1), help="How many users.")
@click.option(
    "--requests-per-user", default=20.0, show_default=True, type=click.FloatRange(min=1),
    help="Mean over users.",
)  # fmt: skip
@click.option("--seed", required=True, type=int, help="Same seed, same rows, on any machine.")
@click.option("--out", required=True, metavar="FOLDER", help="Where the Delta tables go.")
@click.option("--aa", is_flag=True, help="Plant no drift: both models answer alike but for noise.")
@click.option(
    "--tracking-uri", metavar="URI",
    help="MLflow store that registers both models; default: mlflow.db in the folder.",
)  # fmt: skip
def command(
    users: int, requests_per_user: float, seed: int, out: str, aa: bool, tracking_uri: str | None
) -> None:
    """Write the tables, register the models, and say what was planted."""
    planted = {"n_drifting": 0} if aa else {}
    simulation = Simulation(
        n_users=users, requests_per_user=requests_per_user, seed=seed, **planted
    )
    if tracking_uri is None and "://" in out:
        raise SettingsError("--out is not a local folder, so say where models go: --tracking-uri")
    console, began = make_console(), time.monotonic()
    spark = get_session(Spark())
    simulate.write(spark, simulation, out)
    store = Mlflow(
        tracking_uri=tracking_uri or f"sqlite:///{out}/mlflow.db",
        artifacts=None if tracking_uri else f"{out}/mlartifacts",
    )
    models = simulate.log_models(simulation, store)
    seconds = time.monotonic() - began
    console.print(
        f"about {math.floor(users * requests_per_user):,} requests of {users:,} users in {out} "
        f"({seconds:.0f} s); models {', '.join(models.values())} in {store.tracking_uri}"
    )
    for row in simulate.truth_drift(spark, simulation).collect():
        console.print(
            f"  planted: group {row['group']}, {row['request_type']}, from {row['start']:%Y-%m-%d},"
            f" {row['size']:+.1f} logits"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Write a simulation from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
