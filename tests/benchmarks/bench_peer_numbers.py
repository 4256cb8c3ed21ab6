"""Our measures against the numbers of Evidently 0.7.23 and NannyML 0.13.1 on the same bins.

    python -m venv /tmp/peers/ev
    /tmp/peers/ev/bin/pip install evidently==0.7.23 "pandas<3" pyarrow
    python -m venv /tmp/peers/nm
    /tmp/peers/nm/bin/pip install nannyml==0.13.1 "pandas<3" statsmodels
    python tests/benchmarks/bench_peer_numbers.py --evidently /tmp/peers/ev/bin/python
        --nannyml /tmp/peers/nm/bin/python [--cells 50]

Prints the largest absolute difference over random pairs of histograms, where definitions agree:
theirs are given our bins as categories (and, for Wasserstein, the middles of our bins as values).
Ours add half a request to every bin before logarithms and they do not, which is told apart: the
columns 'same formula' are our formulas on the plain shares, 'as stored' what `drift_scores` has,
for all pairs and for those of 5,000 requests or more.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from paired_world import EDGES, K

from rehearsal.stats.distance import l_infinity, total_variation, wasserstein
from rehearsal.stats.divergence import Shares, divergence, js_distance, shares

MANY = 5000

EVIDENTLY = """
import sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
definition = DataDefinition(numerical_columns=["value"], categorical_columns=["bin"])
ways = {"kl_nats": ("bin", "kl_div"), "psi": ("bin", "psi"),
        "js_distance": ("bin", "jensenshannon"),
        "wasserstein_distance": ("value", "wasserstein")}
counts, found = np.load(sys.argv[1]), []
middles = (np.arange(counts.shape[2]) + 0.5) / counts.shape[2]
for p, q in counts:
    frames = [pd.DataFrame({"value": np.repeat(middles, side),
                            "bin": np.repeat(np.arange(len(side)), side).astype(str)})
              for side in (p, q)]
    sides = [Dataset.from_pandas(frame, data_definition=definition) for frame in frames]
    metrics = [ValueDrift(column=column, method=method) for column, method in ways.values()]
    run = Report(metrics).run(sides[1], sides[0]).dict()
    row = {name: float(one["value"]) for name, one in zip(ways, run["metrics"])}
    row["js_distance"] /= np.sqrt(np.log(2))  # theirs is of nats
    row["wasserstein_distance"] *= max(np.std(frames[0]["value"]), 0.001)  # theirs is normed by it
    found.append(row)
pd.DataFrame(found).to_csv(sys.argv[2])
"""

NANNYML = """
import sys, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd
from nannyml.drift.univariate import FeatureType, MethodFactory
from nannyml.chunk import SizeBasedChunker
from nannyml.thresholds import ConstantThreshold
counts, found = np.load(sys.argv[1]), []
middles = (np.arange(counts.shape[2]) + 0.5) / counts.shape[2]
ways = {"js_distance": ("jensen_shannon", True), "l_infinity_distance": ("l_infinity", True),
        "wasserstein_distance": ("wasserstein", False)}
for p, q in counts:
    values = [pd.Series(np.repeat(middles, side), name="value") for side in (p, q)]
    names = [pd.Series(np.repeat(np.arange(len(side)), side).astype(str), name="bin")
             for side in (p, q)]
    row = {}
    for name, (key, classes) in ways.items():
        kind = FeatureType.CATEGORICAL if classes else FeatureType.CONTINUOUS
        method = MethodFactory.create(
            key=key, feature_type=kind, chunker=SizeBasedChunker(1000),
            threshold=ConstantThreshold(upper=1.0),
            computation_params={"wasserstein": {}, "calculation_method": "exact"})  # as it reads it
        held = names if classes else values
        row[name] = float(method.fit(held[0]).calculate(held[1]))
    found.append(row)
pd.DataFrame(found).to_csv(sys.argv[2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evidently", type=Path)
    parser.add_argument("--nannyml", type=Path)
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts = _histograms(np.random.default_rng(options.seed), options.cells)
    stored, plain = _ours(counts)
    peers = {"evidently": (options.evidently, EVIDENTLY), "nannyml": (options.nannyml, NANNYML)}
    print(f"largest difference over {options.cells} pairs of histograms of 50 to 50,000 requests")
    print(
        f"{'peer':10} {'measure':22} {'range of theirs':>19} {'same formula':>13}",
        f"{'as stored':>10} {f'n >= {MANY}':>10}",
    )
    for peer, (python, code) in peers.items():
        if python is None:
            continue
        for name, theirs in _asked(python, code, counts).items():
            apart = [np.abs(ours[str(name)] - theirs) for ours in (plain, stored)]
            print(f"{peer:10} {name:22} {theirs.min():9.2g} -{theirs.max():8.2g}", end=" ")
            many = apart[1][counts[:, 0].sum(axis=1) >= MANY].max()
            print(f"{apart[0].max():13.1e} {apart[1].max():10.1e} {many:10.1e}")


def _histograms(random: np.random.Generator, n: int) -> np.ndarray:
    """Return counts, (n, 2, K), no bin empty; unlike sizes of the two would hide nothing of KL."""
    requests = np.geomspace(50, 50_000, n).astype(int)
    shares_of = random.dirichlet(np.full(K, 2.0), size=(n, 2))
    drawn = [[random.multinomial(total, one) + 1 for one in pair]
             for total, pair in zip(requests, shares_of, strict=True)]  # fmt: skip
    return np.array(drawn)


def _ours(counts: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return our raw measures as stored, and the same formulas on shares without half a request."""
    # Which request moved where does not matter to a raw size: the joint of independent marginals.
    joint = counts[:, 0, :, None] * counts[:, 1, None, :] / counts[:, :1, :, None].sum(axis=2)
    users = counts.sum(axis=(1, 2)).astype(float)
    found = shares(joint, np.zeros((len(counts), 2 * K, 2 * K)), users)
    plain = Shares(found.plain_p, found.plain_q, found.plain_p, found.plain_q, found.covariance)
    return _measures(found), _measures(plain)


def _measures(found: Shares) -> dict[str, np.ndarray]:
    sizes = {name: divergence(name, found) for name in ("kl_nats", "psi", "js_nats")}
    apart = found.plain_q - found.plain_p
    return {
        "kl_nats": sizes["kl_nats"].raw,
        "psi": sizes["psi"].raw,
        "js_distance": js_distance(sizes["js_nats"]).raw,
        "tv_distance": total_variation(apart),
        "l_infinity_distance": l_infinity(apart),
        "wasserstein_distance": wasserstein(EDGES)(apart),
    }


def _asked(python: Path, code: str, counts: np.ndarray) -> pd.DataFrame:
    """Return what a peer's own interpreter makes of the histograms."""
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "counts.npy", Path(folder) / "found.csv"
        np.save(asked, counts)
        subprocess.run([python, "-c", code, asked, told], check=True)
        return pd.read_csv(told, index_col=0)


if __name__ == "__main__":
    main()
