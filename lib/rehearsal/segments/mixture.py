"""A mixture of Gaussians: fitted to points in memory, and membership that is each point's own."""

from dataclasses import dataclass

import numpy as np

_FLOOR = 1e-4  # least variance in any direction, as a share of the points' mean variance
_STILL = 1e-5  # mean change of membership that ends the fit


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights (k,) and covariances (k, p, p) of the components; their means are the centres."""

    weights: np.ndarray
    covariances: np.ndarray

    def membership(self, points: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return each component's probability given the point, shape (n, k); rows sum to 1.

        Args:
            points: shape (n, p).
            means: of the components, shape (k, p).
        """
        columns = np.ascontiguousarray(points.T)
        logs = np.stack(
            [
                _log_density(columns, mean, covariance) + np.log(weight)
                for mean, covariance, weight in zip(
                    means, self.covariances, self.weights, strict=True
                )
            ]
        )
        logs -= logs.max(axis=0)
        likelihoods = np.exp(logs)
        total = np.zeros(columns.shape[1])
        for likelihood in likelihoods:
            total += likelihood
        shares: np.ndarray = np.ascontiguousarray((likelihoods / total).T)
        return shares

    def take(self, order: np.ndarray) -> "Mixture":
        """Return the components in another order."""
        return Mixture(self.weights[order], self.covariances[order])


def fit_mixture(
    points: np.ndarray, labels: np.ndarray, k: int, max_iterations: int
) -> tuple[np.ndarray, Mixture]:
    """Return means (k, p) and the mixture after expectation maximisation from a partition.

    No component is thinner in any direction than 1% of the points' mean spread, so that users
    who share one point do not make one that is singular.

    Args:
        points: finite, shape (n, p).
        labels: component each point starts in, 0..k-1, shape (n,).
        k: components.
        max_iterations: of expectation and maximisation.
    """
    floor = _FLOOR * float(points.var(axis=0).mean()) + 1e-12
    shares = np.zeros((len(points), k))
    shares[np.arange(len(points)), labels] = 1.0
    means, mixture = _maximise(points, shares, floor)
    for _ in range(max_iterations):
        before, shares = shares, mixture.membership(points, means)
        if np.abs(shares - before).mean() <= _STILL:
            break
        means, mixture = _maximise(points, shares, floor)
    return means, mixture


def _maximise(points: np.ndarray, shares: np.ndarray, floor: float) -> tuple[np.ndarray, Mixture]:
    # A component that nobody is in keeps a finite mean and a weight whose log is finite.
    sizes = shares.sum(axis=0) + 1e-9
    means = (shares.T @ points + 1e-9 * points.mean(axis=0)) / sizes[:, None]
    covariances = []
    for mean, share, size in zip(means, shares.T, sizes, strict=True):
        away = points - mean
        covariances.append((away * share[:, None]).T @ away / size)
    return means, Mixture(sizes / sizes.sum(), _floored(np.stack(covariances), floor))


def _floored(covariances: np.ndarray, floor: float) -> np.ndarray:
    """Return covariances (k, p, p) whose eigenvalues are at least `floor`, so that all invert."""
    values, vectors = np.linalg.eigh(covariances)
    values = np.maximum(values, floor)
    lifted = (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1)
    symmetric: np.ndarray = (lifted + lifted.transpose(0, 2, 1)) / 2
    return symmetric


def _log_density(columns: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return log densities (n,) less the constant that all components share."""
    lower = np.linalg.cholesky(covariance)
    whitened: list[np.ndarray] = []
    squared = np.zeros(columns.shape[1])
    # Forward substitution row by row: a triangular solver would round by the batch's shape.
    for i, row in enumerate(lower):
        value = columns[i] - mean[i]
        for j in range(i):
            value -= row[j] * whitened[j]
        value /= row[i]
        whitened.append(value)
        squared += value * value
    log_det = float(np.log(np.diag(lower)).sum())
    density: np.ndarray = -0.5 * squared - log_det
    return density
