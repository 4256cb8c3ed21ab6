"""A generator and its critic trained against each other, step by step. Imports torch."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rehearsal.generate.models.critic import Critic, packed
from rehearsal.generate.models.generator import Feed
from rehearsal.generate.models.parallel import n_processes, rank, share_gradients, steps, summed
from rehearsal.generate.models.schedule import rebatched
from rehearsal.generate.models.vae import ConditionalVAE
from rehearsal.seeds import derive_seed
from rehearsal.settings import Generator as Settings

PACK_ROWS = 4
PACKS = 64
# Steps or more in which only the critic learns, so that the generator never follows one that knows
# nothing.
CRITIC_ALONE = 100
PENALTY = 0.01
# The highest learning rates, of the generator and of the critic, as shares of the setting.
GENERATOR_RATE = 0.25
CRITIC_RATE = 2.0
BETAS = (0.0, 0.99)
AVERAGED = 0.99


def step_rows(n_rows: int) -> int:
    """Return how many rows a step has, of so many in all: a tenth of few, or PACKS packs."""
    return max(2 * PACK_ROWS, min(PACKS * PACK_ROWS, n_rows // 10))


def steps_of_epoch(n_rows: int) -> int:
    """Return how many steps an epoch of so many rows has."""
    return max(1, -(-n_rows // step_rows(n_rows)))


class Duel:
    """One adversarial training under way: generator, its running average, critic, optimisers.

    The critic minimises softplus(score of a drawn pack - score of the real pack with the same
    conditions), the generator the same with the two changed over (relativistic pairing,
    Jolicoeur-Martineau 2018), with the critic's gradient penalised at real and at drawn packs
    (R1 and R2; Huang et al. 2024): both need codes only, where the points between real and drawn
    rows that WGAN-GP needs are no rows.

    Codes are drawn, so the generator's gradient is the score function's, without bias and with
    all masks kept (Williams 1992): each row's log p, times what the row adds to its pack's
    objective. The pack without the row depends on other rows alone, so it is a control variate.

    Args:
        network: trained in place; its prior and decoder.
        settings: the section `generator`.
        n_rows: training rows of all processes.
        seed: of everything drawn.
    """

    def __init__(self, network: ConditionalVAE, settings: Settings, n_rows: int, seed: int) -> None:
        self.network, self.seed = network, seed
        self.device = next(network.parameters()).device
        self.averaged = copy.deepcopy(network)
        self.critic = Critic(network.layout, settings.hidden)
        self.critic.initialise(torch.Generator().manual_seed(derive_seed(seed, "critic")))
        self.critic.to(self.device)
        self._own = [*network.decoder.parameters(), *network.prior.parameters()]
        self._averaged = [
            *self.averaged.decoder.parameters(),
            *self.averaged.prior.parameters(),
        ]
        noise = derive_seed(seed, "noise", rank())
        self._noise = torch.Generator(self.device).manual_seed(noise)
        rates = settings.learning_rate * GENERATOR_RATE, settings.learning_rate * CRITIC_RATE
        self._generator_optimiser = torch.optim.Adam(self._own, lr=rates[0], betas=BETAS)
        self._critic_optimiser = torch.optim.Adam(
            self.critic.parameters(), lr=rates[1], betas=BETAS
        )
        self._n_rows = n_rows

    def warm_up(self, feed: Feed) -> None:
        """Train the critic alone, in whole epochs."""
        for number in range(-(-CRITIC_ALONE // steps_of_epoch(self._n_rows))):
            self.epoch(feed, -1 - number, critic_alone=True)

    def epoch(self, feed: Feed, number: int, *, critic_alone: bool = False) -> float:
        """Train on every row once; return ln 2 - the critic's loss, in nats per pack.

        Args:
            feed: training rows of this process.
            number: of the epoch; decides the order of rows.
            critic_alone: leave the generator as it is.

        Raises:
            ArithmeticError: the loss is no longer finite.
        """
        profiles = torch.tensor(feed.profiles, dtype=torch.float).to(self.device)
        batches = rebatched(
            feed.epoch(derive_seed(self.seed, "epoch", number)),
            max(1, step_rows(self._n_rows) // n_processes()),
        )
        total, n = 0.0, 0
        for batch, n_rows in steps(batches):
            rows = torch.from_numpy(packed(batch, PACK_ROWS, self.network.layout.n_conditions))
            share = len(batch) / n_rows
            loss = self._step(rows.to(self.device), profiles, share, critic_alone)
            total += loss * len(batch)
            n += len(batch)
        sums = summed(torch.tensor([total, n], dtype=torch.float64))
        loss = float(sums[0] / sums[1])
        if not math.isfinite(loss):
            raise ArithmeticError(f"the critic's loss is {loss}; lower generator.learning_rate")
        return math.log(2) - loss

    def _step(self, rows: Tensor, profiles: Tensor, share: float, critic_alone: bool) -> float:
        """Train on packs, shape (packs, size, 1 + columns), this process's share of the step."""
        self._critic_optimiser.zero_grad()
        self._generator_optimiser.zero_grad()
        loss = 0.0
        if rows.shape[0]:
            loss = self._backward(rows.flatten(0, 1), profiles, rows.shape[1], share, critic_alone)
        self._update(self._critic_optimiser, list(self.critic.parameters()))
        if not critic_alone:
            self._update(self._generator_optimiser, self._own)
            with torch.no_grad():
                for own, averaged in zip(self._own, self._averaged, strict=True):
                    averaged.lerp_(own, 1 - AVERAGED)
        return loss

    def _backward(
        self, rows: Tensor, profiles: Tensor, size: int, share: float, critic_alone: bool
    ) -> float:
        tokens, described = rows[:, 1:], self.network.scaled(profiles[rows[:, 0]])
        drawn, context = self._draw(tokens[:, : self.network.layout.n_conditions], described)
        real, real_first, _ = self.critic.judge(tokens, described, size)
        fake, fake_first, features = self.critic.judge(drawn, described, size)
        loss = softplus(fake - real).mean()
        penalty = self.critic.penalty(real, real_first) + self.critic.penalty(fake, fake_first)
        (share * (loss + PENALTY / 2 * penalty / len(real))).backward()  # type: ignore[no-untyped-call]
        if not critic_alone:
            with torch.no_grad():
                without = self.critic.without_each(features)
                gains = softplus(real[:, None] - without) - softplus(real - fake)[:, None]
            nats = self.network.decoder.nats(drawn, context).sum(1)
            (share * (gains.flatten() * nats).mean()).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _draw(self, given: Tensor, described: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes, shape (n, columns), and the context they were drawn in."""
        decoder = self.network.decoder
        mean, deviation = self.network.prior(decoder.shown(given), described)
        noise = torch.randn(mean.shape, generator=self._noise, device=self.device)
        context = torch.cat([mean + deviation * noise, described], dim=1)
        return decoder.sample(given, context.detach(), self._noise), context

    def _update(self, optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        share_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
