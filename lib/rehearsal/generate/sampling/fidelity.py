"""Marginals of logged and synthetic requests side by side, as shares per code."""

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rehearsal.generate.codec.encode import Codec

_CELL = ["segment_id", "request_type"]
_CODE = ["position", "bin"]


def code_counts(rows: DataFrame, codec: Codec) -> pd.DataFrame:
    """Return rows per segment, request type, token column (`position`) and code (`bin`).

    Args:
        rows: requests with `segment_id` and every column of the codec.
        codec: of the synthesizers.
    """
    generated = [(i, t.name) for i, t in enumerate(codec.tokens) if not t.condition]
    codes = codec.expressions()
    pairs = F.array(
        *(F.struct(F.lit(i).alias("position"), codes[name].alias("bin")) for i, name in generated)
    )
    counted = (
        rows.select(*_CELL, F.explode(pairs).alias("pair"))
        .groupBy(*_CELL, "pair.position", "pair.bin")
        .agg(F.count("*").alias("n"))
    )
    # Bounded: targeted cells x token columns x codes.
    return counted.toPandas()


def compare(logged: pd.DataFrame, synthetic: pd.DataFrame, codec: Codec) -> pd.DataFrame:
    """Return the rows of `fidelity`, less the run's id.

    Logged shares are weighted to the request types of the synthetic rows, so that a difference is
    one of the synthesizer and not of the budget.

    Args:
        logged: `code_counts` of the logged requests of the targeted cells.
        synthetic: `code_counts` of the synthetic requests.
        codec: of the synthesizers.
    """
    both = logged.merge(synthetic, how="outer", on=[*_CELL, *_CODE], suffixes=("_log", "_syn"))
    both = both.fillna({"n_log": 0, "n_syn": 0})
    within = [*_CELL, "position"]
    in_cell = both.groupby(within)[["n_log", "n_syn"]].transform("sum")
    of_segment = both.groupby(["segment_id", "position"])["n_syn"].transform("sum")
    mix = in_cell["n_syn"] / of_segment.where(of_segment > 0)
    both["logged_share"] = mix * both["n_log"] / in_cell["n_log"].where(in_cell["n_log"] > 0)
    both["synthetic_share"] = both["n_syn"] / of_segment.where(of_segment > 0)
    merged = (
        both.groupby(["segment_id", *_CODE])[["n_log", "n_syn", "logged_share", "synthetic_share"]]
        .sum()
        .reset_index()
        .sort_values(["segment_id", *_CODE])
    )
    tokens = [codec.tokens[position] for position in merged["position"]]
    codes = list(merged["bin"])
    return pd.DataFrame(
        {
            "segment_id": merged["segment_id"],
            "column_name": [codec.title(token) for token in tokens],
            "kind": [token.kind for token in tokens],
            "bin": merged["bin"].astype("int32"),
            "label": [codec.label(t, int(c)) for t, c in zip(tokens, codes, strict=True)],
            "n_logged": merged["n_log"].astype("int64"),
            "n_synthetic": merged["n_syn"].astype("int64"),
            "logged_share": merged["logged_share"],
            "synthetic_share": merged["synthetic_share"],
        }
    )
