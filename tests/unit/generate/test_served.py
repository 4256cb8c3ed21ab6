"""The generators of a run as a model that is loaded from its files."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from rehearsal.generate.models.served import ServedSynthesizers
from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedSynthesizers:
    kind = ["refund"] * 200 + ["order"] * 150 + ["return"] * 50 + ["once"]
    rows = pd.DataFrame({"kind": kind, "y": np.arange(401) % 7})
    settings = Generator(max_categories=2, max_epochs=2, components=3)
    made = Synthesizer.fit(rows, ["kind"], kind="mixture", settings=settings)
    folder: Path = tmp_path_factory.mktemp("served")
    made.save(folder)
    about = {"kind": "mixture", "segments": {"s": {"profile": [], "file": None}}}
    (folder / "index.json").write_text(json.dumps(about))
    files = {"codec": "codec.json", "generator": "generator.safetensors", "segments": ""}
    model = ServedSynthesizers()
    model.load_context(SimpleNamespace(artifacts={k: str(folder / f) for k, f in files.items()}))
    return model


def test_known_categories_and_those_pooled_are_taken_without_a_word(
    served: ServedSynthesizers,
) -> None:
    asked = pd.DataFrame({"kind": ["refund", "return", None]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(served.predict(None, asked, {"segment_id": "s"})) == 3


def test_a_category_without_a_code_is_told_of(served: ServedSynthesizers) -> None:
    asked = pd.DataFrame({"kind": ["refund", "refnud"]})
    with pytest.warns(
        UserWarning, match="kind = 'refnud', taken for a rare one.*'order', 'refund'"
    ):
        assert len(served.predict(None, asked, {"segment_id": "s"})) == 2
