"""Generators of tables on Adult, against TVAE and CTGAN at equal CPU-seconds.

    python tests/benchmarks/bench_generators.py [--models vae:12,gan:12,mixture:40]
        [--peers TVAE,CTGAN] [--cpu-seconds 60] [--folder work] [--output result.json]
        [--peer-python python of an environment with PEERS; default: one is made, of 5 GB]

39,073 training and 9,769 test rows, one thread. `--models` names our kinds and the most epochs of
each. Each peer trains for as many CPU-seconds as the slowest of ours (or --cpu-seconds), and once
more for twice as many. All are scored by scores.py, in the peers' environment, beside the ends of
the scale: one real half against the other, columns drawn independently, and copies of the training
rows (whose TSTR is the TRTR).

Then each of ours is fitted again with conditions and two planted records of values no one else has,
one present once and one five times: every row asked for with a value must have it, and neither
100,000 rows asked for with the record's own conditions nor the saved files may hold its values.
Last, rows drawn per CPU-second of a table of 20 columns, against a limit of 20,000.
"""

import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from adult import adult

from rehearsal.generate.models.synthesizer import Synthesizer
from rehearsal.settings import Generator

HERE = Path(__file__).parent
PEERS = ("ctgan==0.12.1", "xgboost==3.2.0", "sdmetrics==0.32.0", "pandas<3", "pyarrow")
CONDITIONS = ["income", "gender", "workclass"]
ASKED, PLANTED_ROWS = 200, 100_000
WIDE_COLUMNS, WIDE_ROWS, WIDE_LIMIT = 20, 100_000, 20_000
COLUMNS = (
    "fit_cpu_s", "quality", "shape", "pair", "c2st_auc", "tstr_auc", "dcr_share", "exact_share",
    "mia_likelihood", "mia_distance", "rows_per_cpu_s",
)  # fmt: skip
BETTER = {"quality": max, "shape": max, "pair": max, "c2st_auc": min, "tstr_auc": max,
          "rows_per_cpu_s": max}  # fmt: skip
