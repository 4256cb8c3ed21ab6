"""What every job is given, and how a job starts: settings, session, lock, progress, exit."""

import fcntl
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console

from rehearsal.background import watched
from rehearsal.configure import load_settings
from rehearsal.errors import RehearsalError, SettingsError
from rehearsal.session import get_session
from rehearsal.settings import Settings
from rehearsal.span import Span, read_span
from rehearsal.tables.guard import refuse_production
from rehearsal.tables.schemas import QUARANTINE
from rehearsal.tables.segment_history import InForce, in_force, segments_as_of
from rehearsal.tables.source import check_sources
from rehearsal.tables.store import Store

_JIT_LIMIT_BYTES = 8000
_SECONDS_PER_LINE = 10.0
_REJECTED = "source_table string, reason string, row_json string"
_RUN_ID = re.compile(r"\w[\w.:-]{0,99}")  # it names folders too


@dataclass
class Note:
    """What a running step last told of itself; the progress line shows it."""

    text: str = ""
    console: Console | None = None
    printed_at: float = 0.0

    def tell(self, text: str) -> None:
        """Say how far the step is: in the live line on a terminal, else in a line now and then."""
        self.text = text
        plain = self.console is not None and not self.console.is_terminal
        if self.console and plain and time.monotonic() - self.printed_at > _SECONDS_PER_LINE:
            self.printed_at = time.monotonic()
            self.console.print(f"    {_plain(text)}", highlight=False)


@dataclass(frozen=True)
class Job:
    """A session, settings and the run every row is keyed by; steps get nothing else."""

    spark: SparkSession
    settings: Settings
    run_id: str
    span: Span | None = None
    """What part of the replay a step does anew, leaving the rest as it is; None: all."""
    note: Note = field(default_factory=Note, compare=False)

    def __post_init__(self) -> None:
        if not _RUN_ID.fullmatch(self.run_id):
            raise SettingsError(
                f"run id {self.run_id!r} may hold letters, digits and _ . : - only, at most 100, "
                "and begins with one of the first three"
            )

    @cached_property
    def store(self) -> Store:
        """The tables of this configuration."""
        return Store(self.spark, self.settings)

    @cached_property
    def segmentation(self) -> InForce:
        """The segmentation that holds at the start of the replay."""
        return in_force(self.store, self.settings.segments.name, self.settings.replay.start)

    def segments(self) -> DataFrame:
        """Return (user_id, segment_id) as they hold at the start of the replay."""
        return segments_as_of(self.store, self.settings.segments.name, self.settings.replay.start)

    def set_aside(self, step: str, rejected: Sequence[DataFrame]) -> int:
        """Quarantine rejected rows (source_table, reason, row_json); return how many.

        What a span of time rejects is kept apart, until the step is done for all of it again.
        """
        if self.span is not None:
            step = f"{step} {self.span.start:%Y-%m-%dT%H:%M}/{self.span.end:%Y-%m-%dT%H:%M}"
        elif self.store.exists(QUARANTINE):
            parts = "DELETE FROM {table} WHERE run_id = :run AND startswith(step, :parts)"
            self.store.change(QUARANTINE, parts, {"run": self.run_id, "parts": f"{step} "})
        together = self.spark.createDataFrame([], _REJECTED)
        for more in rejected:
            together = together.unionByName(more)
        rows = together.withColumns({"run_id": F.lit(self.run_id), "step": F.lit(step)})
        self.store.replace(QUARANTINE, rows, run_id=self.run_id, step=step)
        return self.store.read(QUARANTINE, run_id=self.run_id, step=step).count()


Step = Callable[[Job], str]


def run_step(job: Job, name: str, step: Step, console: Console) -> str:
    """Run one step with its progress on the console; return its one-line summary."""
    started = time.monotonic()
    job.note.text, job.note.console = "", console
    with _progress(job, name, console):
        summary = step(job)
    console.print(f"[green]✓[/] {name:<16}{time.monotonic() - started:6.1f} s  {summary}")
    return summary


def job_command(
    name: str, body: Callable[[Job, Console], None], doc: str, *, spans: bool = False
) -> click.Command:
    """Return the command that loads settings, starts the session, checks, and runs `body`.

    `spans` says whether it can do a part of the replay anew.
    """

    @click.command(name=name, help=_help(name, doc))
    @click.option(
        "--config", "configs", multiple=True, required=True, metavar="FILE",
        type=click.Path(path_type=Path),
        help="YAML settings; repeat to lay one file over another, later ones win.",
    )  # fmt: skip
    @click.option(
        "--run-id", required=True, metavar="ID",
        help="Keys every row written; the same id again replaces its own rows only.",
    )  # fmt: skip
    @click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE",
        help="Override one setting, e.g. drift.min_requests=50; repeatable.",
    )  # fmt: skip
    def command(
        configs: tuple[Path, ...],
        run_id: str,
        overrides: tuple[str, ...],
        since: str | None = None,
        until: str | None = None,
    ) -> None:
        settings = load_settings(configs, overrides)
        start(settings, run_id, body, span=read_span(since, until, settings.replay))

    if spans:
        command.params += [_instant_option(name) for name in ("since", "until")]
    return command


