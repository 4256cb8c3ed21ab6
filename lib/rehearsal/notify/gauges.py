"""Gauges for Prometheus: a file that the node exporter reads, a Pushgateway, or both.

What a run wrote takes the place of the run before it, so that series do not pile up.
"""

from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError

from rehearsal.notify.breaches import newest
from rehearsal.notify.release import Release
from rehearsal.notify.retry import Pause, with_retries
from rehearsal.settings import Prometheus

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_MAX_SERIES, _TIMEOUT_S = 1000, 10


def export_gauges(
    prometheus: Prometheus, release: Release, attempts: int, pause: Pause
) -> list[str]:
    """Write a run's gauges where configured; return what to say of each place.

    A place that cannot be written is said, and stops nothing.
    """
    if prometheus.textfile is None and prometheus.pushgateway is None:
        return []
    registry = gauges(release)
    said = []
    if prometheus.textfile is not None:
        once = partial(_write, Path(prometheus.textfile), registry)
        said.append(_export("textfile", once, 1, pause))
    if prometheus.pushgateway is not None:
        once = partial(_push, prometheus.pushgateway, prometheus.job, registry)
        said.append(_export("pushgateway", once, attempts, pause))
    return said


def gauges(release: Release) -> "CollectorRegistry":
    """Return the run's gauges; breaches of a measure in several windows count with the newest.

    Series are bounded: the worst of them, whatever the number of segments.
    """
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()
    over = Gauge(
        "rehearsal_drift_score_over_threshold",
        "Drift score over its threshold, in the newest window that breaches",
        ("run_id", "segment_id", "output", "metric"),
        registry=registry,
    )
    for row in newest(release.alerts).head(_MAX_SERIES).to_dict("records"):
        over.labels(release.run_id, row["key"], row["output"], row["metric"]).set(row["ratio"])
    for name, meaning, value in (
        ("rehearsal_breaching_segments", "Segments that breach", release.n_breaching),
        ("rehearsal_segments", "Segments that were scored", release.n_segments),
    ):
        Gauge(name, meaning, ("run_id",), registry=registry).labels(release.run_id).set(value)
    return registry


def _export(place: str, once: Callable[[], None], attempts: int, pause: Pause) -> str:
    outcome = with_retries(partial(_why_not, once), attempts, pause)
    done = "gauges written to" if outcome.reason is None else "gauges not written to"
    return f"{done} {place}" + (f" ({outcome.reason})" if outcome.reason else "")


def _why_not(once: Callable[[], None]) -> str | None:
    try:
        once()
    except HTTPError as error:
        return f"HTTP {error.code}"
    except URLError as error:
        return str(error.reason)
    except OSError as error:
        return error.strerror or type(error).__name__
    except (HTTPException, ValueError) as error:
        return str(error) or type(error).__name__
    return None


def _write(path: Path, registry: "CollectorRegistry") -> None:
    from prometheus_client import write_to_textfile

    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


def _push(gateway: str, job: str, registry: "CollectorRegistry") -> None:
    from prometheus_client import push_to_gateway

    push_to_gateway(gateway, job, registry, timeout=_TIMEOUT_S)
