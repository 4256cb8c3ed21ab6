"""Users in overlapping groups over many windows, with planted truth; for bench_adaptive.py."""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import adjusted_rand_score

from rehearsal.segments.nearest import nearest

GROUPS, FEATURES = 12, 8
SPREAD = 0.64  # standard deviation of users about their group's place, offset and noise together
AGREEMENT, RESTLESS = 0.834, 0.109


class World:
    """Users in groups, window by window; `migrated` are those that did in the last one."""

    def __init__(
        self,
        seed: int,
        users: int,
        migrate: float,
        agreement: float = AGREEMENT,
        spaced: bool = False,
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.places = self.random.normal(size=(1 if spaced else GROUPS, FEATURES))
        while len(self.places) < GROUPS:
            self.places = np.vstack([self.places, self._free_place(1.0)])
        self.group = self.random.integers(GROUPS, size=users)
        self.migrate = migrate
        self.noise = 0.6
        self.places *= _bisect(lambda factor: self._agreement(factor) > agreement, 0.3, 6.0)
        if not spaced:
            self.noise = _bisect(lambda noise: self._restless(noise) > RESTLESS, 0.05, 0.95)
        self.offset = self._draw() * np.sqrt(1 - self.noise**2)
        self.migrated = np.zeros(users, bool)

    def _draw(self) -> np.ndarray:
        return self.random.normal(size=(len(self.group), FEATURES)) * SPREAD

    def _agreement(self, factor: float) -> float:
        places = self.places * factor
        found = nearest(places[self.group] + self._draw(), places)[0]
        return float(adjusted_rand_score(self.group, found))

    def _restless(self, noise: float) -> float:
        """Return the share of users whose nearest place changes between two windows."""
        still = self.places[self.group] + self._draw() * np.sqrt(1 - noise**2)
        first, second = (nearest(still + self._draw() * noise, self.places)[0] for _ in range(2))
        return float((first != second).mean())

    def window(self) -> np.ndarray:
        """Let users migrate, and return where all are seen, shape (users, FEATURES)."""
        self.migrated = self.random.random(len(self.group)) < self.migrate
        k = len(self.places)
        others = (self.group + self.random.integers(1, k, size=len(self.group))) % k
        self.group = np.where(self.migrated, others, self.group)
        return self.places[self.group] + self.offset + self._draw() * self.noise

    def plant(self, kind: str) -> None:
        """Split group 0, merge group 1 into it, give birth to a group, or move 30% from 0 to 1."""
        of_0 = np.flatnonzero(self.group == 0)
        if kind == "split":
            apart = self._way_apart()
            self.places = np.vstack([self.places, self.places[0] + apart])
            self.places[0] -= apart
            self.group[of_0[::2]] = len(self.places) - 1
        elif kind == "merge":
            self.group[self.group == 1] = 0
        elif kind == "birth":
            born = len(self.group) // 12
            self.places = np.vstack([self.places, self._free_place(self.places.std())])
            self.group = np.append(self.group, np.full(born, len(self.places) - 1))
            more = self._draw()[-born:] * np.sqrt(1 - self.noise**2)
            self.offset = np.vstack([self.offset, more])
        elif kind == "migration":
            self.group[of_0[self.random.random(len(of_0)) < 0.3]] = 1

    def _free_place(self, deviation: float) -> np.ndarray:
        """Return the place farthest from the groups among a few that are as far out as they are."""
        tries = self.random.normal(size=(30, FEATURES)) * deviation
        return tries[nearest(tries, self.places)[1].argmax()]

    def _way_apart(self) -> np.ndarray:
        """Return the way from group 0, half a usual gap long, with most room at both ends."""
        gap = np.sqrt(np.median(nearest(self.places, self.places)[2]))
        ways = self.random.normal(size=(100, FEATURES))
        ways *= gap / 2 / np.linalg.norm(ways, axis=1)[:, None]
        ends = [nearest(self.places[0] + way, self.places[1:])[1] for way in (ways, -ways)]
        return ways[np.minimum(*ends).argmax()]


def _bisect(high_enough: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a rising measure is high enough first."""
    for _ in range(15):
        middle = (low + high) / 2
        low, high = (low, middle) if high_enough(middle) else (middle, high)
    return (low + high) / 2
