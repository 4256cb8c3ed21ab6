"""How far users have moved away from the fitted segments, and whether that asks for a new fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rehearsal.segments.cluster.centres import Panel, gaps
from rehearsal.settings import Adapt

Kind = Literal["reassign", "refit", "warm_refit", "cold_refit"]
FAR = 0.01  # share of users that were farther out at the fit, by definition of `far`
STABLE = 0.8  # mean Jaccard over bootstrap fits from which segments are stable (Hennig 2007)
_SURE = 3.0  # standard errors: one false alarm in 700 runs for each measure


@dataclass(frozen=True)
class Tally:
    """What one pass over users leaves; tallies of parts add up to that of the whole.

    `users` counts them by nearest centre, shape (k,); `squared` and `fourth` are the sums of
    d**2 and d**4 to it; `far` counts who is farther out than 99% were at the fit; `silhouette` sums
    1 - d / (distance to the second nearest centre).
    """

    users: np.ndarray
    squared: float
    fourth: float
    far: int
    silhouette: float

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.users + other.users,
            self.squared + other.squared,
            self.fourth + other.fourth,
            self.far + other.far,
            self.silhouette + other.silhouette,
        )

    @property
    def cost(self) -> float:
        """The mean squared distance."""
        return self.squared / int(self.users.sum())

    @property
    def mean_silhouette(self) -> float:
        """The mean simplified silhouette, 0..1."""
        return self.silhouette / int(self.users.sum())


@dataclass(frozen=True)
class Measures:
    """All users now against the fit in force: nearest centres both times, whoever has moved or not.

    `cost_error` is the standard error of `cost_ratio`.
    """

    psi: float
    cost_ratio: float
    far_share: float
    silhouette_drop: float
    n_users: int
    n_segments: int
    n_fit_users: int
    cost_error: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What to do, why, and with how many segments where that is decided too."""

    kind: Kind
    reason: str
    k: int | None = None


def tally(
    labels: np.ndarray, squared: np.ndarray, second_squared: np.ndarray, far: np.ndarray
) -> Tally:
    """Return the sums over users.

    Args:
        labels: nearest centre of each user, shape (n,).
        squared: squared distance to it.
        second_squared: the same to the second nearest; infinite where there is one centre, and
            then the silhouette is 0.
        far: distance that 99% were within at the fit, per centre, shape (k,).
    """
    two = np.isfinite(second_squared)
    return Tally(
        users=np.bincount(labels, minlength=len(far)),
        squared=float(squared.sum()),
        fourth=float((squared**2).sum()),
        far=int((squared > far[labels] ** 2).sum()),
        silhouette=float(gaps(squared[two], second_squared[two]).sum()),
    )


def measure(
    now: Tally, shares: np.ndarray, cost: float, silhouette: float, n_fit_users: int
) -> Measures:
    """Return the change since the fit, whose segments had these shares, cost and silhouette."""
    n = int(now.users.sum())
    spread = np.sqrt(max(now.fourth / n - now.cost**2, 0.0))
    # Where all users sat on their centres, any distance at all is a rise without limit.
    ratio = now.cost / cost if cost > 0 else (1.0 if now.cost == 0 else np.inf)
    return Measures(
        psi=psi(now.users / n, shares, n),
        cost_ratio=float(ratio),
        far_share=now.far / n,
        silhouette_drop=silhouette - now.mean_silhouette,
        n_users=n,
        n_segments=len(now.users),
        n_fit_users=n_fit_users,
        # Both costs vary with who happened to be there.
        cost_error=float(np.sqrt(_chance(n, n_fit_users)) * spread / cost) if cost > 0 else 0.0,
    )


def _chance(n_users: int, n_fit_users: int) -> float:
    """Return the variance of a difference of two means, of users now and then, per variance."""
    return 1 / n_users + 1 / n_fit_users


def psi(shares_now: np.ndarray, shares_then: np.ndarray, n_users: int) -> float:
    """Return the population stability index of two mixes of segments, >= 0.

    sum((now - then) * ln(now / then)), Siddiqi (2006), Credit risk scorecards. Half a user is added
    to every segment of both mixes, so that an empty one counts as less than a user and not as
    infinitely far.
    """
    k = len(shares_then)
    now, then = (
        (shares * n_users + 0.5) / (n_users + k / 2) for shares in (shares_now, shares_then)
    )
    return float(((now - then) * np.log(now / then)).sum())