def _instant_option(name: str) -> click.Option:
    told = {
        "since": "Do only what begins here anew, and keep the rest of the run, e.g. 2026-03-29.",
        "until": "Where that ends; default: the end of the replay.",
    }
    return click.Option([f"--{name}"], metavar="INSTANT", help=told[name])


def step_command(name: str, step: Step, doc: str, *, spans: bool = False) -> click.Command:
    """Return the command that runs one step alone."""

    def body(job: Job, console: Console) -> None:
        run_step(job, name, step, console)

    return job_command(name, body, doc, spans=spans)


def start(
    settings: Settings,
    run_id: str,
    body: Callable[[Job, Console], None],
    before: Callable[[SparkSession], None] | None = None,
    *,
    span: Span | None = None,
) -> None:
    """Check settings, take the lock, start Spark, check the sources, and run `body`.

    `before` may make the sources, as the demo does.
    """
    refuse_production(settings)
    console = make_console()
    with _only_writer(settings):
        spark = get_session(settings.spark)
        # Windows are UTC whatever the cluster's default zone.
        spark.conf.set("spark.sql.session.timeZone", "UTC")
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", settings.replay.batch_rows)
        # Wider aggregations fuse into methods HotSpot never compiles, several times slower.
        spark.conf.set("spark.sql.codegen.hugeMethodLimit", _JIT_LIMIT_BYTES)
        job = Job(spark, settings, run_id, span)
        if before is not None:
            before(spark)
        check_sources(spark, settings)
        body(job, console)


def run_main(command: click.Command, argv: Sequence[str] | None = None) -> None:
    """Run a command so that success returns and failure exits non-zero with one clear message.

    Databricks counts any exit call as a failure, so none is made on success.
    """
    try:
        command.main(args=list(argv) if argv is not None else None, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    except RehearsalError as error:
        make_console(stderr=True).print(
            f"[bold red]error:[/] {_plain(str(error))}", highlight=False
        )
        raise SystemExit(1) from error
    except (click.Abort, KeyboardInterrupt) as error:
        make_console(stderr=True).print("[bold red]stopped[/]")
        raise SystemExit(130) from error


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that keeps table layouts when its output goes to a file."""
    console = Console(stderr=stderr, soft_wrap=False)
    return console if console.is_terminal else Console(stderr=stderr, width=120)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _help(name: str, doc: str) -> str:
    example = f"rehearsal {name} --config conf/demo.yml --run-id demo"
    return f"{doc.strip()}\n\n\b\nExample:\n  {example}"


@contextmanager
def _only_writer(settings: Settings) -> Iterator[None]:
    """Hold a file lock on a local output folder: Delta guards it inside one JVM only."""
    path = settings.output.path
    if path is None or "://" in path:
        yield
        return
    folder = Path(path.removeprefix("file:"))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another rehearsal is writing to {folder}; wait for it to end, "
                "or give this one its own output.path"
            ) from error
        yield


@contextmanager
def _progress(job: Job, name: str, console: Console) -> Iterator[None]:
    """Show what runs: a live line with Spark's task counts on a terminal, one line elsewhere."""
    if not console.is_terminal:
        console.print(f"  {name} ...")
        yield
        return
    with console.status(name) as status, watched(_watch, job, name, status):
        yield


def _watch(job: Job, name: str, status: Any, done: threading.Event) -> None:
    # Spark Connect has no status tracker; the spinner alone shows there.
    spark = job.spark
    tracker = spark.sparkContext.statusTracker() if hasattr(spark, "_jsparkSession") else None
    began = time.monotonic()
    while not done.wait(0.5):
        tasks = finished = 0
        for stage in tracker.getActiveStageIds() if tracker else []:
            info = tracker.getStageInfo(stage) if tracker else None
            tasks += info.numTasks if info else 0
            finished += info.numCompletedTasks if info else 0
        counted = f"  {finished}/{tasks} tasks" if tasks else ""
        told = f"  {_plain(job.note.text)}" if job.note.text else ""
        status.update(f"{name}  {time.monotonic() - began:.0f} s{counted}{told}")
