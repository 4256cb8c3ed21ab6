"""The section on segments: what it says, what its charts are drawn from, and what it leaves out."""

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from rehearsal.report import flows
from rehearsal.report.findings import findings
from rehearsal.report.frames import ReportData, empty
from rehearsal.report.page import render
from rehearsal.report.rows_segments import (
    COLOURS,
    GREY,
    MAX_DISTANCES,
    MAX_POINTS,
    SHAPES,
    looks,
    segment_rows,
    telling_features,
)
from rehearsal.report.texts_segments import segment_texts

Make = Callable[[int], ReportData]


class Section(HTMLParser):
    """The text of the section on segments."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        start = page.index('<section id="segments"')
        self.feed(page[start : page.index("</section>", start)])

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.parts))


def rows_of(data: ReportData) -> dict[str, pd.DataFrame]:
    return segment_rows(data, {one.key: one.label for one in findings(data)})


def test_the_section_says_what_was_decided_and_why(segmented: Make) -> None:
    text = Section(render(segmented(8))).text
    for said in (
        "8 segments by k-means. Run r0 fitted them again from scratch. Of 13,332 users 600 (4.5%)",
        "changed segment and 300 are new; 41 are gone. Why: cost per user 1.08 times that at",
        "s4 came apart: 97% of its users went to s4 and s8",
        "s8 is new; 93% of its users came from s4",
        "◆ is the k in force",
        "1 flow is unusual (▲)",
    ):
        assert said in text
    assert text.index("s4 came apart") < text.index("s1 goes on with 96% of its users")


def test_unusual_flows_are_told_first_with_worth_and_reason(segmented: Make) -> None:
    data = segmented(8)
    told = segment_texts(data, findings(data))["movers"]
    first, second = told["rows"][:2]
    assert (first["source"], first["target"]) == ("s2 (Drama ×3.3)", "s1 (Sci-Fi ×2.3)")
    assert (first["requests"], first["value"]) == ("12.5 → 14.25", "31 → 52.5")
    assert first["reason"].startswith("190 users, 6.6 times the usual 1.2%")
    assert (first["unusual"], second["unusual"]) == (True, False)
    assert second["n_users"] == 480, "then the largest"
    assert (
        told["stayed"] + sum(flows.movers(flows.ended(data.migrations))["n_users"])
        == (told["total"])
    )


def test_a_first_run_says_that_nobody_could_move(segmented: Make) -> None:
    data = segmented(8)
    fitted = data.segmentation.assign(decision="fit", psi=None)
    first = dataclasses.replace(
        data, segmentation=fitted, migrations=empty("migrations"), events=empty("events")
    )
    text = Section(render(first)).text
    assert "Run r0 fitted them for the first time. 13,332 users were assigned." in text
    assert "There is no previous run of these segments" in text
    assert "PSI of the mix" not in text
    assert "What the new fit did" not in text


def test_a_run_that_kept_its_segments_shows_no_choice_of_k(segmented: Make) -> None:
    data = segmented(8)
    kept = dataclasses.replace(
        data, k_curve=empty("k_curve"), segmentation=data.segmentation.assign(decision="reassign")
    )
    text = Section(render(kept)).text
    assert "Run r0 kept them and assigned users again" in text
    assert "not fitted anew in this run, so there was no choice to show" in text


def test_without_its_tables_the_section_says_what_is_missing(data: ReportData) -> None:
    text = Section(render(data)).text
    for said in ("is not recorded", "No sample of users", "There is no previous run"):
        assert said in text
    assert "s1 · students, night ×1.8" in text


def test_dbscan_shows_its_distances_with_eps_and_keeps_the_largest(segmented: Make) -> None:
    distances = pd.DataFrame(
        {"position": range(2000), "distance": np.linspace(0, 9, 2000)},
        columns=["position", "distance"],
    )
    data = segmented(8)
    dense = dataclasses.replace(
        data,
        segmentation=data.segmentation.assign(method="dbscan", eps=0.875),
        k_curve=empty("k_curve"),
        k_distances=distances,
    )
    rows = rows_of(dense)["k_distances"]
    assert len(rows) <= MAX_DISTANCES
    assert list(rows.iloc[-1]) == [1.0, 9.0]
    page = render(dense)
    assert "eps = 0.875" in page
    assert "its min_points-th neighbour" not in page
    assert "8 segments by DBSCAN" in Section(page).text


@pytest.mark.parametrize(
    ("stability", "told"),
    [(0.59, "⚠ doubtful"), (0.6, "◆ a pattern"), (0.75, "✓ stable"), (None, "not measured")],
)
def test_stability_is_judged_by_hennigs_bounds(
    segmented: Make, stability: float | None, told: str
) -> None:
    data = segmented(3)
    judged = dataclasses.replace(data, profiles=data.profiles.assign(stability=stability))
    rows = segment_texts(judged, findings(judged))["sized"]
    assert rows[0]["verdict"].startswith(told)
    assert rows[-1]["verdict"] == "not a fitted segment", "cold is last"


def test_a_segment_below_the_floor_is_flagged(segmented: Make) -> None:
    data = segmented(3)
    flagged = data.profiles.assign(is_small=data.profiles["segment_id"] == "s2")
    rows = segment_texts(dataclasses.replace(data, profiles=flagged), findings(data))["sized"]
    assert {row["key"] for row in rows if "small: below" in row["verdict"]} == {"s2"}


def test_the_features_that_vary_most_between_segments_come_first(segmented: Make) -> None:
    data = segmented(3)
    shares = {"s1": 0.5, "s2": 0.3, "s3": 0.1, "cold": 0.1}
    effects = {"age": {"s1": 0.4, "s2": 1.0}, "requests": {"s3": 1.5, "cold": 9.0}}
    rows = [
        {**data.profiles.iloc[0].to_dict(), "segment_id": segment, "user_share": share,
         "feature": name, "effect_size": of.get(segment, 0.0)}
        for name, of in effects.items() for segment, share in shares.items()
    ]  # fmt: skip
    profiles = pd.DataFrame(rows, columns=list(data.profiles.columns))
    # age: .5 * .16 + .3 * 1 = .38 of its variance; requests: .1 * 2.25 = .225 without cold.
    assert telling_features(dataclasses.replace(data, profiles=profiles)) == ["age", "requests"]


def test_only_prototypes_give_their_user_ids(segmented: Make) -> None:
    data = segmented(8)
    rows = rows_of(data)["segment_map"]
    named = rows[rows["user"].notna()]
    assert len(named) == 8 * 3
    assert set(named["rank"]) == {1, 2, 3}
    drawn = data.samples[data.samples["prototype_rank"].isna()]["user_id"]
    page = render(data)
    assert not [user for user in drawn.head(50) if f'"{user}"' in page]


def test_the_map_is_thinned_to_what_can_be_drawn(segmented: Make) -> None:
    data = segmented(8)
    many = pd.concat([data.samples] * 4, ignore_index=True)
    rows = rows_of(dataclasses.replace(data, samples=many))["segment_map"]
    drawn = rows[rows["rank"].isna()]
    assert MAX_POINTS / 2 < len(drawn) <= MAX_POINTS < 3 * len(data.samples)
    assert set(drawn["key"]) == set(data.samples["segment_id"])


def test_ids_on_the_map_keep_apart(segmented: Make) -> None:
    rows = rows_of(segmented(200))["segment_map"]
    told = rows[rows["label"]][["x", "y"]] / (rows[["x", "y"]].max() - rows[["x", "y"]].min())
    gaps = [max(abs(a - b)) for a, b in combinations(told.to_numpy(), 2)]
    assert 5 < len(told) <= 25
    assert min(gaps) > 0.05


def test_every_segment_up_to_thirty_two_has_a_look_of_its_own(segmented: Make) -> None:
    found = looks(segmented(40))
    own = [
        look
        for key, look in found.items()
        if key not in ("cold", *(f"s{i}" for i in range(33, 41)))
    ]
    assert len(own) == len(set(own)) == len(COLOURS) * len(SHAPES)
    assert {found[key].colour for key in ("s33", "s40", "cold")} == {GREY}


# Machado et al. (2009), severity 1, linear RGB.
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = [[0.434, 0.376, 0.190], [0.213, 0.715, 0.072], [0.018, 0.109, 0.873]]  # over white D65


def lab(colour: str, seen: object) -> np.ndarray:
    part = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.clip(np.array(XYZ) @ np.clip(np.array(seen) @ linear, 0, 1), 1e-4, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", BLIND)
def test_no_two_colours_look_alike_to_the_colour_blind(kind: str) -> None:
    seen = [lab(colour, BLIND[kind]) for colour in COLOURS]
    # A CIE 1976 difference of 2.3 is just noticeable.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_when_nobody_moved_the_diagram_says_so(segmented: Make) -> None:
    data = segmented(3)
    still = data.migrations[data.migrations["from_segment_id"] == data.migrations["to_segment_id"]]
    text = Section(render(dataclasses.replace(data, migrations=still))).text
    assert "Nobody moved." in text
    assert "no flows are unusual" in text
