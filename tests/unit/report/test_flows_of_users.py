"""Flows of users: what is summed, and that a Sankey diagram's ribbons add up to its nodes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rehearsal.report import flows
from rehearsal.report.data import empty

Counts = dict[tuple[str | None, str | None], int]


def flow_frame(counts: Counts) -> pd.DataFrame:
    rows = [
        {
            "previous_run_id": "r0", "from_segment_id": source, "to_segment_id": target,
            "n_users": count, "status": "usual", "value_after": 3.0,
        }
        for (source, target), count in counts.items()
    ]  # fmt: skip
    return flows.ended(pd.DataFrame(rows, columns=list(empty("migrations").columns)))


def test_segments_are_in_a_readers_order() -> None:
    names = [flows.GONE, "others (3)", "noise", "s10", "cold", "s2", flows.NEW]
    assert flows.in_order(names) == ["s2", "s10", "cold", "noise", "others (3)", "(gone)", "(new)"]


def test_small_flows_are_summed_and_shares_stay_whole() -> None:
    moved = flow_frame(
        {("s1", "s1"): 90, ("s1", "s2"): 10, ("s3", "s1"): 2, ("s4", "s1"): 1, ("s3", "s4"): 1,
         (None, "s4"): 4, ("s2", None): 5}
    )  # fmt: skip
    summed = flows.summed(moved, 2).set_index(["source", "target"])
    assert summed["n_users"].to_dict() == {
        ("s1", "s1"): 90, ("s1", "s2"): 10, ("others (2)", "s1"): 3,
        ("others (2)", "others (2)"): 1, ("(new)", "others (2)"): 4, ("s2", "(gone)"): 5,
    }  # fmt: skip
    assert summed.loc[("s1", "s2"), "share"] == pytest.approx(0.1)
    assert summed.loc[("others (2)", "s1"), "share"] == pytest.approx(0.75)
    assert summed.loc[("s1", "s2"), "value_after"] == 3.0
    assert pd.isna(summed.loc[("others (2)", "s1"), "value_after"]), "of two flows"


def test_an_unusual_flow_is_never_among_the_others() -> None:
    counts: Counts = {(f"s{one}", f"s{one + 1}"): 100 + one for one in range(1, 40)}
    moved = flow_frame(counts | {("s50", "s51"): 3})
    moved["unusual"] = moved["source"] == "s50"
    shown = flows.summed(moved, 4)
    assert {"s50", "s51"} <= set(shown["source"]) | set(shown["target"])


IDS = st.sampled_from([None, "s1", "s2", "s3", "s10", "cold"])
COUNTS = st.dictionaries(
    st.tuples(IDS, IDS).filter(any), st.integers(1, 10**7), min_size=1, max_size=20
)


def moving(counts: Counts) -> bool:
    return any(source != target for source, target in counts)


@settings(max_examples=25)
@given(counts=COUNTS.filter(moving))
def test_ribbons_fill_their_nodes_and_nodes_keep_apart(
    counts: Counts,
) -> None:
    moved = flows.summed(flow_frame(counts), 12)
    nodes, ribbons = flows.sankey(moved)
    assert len(ribbons) % 13 == 0
    for side, x in (("source", ribbons["x"].min()), ("target", ribbons["x"].max())):
        ends = ribbons[ribbons["x"] == x].groupby(side)
        own = nodes[nodes["side"] == side].set_index("name")
        assert np.allclose(ends["y"].min(), own["y"].sort_index())
        assert np.allclose(ends["y2"].max(), own["y2"].sort_index())
        assert (own["y"].iloc[1:].to_numpy() - own["y2"].iloc[:-1].to_numpy() > 15.9).all()
        assert own["n_users"].sum() == sum(
            count for (source, target), count in counts.items() if source != target
        )


def test_a_ribbon_is_as_wide_as_it_is_many_at_every_point() -> None:
    moved = flows.summed(flow_frame({("s1", "s2"): 300, ("s2", "s1"): 100}), 12)
    _, ribbons = flows.sankey(moved)
    width = (ribbons["y2"] - ribbons["y"]).groupby(ribbons["source"])
    assert width.min()["s1"] == pytest.approx(width.max()["s1"])
    assert width.max()["s1"] == pytest.approx(3 * width.max()["s2"])
    middle = ribbons[np.isclose(ribbons["x"], 0.5)]
    assert len(middle) == 2, "a curve passes half-way, where the mark of an unusual flow stands"
