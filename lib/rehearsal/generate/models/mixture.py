"""Fit a mixture of products of categoricals by EM, over rows here or wherever their sums are made.

Components come in groups. A component's tables are drawn towards those of its group, the group's
towards the whole table's: few rows of a component then say what is special about it, and its
group the rest.
"""

from dataclasses import dataclass

import numpy as np

from rehearsal.generate.models.em import (
    TINY,
    Parameters,
    Source,
    column_totals,
    describe,
    described,
    expect,
    maximise,
    numbered,
)
from rehearsal.generate.models.em_start import distinct_rows, start_at
from rehearsal.generate.models.generator import Feed, Fitted, Point, Report, Rows
from rehearsal.generate.models.layout import Codes, Floats, Layout
from rehearsal.generate.models.privacy import spend
from rehearsal.generate.models.private_em import PASSES, fit_private
from rehearsal.generate.models.product_mixture import Mixture, load
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

__all__ = ["Mixture", "fit", "fit_source", "load"]

ROWS_PER_COMPONENT = 15
PER_GROUP = 16
GROUP_PASSES = 8
PASSES_PER_EPOCH = 3
# Times the square of a column's codes: rows that the group's table counts as. The more codes, the
# more of a component's table tells of single rows, which an attacker would recognise.
SMOOTHING = 0.16
GROUP_SMOOTHING = 5.0
LEAST_GAIN_NATS = 1e-4
# Spread of a component's first preference for segments by their profile: EM that starts without
# any takes long to find one, and stops short of it.
PREFERENCE = 2.0


def fit(
    feed: Feed,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    report: Report,
    checkpoint: object = None,
) -> Fitted:
    """Return the mixture with the lowest validation loss before `patience` epochs without gain.

    An epoch is PASSES_PER_EPOCH passes of EM. With `settings.private` the passes are few and
    noisy, and validation rows decide nothing: see `private_em`.

    Args:
        feed: training rows; read once and held, as many as `max_total_rows` lets through.
        validation: rows held out.
        layout: of both.
        settings: the section `generator`.
        seed: chooses the rows EM starts at; the rest is not random.
        report: told of every epoch.
        checkpoint: not used: a fit takes seconds.
    """
    del checkpoint
    none = np.zeros((0, 1 + len(layout.sizes)), dtype=np.int64)
    rows = np.concatenate([none, *feed.epoch(derive_seed(seed, "rows"))])
    source = Source(
        feed.profiles,
        lambda parameters, segments: expect(parameters, rows, segments, layout),
        lambda n, key: distinct_rows(rows[:, 1:], n, key),
    )
    return fit_source(source, validation, layout, settings, seed, report)


def fit_source(
    source: Source,
    validation: Rows,
    layout: Layout,
    settings: Settings,
    seed: int,
    report: Report,
) -> Fitted:
    """Return what `fit` does, of rows wherever they are."""
    if settings.private is not None:
        budget = spend(settings.private, PASSES)
        return fit_private(source, layout, settings.components, budget, report)
    training = _Training.of(source, validation, layout)
    parameters, group = training.start(settings.components, derive_seed(seed, "centres"))
    curve: list[Point] = []
    best: Point | None = None
    for number in range(1, settings.max_epochs + 1):
        for _ in range(PASSES_PER_EPOCH):
            parameters, train_nats = training.step(parameters, group)
        made = Mixture(layout, parameters, *training.profile_scale)
        point = Point(number, train_nats, _nats(made, validation), 0.0)
        curve.append(point)
        report(point)
        if best is None or point.validation_nats < best.validation_nats - LEAST_GAIN_NATS:
            best, kept = point, made
        elif number - best.epoch >= settings.patience:
            break
    if best is None:
        raise ArithmeticError("no epoch was trained")
    # As saved, so that it samples alike before and after.
    return Fitted(load(layout, kept.to_bytes()), tuple(curve), best, "cpu")


def _nats(mixture: Mixture, rows: Rows) -> float:
    return -float(mixture.log_likelihood(rows.codes, rows.profiles[rows.segment]).mean())


@dataclass(frozen=True, eq=False)
class _Training:
    """The rows' sums, and what the tables are drawn towards: the columns' marginals."""

    source: Source
    layout: Layout
    profile_scale: tuple[Floats, Floats]
    segments: Floats
    marginal: Floats
    n_rows: float

    @classmethod
    def of(cls, source: Source, validation: Rows, layout: Layout) -> "_Training":
        scale = describe(source.profiles)
        segments = described(source.profiles, *scale)
        counts = source.sums_of(Parameters.even(layout), segments).tables
        n_rows = float(counts[: layout.sizes[0]].sum())
        # A code that only held-out rows have is possible too.
        held = np.bincount(numbered(validation.codes, layout).ravel(), minlength=len(counts))
        counts = counts + held[:, None]
        marginal = counts / column_totals(counts, layout)
        return cls(source, layout, scale, segments, marginal, n_rows)

    def start(self, components: int, seed: int) -> tuple[Parameters, Codes]:
        """Return parameters and each component's group: groups first, then rows of each group."""
        n = int(min(components, max(1, self.n_rows // ROWS_PER_COMPONENT)))
        centres = numbered(self.source.centres(n, seed), self.layout)
        width = self.segments.shape[1]
        n_groups = -(-len(centres) // PER_GROUP)
        groups = start_at(centres[:n_groups], self.marginal, width)
        alone = np.zeros(n_groups, dtype=np.int64)
        for _ in range(GROUP_PASSES):
            groups, _ = self.step(groups, alone)
        weights = groups.log_weights(self.segments).mean(axis=0)
        fit = weights + np.log(np.maximum(groups.tables, TINY))[centres].sum(axis=1)
        group = fit.argmax(axis=1)
        started = start_at(centres, groups.tables[:, group], width)
        # A group's weight is divided among its components.
        own = groups.coefficients[:, group]
        own[0] -= np.log(np.bincount(group, minlength=n_groups)[group])
        if width > 1:
            spread = PREFERENCE / np.sqrt(width - 1)
            own[1:] += np.random.default_rng(seed).normal(0.0, spread, own[1:].shape)
        return Parameters(own, started.tables), group

    def step(self, before: Parameters, group: Codes) -> tuple[Parameters, float]:
        """Return the parameters after one pass, and nats per training row before it."""
        sums = self.source.sums_of(before, self.segments)
        member = np.eye(int(group.max()) + 1)[group]
        prior = sums.tables @ member + GROUP_SMOOTHING * self.marginal
        prior = (prior / column_totals(prior, self.layout))[:, group]
        sizes = np.asarray(self.layout.sizes)
        smoothing = SMOOTHING * np.repeat(sizes**2, sizes)[:, None]
        after = maximise(sums, before, prior, smoothing, self.segments, self.layout)
        return after, sums.nats / max(self.n_rows, 1.0)
