"""Things that are joined pair by pair, and the groups that come of it."""

import numpy as np


class Joins:
    """n things in groups; `labels` (n,) numbers each thing's group from 0, in no order."""

    def __init__(self, n: int) -> None:
        self.labels = np.arange(n)
        self._n_groups = n

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Make one group of the groups of first[i] and second[i], for every i."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        left, right = self.labels[first], self.labels[second]
        apart = left != right
        if not apart.any():
            return
        n = self._n_groups
        # 32-bit numbers and a byte per pair halve the memory of the graph.
        ends = left[apart].astype(np.int32), right[apart].astype(np.int32)
        graph = coo_matrix((np.ones(len(ends[0]), bool), ends), shape=(n, n))
        self._n_groups, groups = connected_components(graph.tocsr(), directed=False)
        self.labels = groups.astype(np.int64)[self.labels]
