"""Which boxes a point goes to: the one that owns it, and those within 2 eps of it."""

from collections.abc import Iterator

import numpy as np

from rehearsal.segments.cluster.dbscan.plan import Plan, reach


def scatter(points: np.ndarray, plan: Plan) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (box, rows, owned) for every box that some of the points, shape (n, d), go to.

    `rows` are positions in `points`; `owned` tells those inside the box from copies at its edge.
    Within 2 eps, a box sees all neighbours of all neighbours of what it owns.
    """
    rows = np.arange(len(points))
    pending = [(~0 if len(plan.cut) == 0 else 0, rows, np.ones(len(points), bool))]
    while pending:
        node, rows, owned = pending.pop()
        if len(rows) == 0:
            continue
        if node < 0:
            yield ~node, rows, owned
            continue
        values, cut = points[rows, plan.axis[node]], plan.cut[node]
        margin = reach(plan.eps, 2, cut)
        below, low, high = values < cut, values <= cut + margin, values >= cut - margin
        pending.append((plan.children[node, 0], rows[low], (owned & below)[low]))
        pending.append((plan.children[node, 1], rows[high], (owned & ~below)[high]))


def salts(n: int) -> np.ndarray:
    """Return n integers of which the i-th is put into partition i by Spark's hash partitioning.

    Partitions are the hash modulo n; the hash is 32-bit MurmurHash3 with seed 42, of one integer.
    """
    found = np.full(n, -1, np.int32)
    start, step = 0, 16 * n
    while (found < 0).any():
        numbers = np.arange(start, start + step, dtype=np.int32)
        partitions, first = np.unique(_murmur3(numbers).astype(np.int64) % n, return_index=True)
        fresh = found[partitions] < 0
        found[partitions[fresh]] = numbers[first[fresh]]
        start += step
    return found


def _murmur3(values: np.ndarray) -> np.ndarray:
    """MurmurHash3_x86_32 (Appleby 2011) of single 32-bit integers with seed 42, as int32."""
    with np.errstate(over="ignore"):
        block = values.astype(np.uint32) * np.uint32(0xCC9E2D51)
        block = _rotate(block, 15) * np.uint32(0x1B873593)
        mixed = _rotate(block ^ np.uint32(42), 13) * np.uint32(5) + np.uint32(0xE6546B64)
        mixed ^= np.uint32(4)
        mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        return (mixed ^ (mixed >> np.uint32(16))).astype(np.int32)


def _rotate(values: np.ndarray, bits: int) -> np.ndarray:
    return (values << np.uint32(bits)) | (values >> np.uint32(32 - bits))
