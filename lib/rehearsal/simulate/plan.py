"""What is simulated: settings, and the truth planted by them, without Spark.

Users fall into latent groups. A group shows in what its users ask for, when and how often, and
in their profiles: country and plan together name it, neither does alone. At an instant of its
own in the replay each group moves to app version 2. In the drifting groups the experimental
model answers some request types differently from then on; the model sees the version, not time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
from pydantic import Field, model_validator

from rehearsal.seeds import derive_seed
from rehearsal.settings import Instant, Strict

REQUEST_TYPES = (
    "search", "browse", "recommend", "rank", "price", "support", "upload", "share", "pay", "return",
)  # fmt: skip
CLASSES = ("buy", "browse", "leave")
COUNTRIES = ("AT", "BR", "CL", "DE", "ES", "FR", "GR", "HU", "IT", "JP", "KE", "LT")
PLANS = ("free", "basic", "family", "pro")
CHANNELS = ("app", "web", "phone")
OLD_VERSION, NEW_VERSION = "1", "2"
# Shares of request types in a group, in whole percents from its favourite type down.
TYPE_PERCENTS = (30, 18, 13, 10, 8, 6, 5, 4, 3, 3)
# Drifting types are those at these ranks of the group's own mix.
DRIFTING_RANKS = ((1, 2), (1, 2, 3))
_DRAWS = 1000
_SIZES = (2.0, -2.5, 3.0)


class Simulation(Strict):
    """One simulated world; every row depends on these values and on ids alone."""

    n_users: int = Field(ge=1)
    seed: int
    requests_per_user: float = Field(20, ge=1, description="mean over users; it varies by group")
    n_segments: int = Field(12, ge=2, le=len(COUNTRIES) * len(PLANS))
    n_drifting: int = Field(3, ge=0)
    noise: float = Field(0.3, ge=0, description="sd of each model's own noise, in logits")
    drift_scale: float = Field(1.0, gt=0, description="multiplies every planted size")
    start: Instant = Field(datetime(2026, 1, 5), validate_default=True)  # noqa: DTZ001 - read as UTC
    history_weeks: int = Field(8, ge=1)
    replay_weeks: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _enough_groups(self) -> "Simulation":
        if self.n_drifting > self.n_segments:
            raise ValueError(f"'n_drifting' ({self.n_drifting}) is above 'n_segments'")
        return self

    @property
    def replay_start(self) -> datetime:
        """The first instant that is replayed."""
        return self.start + timedelta(weeks=self.history_weeks)

    @property
    def end(self) -> datetime:
        """The first instant after the log."""
        return self.replay_start + timedelta(weeks=self.replay_weeks)


@dataclass(frozen=True)
class Group:
    """One latent group of users; tables give the outcome of draw 0..n-1, equally likely."""

    country: str
    plan: str
    mean_age: float
    rate: float
    effect: float
    types: tuple[int, ...]
    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    new_version_at: datetime
    drifting: tuple[int, ...]
    size: float


@dataclass(frozen=True)
class Plan:
    """The parameters of a simulation: groups, which user is in which, effects of types."""

    groups: tuple[Group, ...]
    group_of_draw: tuple[int, ...]
    type_effects: tuple[float, ...]

    @property
    def longest_history(self) -> int:
        """A bound on the requests of one user."""
        return int(max(group.rate for group in self.groups) * 1.5) + 2


@lru_cache(maxsize=8)
def make_plan(simulation: Simulation) -> Plan:
    """Return the parameters that (seed, settings) stand for; bounded by groups."""
    rng = np.random.default_rng(derive_seed(simulation.seed, "plan"))
    n = simulation.n_segments
    group_of_draw = spread(rng.uniform(1, 2, n), _DRAWS)
    shares = np.bincount(group_of_draw, minlength=n) / _DRAWS
    rates = rng.uniform(0.6, 1.4, n)
    rates *= simulation.requests_per_user / (shares @ rates)
    drifting = sorted(rng.choice(n, simulation.n_drifting, replace=False).tolist())
    rolled_out = rng.integers(0, simulation.replay_weeks, n)
    groups = []
    for g in range(n):
        order = rng.permutation(len(REQUEST_TYPES))
        nth = drifting.index(g) if g in drifting else None
        week = int(rolled_out[g]) if nth is None else nth % simulation.replay_weeks
        ranks = () if nth is None else DRIFTING_RANKS[nth % len(DRIFTING_RANKS)]
        size = 0.0 if nth is None else _SIZES[nth % len(_SIZES)] * simulation.drift_scale
        groups.append(
            Group(
                country=COUNTRIES[g // len(PLANS)],
                plan=PLANS[g % len(PLANS)],
                mean_age=float(rng.uniform(20, 65)),
                rate=float(rates[g]),
                effect=float(rng.normal(0, 0.3)),
                types=tuple(np.repeat(order, TYPE_PERCENTS).tolist()),
                hours=_hours(peak=int(rng.integers(24))),
                weekdays=_weekdays(weekend=(0.4, 1.0, 2.5)[int(rng.integers(3))]),
                new_version_at=simulation.replay_start + timedelta(weeks=week),
                drifting=tuple(int(order[rank]) for rank in ranks),
                size=size,
            )
        )
    effects = rng.normal(0, 0.3, len(REQUEST_TYPES))
    return Plan(tuple(groups), group_of_draw, tuple(effects.tolist()))


def spread(weights: np.ndarray, draws: int) -> tuple[int, ...]:
    """Return `draws` positions of `weights`, each as often as its weight says (largest rest)."""
    exact = weights / weights.sum() * draws
    counts = np.floor(exact).astype(int)
    short = draws - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return tuple(np.repeat(np.arange(len(weights)), counts).tolist())


def _hours(peak: int) -> tuple[int, ...]:
    away = np.abs((np.arange(24) - peak + 12) % 24 - 12)
    return spread(np.exp(-(away**2) / 18.0) + 0.05, 100)


def _weekdays(weekend: float) -> tuple[int, ...]:
    return spread(np.array([1.0] * 5 + [weekend] * 2), 100)
