"""What goes into the MLflow model of a run."""

from pathlib import Path

from rehearsal.generate import publish


def test_where_no_generator_of_the_run_serves_none_is_logged_as_its_model(tmp_path: Path) -> None:
    base = {"segment_id": None, "kind": "vae", "codec_json": "{}", "weights": b"refused"}
    others = [{"segment_id": by, "served_by": by} for by in ("serving", "resampled")]
    # Without a tracking server: to log would raise.
    publish._log_model(None, tmp_path, [base, *others])  # noqa: SLF001
    assert list(tmp_path.iterdir()) == []
