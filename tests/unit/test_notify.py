"""Breaches as one message per run: what it says, who gets it, and what a failure may say."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from listening import Listener, listening
from prometheus_client.parser import text_string_to_metric_families
from shared import plain_settings

from rehearsal.errors import ProductionGuardError, SettingsError
from rehearsal.notify.breaches import COLUMNS, ONSET_COLUMNS
from rehearsal.notify.deliveries import Delivery, deliver
from rehearsal.notify.gauges import export_gauges
from rehearsal.notify.message import compose
from rehearsal.notify.release import Release
from rehearsal.notify.send import service
from rehearsal.settings import Notify, Prometheus
from rehearsal.tables.guard import refuse_production

SECRET = "hunter2token"


def alert(segment: str | None, week: str, score: float, **more: Any) -> dict[str, Any]:
    row = {
        "segment_id": segment, "segment_name": f"name of {segment}" if segment else "all users",
        "window_start": pd.Timestamp(week), "output": "class", "metric": "kl_nats",
        "test": "distribution", "score": score, "threshold": 0.05,
    }  # fmt: skip
    return row | more


def release(
    *rows: dict[str, Any],
    run_id: str = "r1",
    experimental: str = "models:/ranker/4",
    onsets: Sequence[dict[str, Any]] = (),
) -> Release:
    alerts = pd.DataFrame(rows, columns=list(COLUMNS))
    starts = pd.DataFrame(onsets, columns=list(ONSET_COLUMNS))
    report = "https://reports/r1"
    return Release(run_id, "main", "models:/ranker/3", experimental, 13, report, alerts, starts)


TWO = (
    alert("s1", "2026-03-09", 0.1),
    alert("s1", "2026-03-02", 0.06),
    alert("s2", "2026-03-16", -0.3, output="yes_rate", metric="kpi_relative_change", threshold=0.1),
    alert(None, "2026-03-16", 0.055),
)


@pytest.fixture
def server() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


def sinks(monkeypatch: pytest.MonkeyPatch, **urls: str | None) -> Notify:
    """Settings with these sinks, their URLs in the environment; None: not set."""
    for name, url in urls.items():
        if url is None:
            monkeypatch.delenv(f"URL_{name}", raising=False)
        else:
            monkeypatch.setenv(f"URL_{name}", url)
    return Notify.model_validate({"sinks": {name: {"url_env": f"URL_{name}"} for name in urls}})


def no_pause(_seconds: float) -> None:
    """Retry at once."""


def webhook(server: Listener) -> str:
    return f"json://rehearsal:{SECRET}@127.0.0.1:{server.port}/{SECRET}"


# --- The message


def test_the_message_names_run_models_and_report_and_each_segment_once_the_worst_first() -> None:
    message = compose(release(*TWO))
    assert message.title == "Rehearsal r1: 2 of 13 segments drift"
    change = "kpi_relative_change of yes_rate -0.3, 3.0 × its threshold"
    assert message.body.splitlines() == [
        "models:/ranker/4 (experimental) against models:/ranker/3 (production)",
        "Report: https://reports/r1",
        f"- s2 (name of s2): {change}, since 2026-03-16",
        "- s1 (name of s1): kl_nats of class 0.1, 2.0 × its threshold, since 2026-03-02",
        "- all users: kl_nats of class 0.055, 1.1 × its threshold, since 2026-03-16",
    ]


def test_a_long_list_is_cut_after_the_worst_twenty() -> None:
    rows = [alert(f"s{i}", "2026-03-02", 0.1 + i / 100) for i in range(25)]
    lines = compose(release(*rows)).body.splitlines()
    assert len(lines) == 2 + 20 + 1
    assert lines[2].startswith("- s24 ")
    assert lines[-1] == "and 5 more"


def test_all_users_alone_are_no_segment() -> None:
    found = release(alert(None, "2026-03-02", 0.2))
    assert found.n_breaching == 0
    assert compose(found).title == "Rehearsal r1: all users together drift"


def test_a_name_cannot_bring_lines_of_its_own_into_the_message() -> None:
    named = alert("s1", "2026-03-02", 0.1, segment_name="a\n- s9 (calm)\n" + "x " * 100)
    assert len(compose(release(named)).body.splitlines()) == 3


# --- Since when


def onset(segment: str | None, test: str, start: str, output: str = "class") -> dict[str, Any]:
    return {
        "segment_id": segment, "output": output, "test": test, "window_start": pd.Timestamp(start)
    }  # fmt: skip


def test_since_is_the_start_of_the_lasting_drift_in_the_worst_measure() -> None:
    flips = alert("s2", "2026-03-16", 0.4, metric="flip_rate", test="size")
    rows = [*TWO[:2], flips, alert("s3", "2026-03-23", 0.1), alert("s3", "2026-03-16", 0.3)]
    starts = [
        onset("s1", "distribution", "2026-02-23"),
        onset("s1", "distribution", "2026-03-09", output="value"),
        onset("s2", "mean", "2026-03-02"),
        onset("s2", "distribution", "2026-03-09"),
        onset(None, "distribution", "2026-01-05"),
    ]
    found = {one.segment_id: one.since for one in release(*rows, onsets=starts).breaches}
    # What has no start of its own: the first window in breach; a size: its output's distribution.
    assert found == {"s1": "2026-02-23", "s2": "2026-03-09", "s3": "2026-03-16"}


# --- Sinks


def test_a_sink_gets_title_and_body_once(server: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    notify, found = sinks(monkeypatch, team=webhook(server)), release(*TWO)
    after, said = deliver(notify, found, [], no_pause)
    told = {"run_id": "r1", "sink": "team", "status": "delivered", "reason": None, "n_attempts": 1}
    kl = {"output": "class", "metric": "kl_nats"}
    kpi = {"output": "yes_rate", "metric": "kpi_relative_change"}
    assert after == [
        Delivery(**told, segment_id="s2", **kpi, ratio=pytest.approx(3)),
        Delivery(**told, segment_id="s1", **kl, ratio=2.0),
        Delivery(**told, segment_id=None, **kl, ratio=pytest.approx(1.1)),
    ]
    assert said == ["sent to team"]
    (message,) = server.messages
    assert message["title"] == compose(found).title
    assert message["message"] == compose(found).body
    assert message["type"] == "warning"
    again, said = deliver(notify, found, after, no_pause)
    assert (again, said) == (after, ["team told already"])
    assert len(server.received) == 1


def test_a_release_is_told_of_a_breach_once_whatever_the_run(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = sinks(monkeypatch, team=webhook(server))
    first, _ = deliver(notify, release(*TWO), [], no_pause)
    calmer = release(alert("s1", "2026-03-23", 0.06), TWO[3], run_id="r2")
    assert deliver(notify, calmer, first, no_pause) == (first, ["team told already"])
    assert calmer.key == release(*TWO).key
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "news",
    [
        alert("s3", "2026-03-23", 0.06),
        alert("s1", "2026-03-09", 0.06, output="value"),
        alert("s1", "2026-03-09", 0.06, metric="psi"),
        alert("s1", "2026-03-23", 0.16),  # 3.2 times its threshold, told to be twice
    ],
)
def test_what_is_new_or_half_as_much_worse_is_told(
    news: dict[str, Any], server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = sinks(monkeypatch, team=webhook(server))
    first, _ = deliver(notify, release(*TWO), [], no_pause)
    found = release(*TWO, news, run_id="r2")
    second, said = deliver(notify, found, first, no_pause)
    assert said == ["sent to team"]
    assert len(server.received) == 2
    assert {one.run_id for one in second} == {"r2"}
    # And then it is told, also after it was less for a while.
    calm, _ = deliver(notify, release(*TWO[:2]), second, no_pause)
    assert deliver(notify, found, calm, no_pause) == (second, ["team told already"])


def test_a_little_worse_is_no_news_and_does_not_creep_up(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = sinks(monkeypatch, team=webhook(server))
    told, _ = deliver(notify, release(alert("s1", "2026-03-09", 0.1)), [], no_pause)
    for score in (0.11, 0.13, 0.149):
        worse = release(alert("s1", "2026-03-09", score))
        assert deliver(notify, worse, told, no_pause) == (told, ["team told already"])
    assert len(server.received) == 1


def test_what_was_told_stays_told_where_news_cannot_be_sent(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify = sinks(monkeypatch, team=webhook(server))
    first, _ = deliver(notify, release(*TWO), [], no_pause)
    server.status = 500
    worse = release(*TWO, alert("s1", "2026-03-23", 0.5))
    after, _ = deliver(notify, worse, first, no_pause)
    assert after[:3] == first
    assert [(one.segment_id, one.status, one.ratio) for one in after[3:]] == [("s1", "failed", 10)]
    assert deliver(notify, release(*TWO), after, no_pause) == (first, ["team told already"])


def test_other_models_are_another_release_and_stored_outputs_one_per_run() -> None:
    keys = [release().key, release(experimental="models:/ranker/5").key]
    keys += [release(experimental="stored", run_id=one).key for one in ("r1", "r2")]
    assert len(set(keys)) == 4
    assert release(run_id="r2").key == keys[0]
    assert release(experimental="stored").key == keys[2]


def test_a_refusing_sink_is_tried_again_then_failed_and_the_others_are_told(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening() as broken:
        broken.status = 500
        notify = sinks(monkeypatch, broken=webhook(broken), team=webhook(server))
        pauses: list[float] = []
        after, said = deliver(notify, release(*TWO), [], pauses.append)
        assert {(one.sink, one.status, one.n_attempts, one.reason) for one in after} == {
            ("broken", "failed", 3, "HTTP 500"), ("team", "delivered", 1, None)
        }  # fmt: skip
        assert len(after) == 6
        assert said == ["sent to team", "broken failed (HTTP 500)"]
        assert pauses == [1.0, 2.0]
        assert len(broken.received) == 3

        broken.status = 200
        again, said = deliver(notify, release(*TWO), after, no_pause)
        assert {one.status for one in again} == {"delivered"}
        assert said == ["sent to broken", "team told already"]
    assert len(server.received) == 1


def test_a_sink_that_mends_within_the_run_is_delivered(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 503

    def mend(_seconds: float) -> None:
        server.status = 200

    (one,), _ = deliver(sinks(monkeypatch, team=webhook(server)), release(TWO[0]), [], mend)
    assert (one.status, one.n_attempts) == ("delivered", 2)


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "reason", "n_attempts"),
    [
        (None, "sink 'team' has no URL: the environment variable URL_team is not set", 0),
        ("  ", "sink 'team' has no URL: the environment variable URL_team is not set", 0),
        (f"nosuch://{SECRET}", "sink 'team' has no usable URL: .* URL_team holds is no apprise", 0),
        (f"json://[{SECRET}", "sink 'team' has no usable URL", 0),
        (f"json://u:{SECRET}@127.0.0.1:UNUSED/{SECRET}", "^no connection$", 3),
        (f"json://u:{SECRET}@127.0.0.1:99999/{SECRET}", "^no connection$", 3),
    ],
)
def test_what_cannot_be_sent_is_a_reason_without_the_url(
    url: str | None,
    reason: str,
    n_attempts: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url = url.replace("UNUSED", str(unused_port())) if url else url
    (one,), said = deliver(sinks(monkeypatch, team=url), release(TWO[0]), [], no_pause)
    assert one.status == "failed"
    assert one.n_attempts == n_attempts
    assert pd.Series([one.reason]).str.contains(reason).all(), one.reason
    shown = capfd.readouterr()
    assert SECRET not in f"{one} {said} {shown.out} {shown.err}"


def test_a_plugin_that_raises_is_a_failed_delivery(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apprise

    def breaks(*_: object, **__: object) -> bool:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(apprise.Apprise, "notify", breaks)
    (one,), _ = deliver(sinks(monkeypatch, team=webhook(server)), release(TWO[0]), [], no_pause)
    assert (one.status, one.reason) == ("failed", "RuntimeError")


def test_no_breach_is_no_message_and_forgets_what_failed(
    server: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, failed = (Delivery("r0", "team", "s1", "class", "kl_nats", 2.0, status, None, 1)
                    for status in ("delivered", "failed"))  # fmt: skip
    notify = sinks(monkeypatch, team=webhook(server))
    assert deliver(notify, release(), [told, failed], no_pause) == (
        [told], ["no breach, no message"]
    )  # fmt: skip
    assert server.received == []


def test_a_service_with_a_length_limit_gets_the_worst_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    discord = f"discord://{'1' * 18}/{SECRET}"
    for url, mode in ((discord, "truncate"), (f"{discord}?overflow=split", "split")):
        sink = sinks(monkeypatch, team=url).sinks["team"]
        assert service("team", sink, {"URL_team": url}).overflow_mode.value == mode


# --- Prometheus


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (one.name, *(one.labels[label] for label in sorted(one.labels))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


EXPECTED = {
    # Labels in the order metric, output, run_id, segment_id; of several windows the newest counts.
    ("rehearsal_drift_score_over_threshold", "kl_nats", "class", "r1", "all"): 1.1,
    ("rehearsal_drift_score_over_threshold", "kl_nats", "class", "r1", "s1"): 2.0,
    ("rehearsal_drift_score_over_threshold", "kpi_relative_change", "yes_rate", "r1", "s2"): 3.0,
    ("rehearsal_breaching_segments", "r1"): 2.0,
    ("rehearsal_segments", "r1"): 13.0,
}  # fmt: skip


def test_the_textfile_holds_the_gauges_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "metrics" / "rehearsal.prom"
    prometheus = Prometheus(textfile=str(place))
    said = export_gauges(prometheus, release(*TWO), 3, no_pause)
    assert said == ["gauges written to textfile"]
    assert samples(place.read_text()) == pytest.approx(EXPECTED)
    assert list(place.parent.iterdir()) == [place]
    export_gauges(prometheus, release(), 3, no_pause)
    assert samples(place.read_text()) == {
        ("rehearsal_breaching_segments", "r1"): 0.0, ("rehearsal_segments", "r1"): 13.0
    }  # fmt: skip


def test_the_pushgateway_is_given_the_same_gauges_in_place_of_the_runs_before(
    server: Listener,
) -> None:
    prometheus = Prometheus(pushgateway=f"127.0.0.1:{server.port}", job="ranker")
    said = export_gauges(prometheus, release(*TWO), 3, no_pause)
    assert said == ["gauges written to pushgateway"]
    ((method, path, body),) = server.received
    assert (method, path) == ("PUT", "/metrics/job/ranker")
    assert samples(body.decode()) == pytest.approx(EXPECTED)


def test_a_place_that_takes_no_gauges_is_said_and_the_other_is_written(
    server: Listener, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    prometheus = Prometheus(
        textfile=str(tmp_path / "file" / "x.prom"), pushgateway=f"127.0.0.1:{server.port}"
    )
    assert export_gauges(prometheus, release(*TWO), 2, no_pause) == [
        "gauges not written to textfile (File exists)", "gauges written to pushgateway"
    ]  # fmt: skip
    server.status = 500
    said = export_gauges(prometheus, release(*TWO), 2, no_pause)
    assert said[1] == "gauges not written to pushgateway (HTTP 500)"
    assert len(server.received) == 3
    nobody = Prometheus(pushgateway=f"127.0.0.1:{unused_port()}")
    (said_of_it,) = export_gauges(nobody, release(*TWO), 1, no_pause)
    assert "Connection refused" in said_of_it


def test_series_are_bounded_and_the_worst_are_kept(tmp_path: Path) -> None:
    rows = [alert(f"s{i:04d}", "2026-03-02", 0.1 + i / 1000) for i in range(1200)]
    place = tmp_path / "x.prom"
    export_gauges(Prometheus(textfile=str(place)), release(*rows), 1, no_pause)
    kept = [one for one in samples(place.read_text()) if "over_threshold" in one[0]]
    assert len(kept) == 1000
    assert min(kept)[-1] == "s0200"


# --- Settings


@pytest.mark.parametrize(
    ("notify", "message"),
    [
        ({"sinks": {"team": {"url_env": f"slack://{SECRET}"}}}, "team.url_env: give the name of"),
        ({"sinks": {"team": {"url": f"slack://{SECRET}"}}}, "notify.sinks.team.url: unknown key"),
        ({"sinks": {"team": f"slack://{SECRET}"}}, "notify.sinks.team: give url_env"),
        ({"sinks": {"a team": {"url_env": "X"}}}, r"notify.sinks.a team.\[key\]: String should ma"),
        ({"prometheus": {"pushgateway": f"u:{SECRET}@h:1"}}, "no user or password belongs here"),
        ({"prometheus": {"textfile": "x.txt"}}, "'textfile' must end in .prom"),
        ({"attempts": 0}, "notify.attempts: .* got 0"),
        ({"sink": {}}, "notify.sink: unknown key; did you mean 'sinks'"),
    ],
)
def test_a_wrong_setting_is_named_and_no_secret_is_quoted(
    notify: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        plain_settings(notify=notify)
    assert SECRET not in str(caught.value)


def test_the_textfile_is_never_written_in_production(tmp_path: Path) -> None:
    settings = plain_settings(
        notify={"prometheus": {"textfile": str(tmp_path / "prod" / "x.prom")}},
        production={"paths": [str(tmp_path / "prod")]},
    )
    with pytest.raises(ProductionGuardError, match=r"x.prom is production"):
        refuse_production(settings)


def test_importing_the_step_imports_no_client_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, rehearsal.jobs.notify; "
        "print({'apprise', 'prometheus_client', 'torch', 'mlflow'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
