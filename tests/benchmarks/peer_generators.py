"""TVAE and CTGAN fitted for given times, in the peers' own environment.

    python tests/benchmarks/peer_generators.py CTGAN TRAINING.parquet FOLDER --cpu-seconds 60 120
        [--conditions income gender]

Writes FOLDER/CTGAN 60 s/synthetic.parquet, as many rows as were trained on, and about.json beside
it, for each time. A peer takes a number of epochs and no time, so a fit of one epoch is timed first
and not counted. Conditional sampling is tried on the longest fit.
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
    parser.add_argument("--cpu-seconds", type=int, nargs="+", required=True)
    parser.add_argument("--conditions", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    rows = pd.read_parquet(options.training)
    prepare, epoch = once(options.peer, rows)
    for seconds in sorted(options.cpu_seconds):
        conditions = options.conditions if seconds == max(options.cpu_seconds) else []
        epochs = max(1, round((seconds - prepare) / epoch))
        synthetic, about = tried(options.peer, rows, epochs, conditions)
        folder = options.folder / f"{options.peer} {seconds} s"
        folder.mkdir(parents=True, exist_ok=True)
        synthetic.to_parquet(folder / "synthetic.parquet")
        (folder / "about.json").write_text(json.dumps(about, indent=1))


def tried(
    peer: str, rows: pd.DataFrame, epochs: int, conditions: list[str]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return synthetic rows, and what they cost."""
    began = time.process_time()
    model = fitted(peer, rows, epochs)
    ended = time.process_time()
    synthetic = model.sample(len(rows))
    return synthetic, {
        "fit_cpu_s": ended - began,
        "epochs": epochs,
        "rows_per_cpu_s": len(rows) / (time.process_time() - ended),
        "purity": {name: purity(model, rows[name]) for name in conditions},
    }


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