"""Where a ratio to the best peer says something: the others are held against a fixed limit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python")
    parser.add_argument("--models", default="vae:12,gan:12,mixture:40")
    parser.add_argument("--peers", default="TVAE,CTGAN")
    parser.add_argument("--cpu-seconds", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the tables are kept")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        python = options.peer_python or environment(Path(scratch))
        bench = Bench(options.folder or Path(scratch), python)
        result = run(bench, named(options.models), options.peers, options.cpu_seconds)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1))


def environment(folder: Path) -> str:
    """Make the peers an environment of their own, since their pins conflict with ours."""
    print(f"installing {', '.join(PEERS)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "peers"], check=True)
    python = str(folder / "peers" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True)
    return python


def named(models: str) -> dict[str, int]:
    """Kind -> epochs of `vae:12,gan:10`."""
    pairs = (model.split(":") for model in models.split(",") if model)
    return {kind: int(epochs) for kind, epochs in pairs}


def run(bench: "Bench", models: dict[str, int], peers: str, cpu_seconds: int) -> dict[str, Any]:
    header = "  ".join(f"{name:>14s}" for name in COLUMNS)
    print(f"{'':14s}{header}", flush=True)
    bench.ends()
    for kind, epochs in models.items():
        bench.ours(kind, epochs)
    spent = cpu_seconds or math.ceil(max(bench.table[kind]["fit_cpu_s"] for kind in models))
    names = [peer for peer in peers.split(",") if peer]
    for peer in names:
        bench.peer(peer, (spent, 2 * spent))
    if names:
        for kind in models:
            compare(bench.table, kind)
    planted = {kind: conditioned(bench.training, kind, epochs) for kind, epochs in models.items()}
    wide = {kind: rows_of_wide_table(bench.training, kind) for kind in models}
    return {"scores": bench.table, "conditioned": planted, "wide_rows_per_cpu_s": wide}


class Bench:
    """Tables in files, which the peers' environment reads, and the scores so far."""

    def __init__(self, folder: Path, peer_python: str) -> None:
        self.folder, self.python = folder, peer_python
        self.training, self.test = adult(seed=1)
        self.table: dict[str, dict[str, Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.training.to_parquet(folder / "training.parquet")
        self.test.to_parquet(folder / "test.parquet")

    def ends(self) -> None:
        """One real half against the other, columns drawn by themselves, and plain copies."""
        half, other = self.training[::2], self.training[1::2]
        half.to_parquet(self.folder / "half.parquet")
        self.write("real half", other)
        self.score("real half", "half.parquet")
        random = np.random.default_rng(1)
        columns = {c: random.permutation(self.training[c].to_numpy()) for c in self.training}
        self.write("independent", pd.DataFrame(columns))
        self.score("independent")
        self.write("copies", self.training)
        self.score("copies")

    def ours(self, kind: str, epochs: int) -> None:
        began = time.process_time()
        made = Synthesizer.fit(
            self.training, kind=kind, settings=Generator(max_epochs=epochs), seed=1
        )
        fitted = time.process_time()
        self.write(kind, made.sample(len(self.training), seed=2))
        sampled = time.process_time()
        self.table[kind] = {
            "fit_cpu_s": fitted - began,
            "rows_per_cpu_s": len(self.training) / (sampled - fitted),
            "epochs": len(made.fitted.curve) if made.fitted else None,
        }
        self.likelihoods(kind, made)
        self.score(kind)

    def likelihoods(self, kind: str, made: Synthesizer) -> None:
        """What an attacker with the model reads off it: log p of rows it was given and others."""
        members = self.training.sample(n=len(self.test), random_state=1)
        known = [made.log_likelihood(rows) for rows in (members, self.test)]
        if known[0] is None or known[1] is None:
            return
        member = np.repeat([True, False], [len(members), len(self.test)])
        table = pd.DataFrame({"log_p": np.concatenate([known[0], known[1]]), "member": member})
        table.to_parquet(self.folder / kind / "likelihood.parquet")

    def peer(self, peer: str, budgets: tuple[int, ...]) -> None:
        conditions = CONDITIONS if peer == "CTGAN" else []
        self.call(
            "peer_generators.py", peer, str(self.folder / "training.parquet"), str(self.folder),
            "--cpu-seconds", *map(str, budgets), "--conditions", *conditions,
        )  # fmt: skip
        for budget in budgets:
            name = f"{peer} {budget} s"
            self.table[name] = json.loads((self.folder / name / "about.json").read_text())
            self.score(name)
            for column, values in self.table[name]["purity"].items():
                print_purity(name, column, values)

    def write(self, name: str, rows: pd.DataFrame) -> None:
        (self.folder / name).mkdir(exist_ok=True)
        rows.to_parquet(self.folder / name / "synthetic.parquet")

    def score(self, name: str, training: str = "training.parquet") -> None:
        folder = self.folder / name
        self.call(
            "scores.py", str(self.folder / training), str(self.folder / "test.parquet"), str(folder)
        )
        scores = json.loads((folder / "scores.json").read_text())
        row = self.table.setdefault(name, {})
        row.update(scores)
        cells = (f"{row[c]:14.4g}" if c in row else f"{'-':>14s}" for c in COLUMNS)
        print(f"{name:14s}{'  '.join(cells)}", flush=True)

    def call(self, script: str, *arguments: str) -> None:
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [self.python, "-W", "ignore", HERE / script, *arguments], check=True, env=environment
        )


def compare(table: dict[str, dict[str, Any]], kind: str) -> None:
    """Print each score as a multiple of the best peer's."""
    peers = [row for name, row in table.items() if name.startswith(("TVAE", "CTGAN"))]
    cells = [
        f"{name} {table[kind][name] / best(row[name] for row in peers):.3f}"
        for name, best in BETTER.items()
    ]
    print(f"{kind} / the best peer of each column: {', '.join(cells)}", flush=True)


def conditioned(training: pd.DataFrame, kind: str, epochs: int) -> dict[str, Any]:
    """Fit with conditions and planted records; print purity and where the records' values are."""
    plants = {1: plant(training, 1), 5: plant(training, 5)}
    copies = [pd.DataFrame([record] * n) for n, record in plants.items()]
    rows = pd.concat([training, *copies], ignore_index=True)
    made = Synthesizer.fit(
        rows, CONDITIONS, kind=kind, settings=Generator(max_epochs=epochs), seed=1
    )
    purities = {column: purity(made, training, column) for column in CONDITIONS}
    for column, values in purities.items():
        print_purity(kind, column, values)
    found = {n: disclosed(made, record) for n, record in plants.items()}
    for n, where in found.items():
        print(f"{kind}, a record planted {n} x: {where}", flush=True)
    return {"purity": purities, "planted": found}


def rows_of_wide_table(training: pd.DataFrame, kind: str) -> float:
    """Return rows drawn per CPU-second of Adult widened to 20 columns by noise; print the ratio."""
    random = np.random.default_rng(1)
    names = [f"noise {place}" for place in range(WIDE_COLUMNS - training.shape[1])]
    noise = pd.DataFrame(random.normal(size=(len(training), len(names))), columns=names)
    rows = pd.concat([training.reset_index(drop=True), noise], axis=1)
    # How fast it draws does not hang on how well it was trained.
    made = Synthesizer.fit(rows, CONDITIONS, kind=kind, settings=Generator(max_epochs=1), seed=1)
    given = rows[CONDITIONS].sample(WIDE_ROWS, replace=True, random_state=1)
    began = time.process_time()
    made.sample(WIDE_ROWS, given, seed=2)
    rate = WIDE_ROWS / (time.process_time() - began)
    told = f"{rate:,.0f} rows of {WIDE_COLUMNS} columns per CPU-s, {rate / WIDE_LIMIT:.2f} x"
    print(f"{kind}: {told} the limit of {WIDE_LIMIT:,}", flush=True)
    return rate


def plant(training: pd.DataFrame, n: int) -> dict[str, Any]:
    """A record whose every value but the conditions is its own: numbers far off, rare words."""
    record: dict[str, Any] = {}
    for place, name in enumerate(training):
        number = pd.api.types.is_numeric_dtype(training[name].dtype)
        high = 10 * training[name].max() if number else 0
        record[str(name)] = high + 7919 * n + place if number else f"planted {name} {n}"
    return record | training[CONDITIONS].iloc[0].to_dict()


def purity(made: Synthesizer, training: pd.DataFrame, column: str) -> dict[str, float]:
    """Share of the rows asked for with a value that have it, the other conditions as they fall."""
    shares = {}
    for value in sorted(training[column].unique()):
        given = training[CONDITIONS][:ASKED].reset_index(drop=True).assign(**{column: value})
        shares[value] = float((made.sample(ASKED, given, seed=3)[column] == value).mean())
    return shares


def print_purity(name: str, column: str, shares: dict[str, float]) -> None:
    worst = min(shares, key=lambda value: shares[value])
    print(f"{name}: {column} as asked for: worst {shares[worst]:.1%} ({worst})", flush=True)


def disclosed(made: Synthesizer, record: dict[str, Any]) -> dict[str, list[str]]:
    """Columns of a record whose values are sampled with its conditions, or stand in the files."""
    conditions = {name: record[name] for name in CONDITIONS}
    rows = made.sample(PLANTED_ROWS, conditions, seed=4)
    own = {name: value for name, value in record.items() if name not in CONDITIONS}
    with tempfile.TemporaryDirectory() as scratch:
        made.save(Path(scratch))
        saved = b"".join(file.read_bytes() for file in sorted(Path(scratch).iterdir()))
    return {
        "sampled": [name for name, value in own.items() if (rows[name] == value).any()],
        "saved": [name for name, value in own.items() if any(t in saved for t in traces(value))],
    }


def traces(value: Any) -> list[bytes]:
    """How a value could stand in a file: as text, or as a number of 4 or 8 bytes."""
    if isinstance(value, str):
        return [value.encode()]
    return [str(value).encode(), *(struct.pack(form, value) for form in ("<d", "<f", "<q"))]


if __name__ == "__main__":
    main()
