"""Scratch is one folder to Spark and to all that read files there, and begins empty."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rehearsal.errors import SettingsError
from rehearsal.generate.training.stage import as_files, scratch, scratch_folder


def settings(path: str) -> Any:
    return SimpleNamespace(output=SimpleNamespace(scratch_path=path))


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/data/a b", "/data/a b/x"),
        ("file:/data", "/data/x"),
        ("s3://bucket/a", "s3://bucket/a/x"),
        ("dbfs:/Volumes/main/a", "/Volumes/main/a/x"),
        ("dbfs:///Volumes/main/a", "/Volumes/main/a/x"),
        ("/Volumes/main/a", "/Volumes/main/a/x"),
    ],
)
def test_a_folder_has_the_name_that_spark_and_files_share(path: str, folder: str) -> None:
    assert scratch(settings(path), "x") == folder


def test_a_relative_folder_is_one_of_the_present_directory() -> None:
    assert scratch(settings("a/_scratch"), "x") == f"{Path.cwd()}/a/_scratch/x"


def test_what_only_spark_reaches_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"output.scratch: dbfs:/warehouse/_scratch can be .*V"):
        scratch(settings("dbfs:/warehouse/_scratch"), "x")


def test_files_that_spark_names_in_its_own_way_are_found() -> None:
    assert as_files("dbfs:/Volumes/a/bin=1/part-0.parquet") == "/Volumes/a/bin=1/part-0.parquet"
    assert as_files("file:///tmp/a%20b.parquet") == "file:///tmp/a%20b.parquet"


def test_what_a_killed_attempt_left_is_gone_before_and_after(tmp_path: Path) -> None:
    left = tmp_path / "x" / "progress" / "old.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    with scratch_folder(settings(str(tmp_path)), "x") as folder:
        assert not left.exists()
        Path(folder).mkdir()
        (Path(folder) / "new.json").write_text("{}")
    assert list(tmp_path.iterdir()) == []
