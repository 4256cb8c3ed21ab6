"""Fit a generator of all segments, what each drifting one adds, and judge who may serve it.

Reads the request log, the profiles, segments, segment_profiles and drift_contributions; writes
synthesizers, generator_scores, generator_rounds, and one MLflow run. Training runs on the
executors, on GPUs where they have some; the same run id goes on where a killed one was. Section
`generator` of the settings has the kind, constraints, privacy and the limits of the gate.
"""

from collections.abc import Sequence

import pandas as pd

from rehearsal.generate.fit import fit_generators
from rehearsal.generate.predecessors import read_history
from rehearsal.generate.publish import publish
from rehearsal.generate.training.prepare import Prepared, Sources
from rehearsal.generate.training.stage import delete_folder
from rehearsal.generate.training.train import checkpoints_folder
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tables.frames import to_spark
from rehearsal.tables.schemas import (
    DRIFT_CONTRIBUTIONS,
    GENERATOR_ROUNDS,
    GENERATOR_SCORES,
    SEGMENT_PROFILES,
    SYNTHESIZERS,
)

NAME = "fit-generators"


def step(job: Job) -> str:
    """Train and judge the generators of this run's breaching segments."""
    store, run_id = job.store, job.run_id
    contributions = store.read(DRIFT_CONTRIBUTIONS, run_id=run_id).toPandas()  # bounded
    # Bounded: segments x features.
    profiles = store.read(SEGMENT_PROFILES, run_id=job.segmentation.run_id).toPandas()
    sources = Sources(contributions, job.segments(), profiles)
    name = job.settings.segments.name
    prepared = Prepared(job.spark, job.settings, sources)
    history = read_history(store, name, run_id, profiles, prepared.chosen)
    found = fit_generators(prepared, run_id, history.predecessors, job.note.tell)
    mlflow_run_id = publish(job.settings, run_id, found.synthesizers, found.scores)
    together = {"run_id": run_id, "round": history.round, "segmentation": name}
    rows = pd.DataFrame(found.synthesizers).assign(**together, mlflow_run_id=mlflow_run_id)
    rows["base_run_id"] = rows.get("base_run_id", pd.Series(dtype=object)).fillna(run_id)
    tables = {
        GENERATOR_ROUNDS: pd.DataFrame(found.rounds).assign(**together),
        GENERATOR_SCORES: found.scores.assign(**together),
        # Last: once it holds the run's rows the step is done, and later runs build on it.
        SYNTHESIZERS: rows,
    }
    for contract, frame in tables.items():
        known = frame.reindex(columns=contract.schema.names)
        store.replace(contract, to_spark(job.spark, known, contract), run_id=run_id)
    # Not before: an attempt killed up to here would train again, and spend a budget again.
    delete_folder(checkpoints_folder(prepared, run_id))
    return found.summary


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
