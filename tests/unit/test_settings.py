"""Every fault of a configuration is named, with its key, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from rehearsal.configure import load_settings, parse_settings
from rehearsal.errors import ProductionGuardError, SettingsError
from rehearsal.tables.guard import refuse_production

COLUMNS = {"request_id": "id", "user_id": "user", "request_type": "kind", "requested_at": "at"}


MEAN = {"kind": "mean_value"}


def ratio(numerator: str, denominator: str) -> dict[str, str]:
    return {"kind": "ratio", "numerator": numerator, "denominator": denominator}


def config(**sections: Any) -> dict[str, Any]:
    base = {
        "seed": 1,
        "requests": {"table": "logs.calls", "columns": COLUMNS},
        "models": {"production": {"uri": "models:/m/1"}, "experimental": {"uri": "models:/m/2"}},
        "output": {"path": "out"},
        "replay": {"start": "2026-01-01", "end": "2026-02-01"},
    }
    return base | sections


def test_ten_lines_are_enough() -> None:
    assert parse_settings(config()).drift.window == "week"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"drfit": {}}, "drfit: unknown key; did you mean 'drift'"),
        ({"drift": {"min_request": 5}}, "drift.min_request: unknown key; did you mean 'min_reques"),
        ({"drift": {"thresholds": {"kl_nats": float("nan")}}}, "drift.thresholds.kl_nats: Input"),
        ({"drift": {"thresholds": {"kl_nats": -1}}}, "drift.thresholds.kl_nats: .* got -1"),
        ({"drift": {"thresholds": {"psi": {"noise": 0.3}}}}, "psi.noise: .*than 0.5, got 0.3"),
        ({"drift": {"thresholds": {"psi": {"sigmas": 3, "window": 8}}}}, "psi.window: unknown key"),
        ({"drift": {"thresholds": {"mse": {"noise": 0.99}}}}, "mse is not 0 without drift"),
        (
            {"drift": {"output_thresholds": {"clas": {"kl_nats": 0.1}}}},
            "output_thresholds.clas.kl_nats: no metric of a KPI, which all but value, .* are",
        ),
        (
            {"drift": {"output_thresholds": {"x": {}}}, "kpis": {"y": MEAN}},
            "drift.output_thresholds.x: no such output; allowed: .*log_loss, y",
        ),
        (
            {"drift": {"output_thresholds": {"y": {"js_nats": 0.1}}}, "kpis": {"y": MEAN}},
            "output_thresholds.y.js_nats: no metric of a KPI.*; allowed: mean_change, kpi_relative",
        ),
        (
            {"drift": {"output_thresholds": {"class": {"mse": 0.1}}}},
            "output_thresholds.class.mse: no metric of this output; allowed: kl_nats, .*flip_rate",
        ),
        (
            {"drift": {"output_thresholds": {"class": {"kl_nat": 0.1}}}},
            "drift.output_thresholds.class.kl_nat: unknown key; did you mean 'kl_nats'",
        ),
        (
            {"drift": {"output_thresholds": {"class": {"x": 0.1}}}},
            "drift.output_thresholds.class.x: unknown key; allowed: flip_rate, js_distance, .*tv_d",
        ),
        (
            {"drift": {"output_thresholds": {"class": {"kl_nats": 0}}}},
            "drift.output_thresholds.class.kl_nats: Input should be greater than 0, got 0",
        ),
        (
            {"drift": {"output_thresholds": {"value": {"mse": {"noise": 0.99}}}}},
            "drift.output_thresholds.value: mse is not 0 without drift",
        ),
        ({"drift": {"persistence": {"breaching": 3, "of": 2}}}, "'breaching' .3. is above 'of'"),
        ({"kpis": {"class": {"kind": "mean_value"}}}, "'class' is the name of an output"),
        ({"drift": {"window": "hour"}}, "drift.window: .*'day', 'week' or 'month', got 'hour'"),
        (
            {"segments": {"method": "dbscam"}},
            "segments.method: .*'mixture' or 'dbscan', got 'dbscam'",
        ),
        (
            {"segments": {"value": "price"}},
            "segments.value: 'price' is none of requests.columns.continuous ",
        ),
        ({"segments": {"dbscan": {"eps": 0}}}, "segments.dbscan.eps: .* greater than 0, got 0"),
        ({"segments": {"k_min": 9, "k_max": 3}}, "segments: 'k_min' .9. is above 'k_max' .3."),
        (
            {"replay": {"start": "2026-02-01", "end": "2026-01-01"}},
            "replay: 'start' .*before 'end'",
        ),
        ({"output": {}}, "output: give exactly one of 'path'"),
        ({"models": {"production": {"uri": "a"}}}, "models.experimental: Field required"),
        (
            {"models": {"production": {"uri": "a"}, "experimental": {"stored": {"value": "v"}}}},
            "models: both models need a 'uri', or both need 'stored' outputs",
        ),
        ({"kpis": {"hits": {"kind": "accuracy"}}}, "kpi hits needs requests.columns.outcome"),
        ({"kpis": {"hits": {"kind": "sum"}}}, "kpis.hits: Input tag 'sum'"),
        ({"kpis": {"x": {"kind": "ratio", "numerator": "y"}}}, "kpis.x.ratio.denominator: Field"),
        (
            {"kpis": {"y": MEAN, "z": MEAN, "x": ratio("y", "clicks")}},
            "kpis.x.denominator: 'clicks' is no KPI of a request; allowed: y, z",
        ),
        (
            {"kpis": {"y": MEAN, "r": ratio("y", "y"), "x": ratio("r", "y")}},
            "kpis.x.numerator: 'r' is no KPI of a request; allowed: y",
        ),
        (
            {"requests": {"table": "t", "columns": COLUMNS | {"continuous": ["kind"]}}},
            "column kind is mapped more than once",
        ),
        (
            {"requests": {"table": "t", "columns": COLUMNS | {"continuous": ["request_id"]}}},
            "column request_id has the name of a key",
        ),
    ],
)
def test_each_fault_is_told_with_its_key(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_settings(config(**sections))


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(config(seed="x", drift={"bins": 1}))
    assert "seed:" in str(caught.value)
    assert "drift.bins:" in str(caught.value)


def test_later_files_and_overrides_win_key_by_key(tmp_path: Path) -> None:
    import yaml

    first, second = tmp_path / "base.yml", tmp_path / "prod.yml"
    first.write_text(yaml.safe_dump(config(drift={"bins": 20, "min_requests": 50})))
    second.write_text("drift: {min_requests: 70}")
    settings = load_settings([first, second], ["drift.window=day", "drift.thresholds.psi=0.2"])
    assert settings.drift.bins == 20
    assert settings.drift.min_requests == 70
    assert settings.drift.window == "day"
    assert settings.drift.thresholds.psi == 0.2


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1", "must hold a mapping"), ("a: [", "is not YAML")],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings([file])


def test_a_missing_file_and_a_bad_override_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no configuration file"):
        load_settings([tmp_path / "none.yml"])
    with pytest.raises(SettingsError, match="override 'seed' is not of the form"):
        load_settings([], ["seed"])


@pytest.mark.parametrize(
    "sections",
    [
        {"output": {"path": "lake/prod/rehearsal"}, "production": {"paths": ["lake/prod"]}},
        {"output": {"path": "lake/x/../prod"}, "production": {"paths": ["lake/prod"]}},
        {"output": {"path": "s3://b/prod/x"}, "production": {"paths": ["s3://b/prod"]}},
        {
            "output": {"schema": "main.Live", "scratch": "/tmp/x"},
            "production": {"schemas": ["main.live"]},
        },
        {"output": {"schema": "main.a", "scratch": "/tmp/x"}, "production": {"schemas": ["main"]}},
        {
            "output": {"path": "lake/calls/out"},
            "requests": {"path": "lake/calls", "columns": COLUMNS},
        },
    ],
)
def test_production_and_source_tables_are_never_written(sections: dict[str, Any]) -> None:
    with pytest.raises(ProductionGuardError, match="give Rehearsal a (folder|schema) of its own"):
        refuse_production(parse_settings(config(**sections)))


def test_a_link_into_production_is_production(tmp_path: Path) -> None:
    (tmp_path / "prod").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "prod")
    settings = parse_settings(
        config(
            output={"path": str(tmp_path / "link" / "out")},
            production={"paths": [str(tmp_path / "prod")]},
        )
    )
    with pytest.raises(ProductionGuardError):
        refuse_production(settings)


def test_neighbours_of_production_are_fine() -> None:
    sections = {"output": {"path": "lake/production2"}, "production": {"paths": ["lake/prod"]}}
    refuse_production(parse_settings(config(**sections)))
