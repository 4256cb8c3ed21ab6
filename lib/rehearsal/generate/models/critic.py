"""The critic of a conditional GAN: how real a pack of rows looks. Imports torch."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, linear, silu

from rehearsal.generate.models.layout import Codes, Layout


def packed(rows: Codes, pack_rows: int, n_conditions: int) -> Codes:
    """Return rows in packs, shape (packs, rows per pack, 1 + token columns).

    Rows that share segment and request type, the first condition, go into one pack where the
    batch has enough of them, then those that share more conditions. The last rows of the batch,
    which fill no pack, are left out; a batch smaller than a pack is a pack of its own.

    Args:
        rows: segment and codes, shape (n, 1 + token columns), in random order.
        pack_rows: rows per pack.
        n_conditions: how many token columns are conditions.
    """
    if not len(rows):
        return np.zeros((0, 1, rows.shape[1]), dtype=rows.dtype)
    size = min(pack_rows, len(rows))
    # Before they are sorted: after it, what is left out would always be of the last segments.
    packable = rows[: len(rows) // size * size]
    keys = packable[:, : 1 + n_conditions].T[::-1]
    packs: Codes = packable[np.lexsort(keys)].reshape(-1, size, rows.shape[1])
    return packs


class Critic(nn.Module):
    """Score of packs of rows that share segment and request type.

    A pack shows what one row cannot, e.g. that all are alike (PacGAN, Lin et al. 2018). It has no
    order, so rows are pooled by their mean (deep sets, Zaheer et al. 2017), not put side by side:
    fewer weights, and packs of any size. The condition enters as an inner product with the
    features (projection discriminator, Miyato and Koyama 2018).

    Args:
        layout: of the token columns.
        hidden: width of all layers.
    """

    offsets: Tensor

    def __init__(self, layout: Layout, hidden: int) -> None:
        super().__init__()
        n_codes = sum(layout.sizes)
        self.table = nn.Parameter(torch.zeros(n_codes, hidden))
        self.profile = nn.Parameter(torch.zeros(hidden, layout.n_profile))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.zeros(hidden, hidden))
        self.second_shift = nn.Parameter(torch.zeros(hidden))
        self.direct = nn.Parameter(torch.zeros(hidden))
        n_types = layout.sizes[0] if layout.n_conditions else 0
        self.type_projection = nn.Parameter(torch.zeros(n_types, hidden))
        self.profile_projection = nn.Parameter(torch.zeros(hidden, layout.n_profile))
        self.pooled = nn.Parameter(torch.zeros(hidden, hidden))
        self.pooled_shift = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Parameter(torch.zeros(1, hidden))
        self.register_buffer("offsets", torch.tensor(layout.starts), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`; the projections begin at nothing."""
        hidden = len(self.shift)
        with torch.no_grad():
            self.table.normal_(0.0, len(self.offsets) ** -0.5, generator=generator)
            n_profile = max(1, self.profile.shape[1])
            self.profile.normal_(0.0, n_profile**-0.5, generator=generator)
            for layer in (self.second, self.pooled, self.last, self.direct):
                layer.normal_(0.0, hidden**-0.5, generator=generator)

    def first(self, tokens: Tensor, profiles: Tensor) -> Tensor:
        """Return the first layer before its nonlinearity, shape (n, hidden): linear in one-hots.

        Args:
            tokens: codes, shape (n, columns).
            profiles: shape (n, n_profile).
        """
        codes = embedding_bag(tokens + self.offsets, self.table, mode="sum")
        return codes + linear(profiles, self.profile, self.shift)

    def features(self, first: Tensor, tokens: Tensor, profiles: Tensor) -> Tensor:
        """Return what packs take the mean of, shape (n, hidden + 1); the last is added as it is."""
        own = silu(first)
        own = own + silu(linear(own, self.second, self.second_shift))
        towards = self.direct + linear(profiles, self.profile_projection)
        if len(self.type_projection):
            towards = towards + embedding(tokens[:, 0], self.type_projection)
        return torch.cat([own, (own * towards).sum(1, keepdim=True)], dim=1)

    def score(self, mean: Tensor) -> Tensor:
        """Return scores, shape (...), of packs' mean features, shape (..., hidden + 1)."""
        pooled = silu(linear(mean[..., :-1], self.pooled, self.pooled_shift))
        return linear(pooled, self.last)[..., 0] + mean[..., -1]

    def judge(self, tokens: Tensor, profiles: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores of packs, and the first layer and the features of their rows.

        Args:
            tokens: codes of rows pack after pack, shape (packs x size, columns).
            profiles: shape (packs x size, n_profile).
            size: rows per pack.
        """
        first = self.first(tokens, profiles)
        rows = self.features(first, tokens, profiles)
        features = rows.view(-1, size, rows.shape[1])
        return self.score(features.mean(1)), first, features

    def without_each(self, features: Tensor) -> Tensor:
        """Return each pack's score without each of its rows, shape (packs, size).

        Args:
            features: shape (packs, size, hidden + 1). A row alone leaves a pack of mean zero.
        """
        others = features.sum(1, keepdim=True) - features
        return self.score(others / max(1, features.shape[1] - 1))

    def penalty(self, scores: Tensor, first: Tensor) -> Tensor:
        """Return the squared norm of the scores' gradient, summed over packs.

        It is taken by the one-hots of all rows as the first layer has them, where by the chain
        rule it is table x (gradient by that layer): the one-hots themselves are never made. The
        request type's second way in, its projection, is left out: it is given, and the same in a
        real pack and the drawn one beside it.
        """
        (slope,) = torch.autograd.grad(scores.sum(), first, create_graph=True)
        return ((slope @ (self.table.T @ self.table)) * slope).sum()
