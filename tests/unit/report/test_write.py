import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from rehearsal.report import write
from rehearsal.report.frames import ReportData


def test_the_report_lands_whole_in_a_folder_made_for_it(data: ReportData, tmp_path: Path) -> None:
    place = write.save_report(data, tmp_path / "made" / "report.html")
    assert place.read_text(encoding="utf-8").endswith("</html>")
    assert [file.name for file in place.parent.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_the_old_report(
    data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "report.html"
    place.write_text("old")

    def fail(_self: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write.save_report(data, place)
    assert place.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_console_table_has_a_row_per_segment(data: ReportData) -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(write.summary_table(data))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    row = next(line for line in shown.splitlines() if "s1 ·" in line)
    for told in ("1,200", "▲ drifts", "3.80", "2024-03-18", "Sci-Fi 70%", "500"):
        assert told in row
    assert "– too little data" in shown


def test_brackets_in_names_are_not_console_markup(data: ReportData) -> None:
    contributions = data.contributions.assign(request_type="[red]x[/]")
    console = Console(file=io.StringIO(), width=200)
    console.print(write.summary_table(dataclasses.replace(data, contributions=contributions)))
    assert "[red]x[/]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_known_of_the_segments_is_among_the_key_metrics(
    data: ReportData, segmented: Callable[[int], ReportData]
) -> None:
    assert not {"silhouette", "moved_user_share"} & set(write.key_metrics(data))
    known = segmented(8)
    metrics = write.key_metrics(known)
    n_users = known.segmentation["n_users"].iloc[0]
    assert metrics["moved_user_share"] == pytest.approx(600 / n_users)
    assert (metrics["silhouette"], metrics["segment_mix_psi"]) == (0.31, 0.13)
    first = dataclasses.replace(known, segmentation=known.segmentation.assign(psi=None))
    assert "segment_mix_psi" not in write.key_metrics(first)


def test_key_metrics_are_the_runs_figures(data: ReportData) -> None:
    metrics = write.key_metrics(data)
    assert metrics["n_breaching_segments"] == 1
    assert metrics["n_quarantined"] == 15
    assert metrics["worst_score_over_threshold"] == pytest.approx(3.8)
    assert (
        metrics["augmented_disagreements_per_1000"] - metrics["baseline_disagreements_per_1000"]
        == 21
    )
