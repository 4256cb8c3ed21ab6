"""Write the rehearsal's HTML report and log it to MLflow.

Reads the run's drift, segment, generator and effect tables; writes output.report.
"""

from collections.abc import Sequence
from pathlib import Path

from rehearsal.report.data import read_report_data
from rehearsal.report.findings import breaching, findings
from rehearsal.report.write import key_metrics, save_report
from rehearsal.runtime import Job, run_main, step_command
from rehearsal.tracking import log_run

NAME = "report"


def step(job: Job) -> str:
    """Write the report to disk, and log it with the run's figures."""
    data = read_report_data(job)
    place = save_report(data, Path(job.settings.output.report))
    log_run(job.settings, job.run_id, key_metrics(data), {"": place})
    found = findings(data)
    return f"{place}: {len(breaching(found))} of {len(found) - 1} segments drift"


command = step_command(NAME, step, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the step from a console, a wheel task or spark-submit."""
    run_main(command, argv)


if __name__ == "__main__":
    main()
