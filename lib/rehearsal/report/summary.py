"""What the console says at the end of the loop: segments, what was written, where to look."""

from pathlib import Path

from rich.console import Console

from rehearsal.report.data import read_report_data
from rehearsal.report.write import summary_table
from rehearsal.runtime import Job


def print_outcome(job: Job, console: Console) -> None:
    """Print the table of segments, then the report's path and how to open MLflow and the tables."""
    settings = job.settings
    console.print(summary_table(read_report_data(job)))
    report = Path(settings.output.report).resolve()
    console.print(f"report   {report}", highlight=False, soft_wrap=True)
    tracking = settings.mlflow.tracking_uri
    if tracking is not None:
        command = f"mlflow ui --backend-store-uri {tracking}"
        console.print(f"mlflow   {command}", highlight=False, soft_wrap=True)
    console.print(f"tables   {job.store.location} (Delta)", highlight=False, soft_wrap=True)
