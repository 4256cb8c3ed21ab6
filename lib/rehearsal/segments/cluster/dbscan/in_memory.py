"""The whole of DBSCAN in one process: the functions that Spark runs on many, one box at a time."""

import numpy as np

from rehearsal.segments.cluster.dbscan.box import NOISE, solve
from rehearsal.segments.cluster.dbscan.merge import Summary, merge
from rehearsal.segments.cluster.dbscan.plan import Plan
from rehearsal.segments.cluster.dbscan.scatter import scatter


def cluster_in_memory(
    points: np.ndarray, plan: Plan, min_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (clusters, core) of points in user order, shape (n, d), over any plan's boxes."""
    codes, core = np.full(len(points), NOISE), np.zeros(len(points), bool)
    owners, summaries = np.full(len(points), -1), []
    for box, rows, owned in scatter(points, plan):
        mine = rows[owned]
        solved = solve(points[mine], mine, points[rows[~owned]], plan, box, min_points)
        owners[mine], codes[mine], core[mine] = box, solved.codes, solved.core
        first = [int(mine[row]) if row >= 0 else None for row in solved.first]
        counts = int(solved.core.sum()), int((solved.codes == NOISE).sum())
        summaries.append(
            Summary(box, first, solved.keys, solved.key_clusters, solved.touched, *counts)
        )
    merged = merge(summaries)
    clusters = np.full(len(points), NOISE)
    for box, numbers in merged.clusters.items():
        rows = np.flatnonzero((owners == box) & (codes != NOISE))
        clusters[rows] = numbers[codes[rows]]
    return clusters, core