def decide(measures: Measures, adapt: Adapt) -> Decision:
    """Return reassign, or refit where a measure is above its limit.

    A limit is that of the settings, or what chance alone would reach in few users if that is more.
    """
    limits, m = _limits(measures, adapt), measures
    rises = (m.psi, m.cost_ratio - 1, m.far_share, m.silhouette_drop)
    said = (
        f"psi {m.psi:.3f}",
        f"cost per user {m.cost_ratio:.3f} x the fit's",
        f"{m.far_share:.1%} of users far out",
        f"silhouette {-m.silhouette_drop:+.3f}",
    )
    bounds = (
        f"above {limits[0]:.3g}",
        f"above {1 + limits[1]:.3g}",
        f"above {limits[2]:.1%}",
        f"below {-limits[3]:.3g}",
    )
    broken = [
        f"{text}, {bound}"
        for rise, limit, text, bound in zip(rises, limits, said, bounds, strict=True)
        if rise > limit
    ]
    if broken:
        return Decision("refit", "; ".join(broken))
    return Decision("reassign", f"{'; '.join(said)}: within limits")


def _limits(measures: Measures, adapt: Adapt) -> tuple[float, float, float, float]:
    """Return limits for psi, rise of cost, far share, fall of silhouette: settings' or chance's.

    Of n users where the fit had m, all drawn alike: psi is chi-squared (1 / n + 1 / m); the cost at
    the fit is too low by k / m, that of others too high by as much; the 99% of a small segment are
    short by a user (k / m of all); a silhouette within 0..1 has a standard deviation below a half.
    """
    from scipy.stats import chi2, norm

    k, m = measures.n_segments, measures.n_fit_users
    chance = _chance(measures.n_users, m)
    chi_squared = float(chi2.isf(norm.sf(_SURE), max(k - 1, 1)))
    far, error = FAR + k / m, _SURE * float(np.sqrt(chance))
    return (
        max(adapt.psi, chi_squared * chance),
        max(adapt.cost_rise, 2 * k / m + _SURE * measures.cost_error),
        max(adapt.far_share, far + error * float(np.sqrt(far))),
        max(adapt.silhouette_drop, k / m + error / 2),
    )


def choose_refit(
    warm: Panel,
    cold: Sequence[Panel],
    measures: Measures,
    adapt: Adapt,
    n_points: int,
    stability: float | None = None,
) -> Decision:
    """Return warm_refit, or cold_refit and its k, from panels of the same `n_points` users.

    Cold needs a reason: a mix beyond psi_cold, a fit from scratch that is better than the warm one,
    or warm segments that a bootstrap does not find again (`stability` < 0.8). At the same k better
    is cheaper by `cold_gain`; at another k it is a silhouette higher by `_margin`, over the better
    of warm and cold at this k. So a cold refit does not change k for nothing either.
    """
    same = next((panel for panel in cold if panel.k == warm.k), None)
    best = max(cold, key=lambda panel: (panel.silhouette, -panel.k))
    held = warm if same is None else max(warm, same, key=lambda panel: panel.silhouette)
    another = best.k != warm.k and (
        same is None or best.silhouette > held.silhouette + _margin(held, best, adapt, n_points)
    )
    why = []
    if measures.psi > adapt.psi_cold:
        why.append(f"psi {measures.psi:.3f}, above {adapt.psi_cold:g}")
    if same is not None and same.cost < (1 - adapt.cold_gain) * warm.cost:
        why.append(f"a fit from scratch costs {same.cost / warm.cost:.3f} x the warm one")
    if same is None:
        why.append(f"{warm.k} segments are not among those to try")
    elif another:
        why.append(
            f"silhouette {best.silhouette:.3f} with {best.k} segments, "
            f"{held.silhouette:.3f} with {warm.k}"
        )
    if stability is not None and stability < STABLE:
        why.append(f"stability {stability:.2f} over bootstrap fits, below {STABLE}")
    if why:
        return Decision("cold_refit", "; ".join(why), best.k if another else warm.k)
    return Decision("warm_refit", "no fit from scratch is better", warm.k)


def _margin(held: Panel, best: Panel, adapt: Adapt, n_points: int) -> float:
    """Return how much higher the silhouette must be to change the number of segments.

    1 - silhouette is the mean distance to the own over that to the next centre, a cost free of
    scale. Another k splits or joins two segments for each it differs by; for the users of those
    alone that cost has to fall by cold_gain. In a small sample chance does more: their ratios
    change with a standard deviation of about 0.3, and three standard errors are asked for.
    """
    concerned = min(1.0, 2 * abs(best.k - held.k) / max(best.k, held.k))
    chance = _SURE * 0.3 * float(np.sqrt(concerned / n_points))
    return max(adapt.cold_gain * concerned * (1 - held.silhouette), chance)
