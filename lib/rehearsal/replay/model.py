"""A model as the workers need it: found once on the driver, packed, loaded once per worker."""

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from rehearsal.errors import ModelError
from rehearsal.replay.outputs import Outputs, read_outputs
from rehearsal.settings import Mlflow
from rehearsal.tracking import fetch_model

# Of the types Spark casts to, those that cannot hold a missing value in pandas.
_WHOLE = {"boolean": "bool", "int": "int32", "bigint": "int64"}
# Types of an MLflow signature, as Spark casts to them.
_SPARK_TYPES = {
    "boolean": "boolean", "integer": "int", "long": "bigint", "float": "double",
    "double": "double", "string": "string", "datetime": "timestamp",
}  # fmt: skip


@dataclass(frozen=True)
class PackedModel:
    """A model's files in one archive, small enough to travel with the task."""

    name: str
    reference: str
    archive: bytes
    digest: str
    inputs: tuple[tuple[str, str], ...]

    @property
    def required(self) -> tuple[str, ...]:
        """The inputs whose type in the signature cannot hold a missing value."""
        return tuple(name for name, kind in self.inputs if kind in _WHOLE)

    def predict(self, requests: pd.DataFrame) -> Outputs:
        """Return the outputs for requests that hold the model's inputs, none required missing.

        Raises:
            ModelError: the model fails, or returns something else than one output each.
        """
        loaded = _load(self.digest, self.archive)
        batch = requests[[name for name, _ in self.inputs]]
        # A column with missing values in rows set aside arrived as floats.
        batch = batch.astype({name: _WHOLE[kind] for name, kind in self.inputs if kind in _WHOLE})
        try:
            returned, classes = loaded.predict(batch)
        except Exception as error:
            raise ModelError(f"{self.name} model {self.reference} failed: {error}") from error
        return read_outputs(returned, len(batch), classes, f"{self.name} model {self.reference}")


def pack_model(
    name: str, uri: str, settings: Mlflow, available: Mapping[str, str], default: Sequence[str]
) -> PackedModel:
    """Return the model at an MLflow `uri`, packed for the workers.

    Args:
        name: production or experimental, for messages.
        uri: `models:/name@alias`, `models:/name/3`, `runs:/...` or a path.
        settings: the MLflow store.
        available: column -> Spark type of what requests and profiles can offer.
        default: the columns a model without a signature gets.

    Raises:
        ModelError: it is not there, or takes a column that is not mapped.
    """
    with tempfile.TemporaryDirectory() as scratch:
        reference, folder, signature = fetch_model(name, uri, settings, Path(scratch))
        archive = _zip(folder)
    wanted = signature if signature is not None else dict.fromkeys(default, "")
    missing = sorted(set(wanted) - set(available))
    if missing:
        raise ModelError(
            f"{name} model {reference} takes {', '.join(missing)}, which the configuration does "
            "not map; add each to requests.columns or users.columns (continuous, categorical or "
            f"datetime). Mapped: {', '.join(sorted(available))}"
        )
    inputs = tuple(
        (column, _SPARK_TYPES.get(kind, available[column])) for column, kind in wanted.items()
    )
    digest = hashlib.blake2b(archive, digest_size=16).hexdigest()
    return PackedModel(name, reference, archive, digest, inputs)


class _Loaded:
    """A loaded model that answers with class probabilities where its flavour has them."""

    def __init__(self, folder: str) -> None:
        import mlflow

        self._model: Any = mlflow.pyfunc.load_model(folder)
        raw = self._raw()
        self._native = raw if hasattr(raw, "predict_proba") else None

    def predict(self, batch: pd.DataFrame) -> tuple[Any, tuple[str, ...] | None]:
        if self._native is None:
            return self._model.predict(batch), None
        labels = getattr(self._native, "classes_", None)
        classes = tuple(str(label) for label in labels) if labels is not None else None
        return self._native.predict_proba(batch), classes

    def _raw(self) -> Any:
        try:
            return self._model.get_raw_model()
        except NotImplementedError:  # the flavour has no native model; pyfunc serves
            return None


@lru_cache(maxsize=4)
def _load(digest: str, archive: bytes) -> _Loaded:  # noqa: ARG001 - the digest keys the cache
    folder = tempfile.mkdtemp(prefix="rehearsal-model-", dir=_scratch())
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(folder)
    return _Loaded(folder)


def _scratch() -> str | None:
    """The application's own folder, which Spark deletes at its end; workers may exit uncleanly."""
    from pyspark import SparkFiles

    try:
        return SparkFiles.getRootDirectory()
    except (AssertionError, AttributeError):  # no Spark in this process, or Spark Connect
        return None


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.write(file, file.relative_to(folder))
    return buffer.getvalue()
