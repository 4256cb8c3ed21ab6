"""TVAE and CTGAN fitted for a given time, in the peers' own environment.

    python tests/benchmarks/peer_generators.py CTGAN TRAINING.parquet FOLDER --cpu-seconds 60
        [--conditions income gender]

Writes FOLDER/synthetic.parquet, as many rows as were trained on, and FOLDER/about.json. A peer
takes a number of epochs and no time, so a fit of one epoch is timed first and not counted.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import ctgan
import pandas as pd
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

ASKED = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["TVAE", "CTGAN"])
    parser.add_argument("training", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cpu-seconds", type=float, required=True)
    parser.add_argument("--conditions", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rows = pd.read_parquet(options.training)
    prepare, epoch = once(options.peer, rows)
    epochs = max(1, round((options.cpu_seconds - prepare) / epoch))
    began = time.process_time()
    model = fitted(options.peer, rows, epochs)
    about: dict[str, Any] = {"fit_cpu_s": time.process_time() - began, "epochs": epochs}
    began = time.process_time()
    synthetic = model.sample(len(rows))
    about["rows_per_cpu_s"] = len(rows) / (time.process_time() - began)
    about["purity"] = {name: purity(model, rows[name]) for name in options.conditions}
    options.folder.mkdir(parents=True, exist_ok=True)
    synthetic.to_parquet(options.folder / "synthetic.parquet")
    (options.folder / "about.json").write_text(json.dumps(about, indent=1))


def once(peer: str, rows: pd.DataFrame) -> tuple[float, float]:
    """CPU-seconds before the first step of training, and of an epoch."""
    steps: list[float] = []
    hook = register_optimizer_step_pre_hook(lambda *_: steps.append(time.process_time()))
    began = time.process_time()
    fitted(peer, rows, epochs=1)
    ended = time.process_time()
    hook.remove()
    return steps[0] - began, ended - steps[0]


def fitted(peer: str, rows: pd.DataFrame, epochs: int) -> Any:
    model = getattr(ctgan, peer)(epochs=epochs, enable_gpu=False)
    model.fit(rows, [name for name in rows if rows[name].dtype == object])
    return model


def purity(model: Any, column: pd.Series) -> dict[str, float]:
    """Share of the rows asked for with a value that have it, per value of the column."""
    return {
        value: float((model.sample(ASKED, column.name, value)[column.name] == value).mean())
        for value in sorted(column.unique())
    }


if __name__ == "__main__":
    main()
