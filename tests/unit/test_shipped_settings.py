import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal import demo
from rehearsal.configure import load_settings, parse_settings
from rehearsal.datasets import CATEGORICAL, CONTINUOUS
from rehearsal.settings import Settings, Strict
from rehearsal.simulate import Simulation
from rehearsal.simulate.outputs import INPUTS

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("name", ["demo.yml", "simulated.yml", "example.yml"])
def test_every_shipped_configuration_loads(name: str) -> None:
    assert load_settings([CONF / name]).seed == 7


def test_demo_replays_what_neither_model_was_trained_on() -> None:
    settings = load_settings([CONF / "demo.yml"])
    assert settings.replay.start == demo.REPLAY_START
    assert settings.replay.end == demo.REPLAY_END
    assert settings.requests.columns.continuous == CONTINUOUS
    assert settings.requests.columns.categorical == CATEGORICAL
    assert settings.users is not None
    mapped = {"genre", *settings.requests.columns.payload, *settings.users.columns.attributes}
    assert mapped == {*demo.NUMBERS, *demo.LABELS}


def test_simulated_replays_the_weeks_after_the_history_and_maps_all_model_inputs() -> None:
    settings = load_settings([CONF / "simulated.yml"])
    simulation = Simulation(n_users=1, seed=1)
    assert (settings.replay.start, settings.replay.end) == (simulation.replay_start, simulation.end)
    assert settings.users is not None
    columns = settings.requests.columns
    mapped = {columns.request_type, *columns.payload, *settings.users.columns.attributes}
    assert mapped == set(INPUTS)


def _optional_sections() -> list[dict[str, Any]]:
    """The commented sections of the example, each as it would read with the comment taken off."""
    text = (CONF / "example.yml").read_text().split("# The rest is optional")[1]
    blocks = re.findall(r"(?m)(?:^# .*\n)+", text.split("\n", 2)[2])
    return [yaml.safe_load(re.sub(r"(?m)^# ", "", block)) for block in blocks]


def test_every_commented_section_of_the_example_loads_when_uncommented() -> None:
    needed = yaml.safe_load((CONF / "example.yml").read_text())
    sections = _optional_sections()
    assert len(sections) == 15
    for section in sections:
        merged = dict(needed)
        for key, value in section.items():
            held = dict(needed.get(key, {}))
            for inner, more in value.items():
                nested = inner == "columns" and inner in held
                held[inner] = held[inner] | more if nested else more
            merged[key] = held
        if "kpis" in section:
            columns = needed["requests"]["columns"] | {"outcome": "bought"}
            merged["requests"] = needed["requests"] | {"columns": columns}
        parse_settings(merged)


def test_the_example_names_every_key_of_every_section() -> None:
    text = (CONF / "example.yml").read_text()
    for name, field in Settings.model_fields.items():
        assert re.search(rf"\b{name}:", text), name
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Strict):
            for key, inner in section.model_fields.items():
                assert re.search(rf"\b{inner.alias or key}:", text), f"{name}.{key}"
