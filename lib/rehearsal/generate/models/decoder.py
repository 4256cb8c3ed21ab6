"""Token columns one after the other: logits of each from the earlier ones and a context.

The one place where codes that may not stand together are kept apart. Imports torch.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, silu

from rehearsal.generate.models.layout import Layout

BLOCKED = -1e9
# A code the model gives no probability, e.g. one held-out rows have and training rows had not.
IMPOSSIBLE_NATS = 50.0
MISSING = 0


class Decoder(nn.Module):
    """p(generated columns | condition columns, context), a product over columns.

    Every code adds a vector to what all later columns are predicted from, as in NADE (Larochelle
    and Murray 2011), so that a row costs one look-up per column however many come after it; a
    layer of each column's own follows, for all columns in one batched matrix product.

    Args:
        layout: of the token columns.
        n_context: numbers that accompany the conditions: a latent, noise, a profile.
        hidden: width of all layers.
    """

    offsets: Tensor
    earlier: Tensor
    never: Tensor
    seen: Tensor

    def __init__(self, layout: Layout, n_context: int, hidden: int) -> None:
        super().__init__()
        self.layout = layout
        n_columns, n_codes = len(layout.sizes), sum(layout.sizes)
        n_generated = len(layout.generated)
        n_outputs = sum(layout.sizes[layout.n_conditions :])
        # A row per code, then one per column that stands for 'not shown'.
        self.table = nn.Embedding(n_codes + n_columns, hidden)
        self.context = nn.Parameter(torch.zeros(hidden, n_context))
        self.weigh = nn.Parameter(torch.zeros(n_generated, n_columns))
        self.shift = nn.Parameter(torch.zeros(n_generated, hidden))
        self.second = nn.Parameter(torch.zeros(n_generated, hidden, hidden))
        self.second_shift = nn.Parameter(torch.zeros(n_generated, hidden))
        self.out = nn.Parameter(torch.zeros(n_outputs, hidden))
        self.out_shift = nn.Parameter(torch.zeros(n_outputs))
        self.register_buffer("offsets", torch.tensor(layout.starts), persistent=False)
        before = torch.ones(n_columns, n_columns).tril(-1)[layout.n_conditions :]
        self.register_buffer("earlier", before, persistent=False)
        self.register_buffer("seen", torch.ones(n_codes, dtype=torch.bool))
        never = torch.zeros(n_codes, dtype=torch.bool)
        for column, code in layout.never:
            never[layout.starts[column] + code] = True
        self.register_buffer("never", never, persistent=False)
        for position, mask in enumerate(layout.masks):
            allowed = torch.from_numpy(mask.allowed)
            self.register_buffer(f"mask_{position}", allowed, persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`, which torch's own initialisation cannot be given."""
        hidden, n_columns = self.table.weight.shape[1], len(self.layout.sizes)
        with torch.no_grad():
            self.table.weight.normal_(0.0, n_columns**-0.5, generator=generator)
            n_context = max(1, self.context.shape[1])
            self.context.normal_(0.0, n_context**-0.5, generator=generator)
            self.weigh.fill_(1.0)
            self.second.normal_(0.0, hidden**-0.5, generator=generator)
            # All codes about alike at first: few rows leave no time to unlearn a preference.
            self.out.normal_(0.0, 0.1 * hidden**-0.5, generator=generator)
            for shift in (self.shift, self.second_shift, self.out_shift):
                shift.zero_()

    def mark_seen(self, tokens: Tensor) -> None:
        """Add the codes of `tokens`, shape (n, columns), to those that may be drawn."""
        self.seen[(tokens + self.offsets).flatten()] = True

    def shown(self, tokens: Tensor, hide: Tensor | None = None) -> Tensor:
        """Return rows of `table`, shape (n, columns): of the codes, or of 'not shown'.

        Args:
            tokens: codes, shape (n, columns) or (n, n_conditions).
            hide: what is not shown, of the same shape. A condition no training row had is never.
        """
        width, n_conditions = tokens.shape[1], self.layout.n_conditions
        rows = tokens + self.offsets[:width]
        unknown = ~self.seen[rows]
        unknown[:, n_conditions:] = False
        if hide is not None:
            unknown |= hide
        markers = len(self.seen) + torch.arange(width, device=rows.device)
        return torch.where(unknown, markers, rows)

    def nats(self, tokens: Tensor, context: Tensor, hide: Tensor | None = None) -> Tensor:
        """Return -log p of each generated column, shape (n, generated columns).

        Args:
            tokens: codes, shape (n, columns).
            context: shape (n, n_context).
            hide: columns not shown to later ones, shape (n, columns).
        """
        features = self.features(self.before(tokens, context, hide))
        parts = [
            self.column_nats(torch.addmm(shift, own, weights.T), column, tokens)
            for column, own, (weights, shift) in zip(
                self.layout.generated, features.unbind(0), self.outputs(), strict=True
            )
        ]
        return torch.stack(parts, 1)

    def before(self, tokens: Tensor, context: Tensor, hide: Tensor | None = None) -> Tensor:
        """Return what each generated column is predicted from, shape (generated, n, hidden)."""
        vectors = self.table(self.shown(tokens, hide).T.contiguous())  # (columns, n, hidden)
        given: Tensor = torch.tensordot(self.weigh * self.earlier, vectors, 1)
        return given + linear(context, self.context)

    def column_nats(self, logits: Tensor, column: int, tokens: Tensor) -> Tensor:
        """Return -log p of a column's codes, shape (n,), of logits, shape (n, size).

        Codes that are not possible have no probability.
        """
        logits = logits.float().masked_fill(~self.possible(column, tokens), BLOCKED)
        nats = cross_entropy(logits, tokens[:, column], reduction="none")
        # Beyond the limit a row pulls at no weight: what is impossible cannot be learnt.
        return nats.clamp(max=IMPOSSIBLE_NATS)

    def features(self, before: Tensor, which: slice = slice(None)) -> Tensor:
        """Return what logits are linear in, of `before`, for those generated columns."""
        first = silu(before + self.shift[which, None])
        second = torch.baddbmm(self.second_shift[which, None], first, self.second[which])
        return first + silu(second)

    def outputs(self) -> list[tuple[Tensor, Tensor]]:
        """Return weights, shape (size, hidden), and shift, shape (size,), per generated column."""
        # Split at once: the gradient of each slice taken alone would be as large as the whole.
        sizes = list(self.layout.sizes[self.layout.n_conditions :])
        weights, shifts = torch.split(self.out, sizes), torch.split(self.out_shift, sizes)
        return list(zip(weights, shifts, strict=True))

    def possible(self, column: int, tokens: Tensor) -> Tensor:
        """Return which codes a column may have, shape (size,) or (n, size) where masks apply.

        Those that training rows had and the masks allow beside the earlier columns' codes; where
        there is none, 'missing'; where even that is not allowed, what the masks allow.
        """
        start = self.layout.starts[column]
        own = slice(start, start + self.layout.sizes[column])
        seen = self.seen[own] & ~self.never[own]
        masks = [(i, m) for i, m in enumerate(self.layout.masks) if m.later == column]
        if not masks:
            return seen
        beside = [self.get_buffer(f"mask_{i}")[tokens[:, mask.earlier]] for i, mask in masks]
        allowed = torch.stack(beside).all(0) & ~self.never[own]
        missing = torch.arange(len(seen), device=seen.device) == MISSING
        possible = allowed & seen
        for wider in (allowed & missing, allowed, missing.expand_as(allowed)):
            possible = torch.where(possible.any(1, keepdim=True), possible, wider)
        return possible

    @torch.no_grad()
    def sample(self, conditions: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
        """Return codes, shape (n, columns), whose first columns are `conditions`, unchanged."""
        layout, n = self.layout, len(conditions)
        tokens = torch.zeros((n, len(layout.sizes)), dtype=torch.long, device=conditions.device)
        tokens[:, : layout.n_conditions] = conditions
        hidden = self.table.weight.shape[1]
        vectors = torch.zeros((len(layout.sizes), n, hidden), device=conditions.device)
        vectors[: layout.n_conditions] = self.table(self.shown(conditions).T)
        start = linear(context, self.context)
        outputs = self.outputs()
        for position, column in enumerate(layout.generated):
            own = slice(position, position + 1)
            weights = self.weigh[own, :column]
            before = torch.tensordot(weights, vectors[:column], 1)
            features = self.features(before + start, own)[0]
            weights, shift = outputs[position]
            logits = torch.addmm(shift, features, weights.T)
            logits = logits.masked_fill(~self.possible(column, tokens), BLOCKED)
            tokens[:, column] = draw(logits, generator)
            vectors[column] = self.table(tokens[:, column] + self.offsets[column])
        return tokens


def draw(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Return one code per row of logits, shape (n, size), by inversion; BLOCKED ones never."""
    cumulative = logits.softmax(1).cumsum(1)
    uniform = torch.rand((len(logits), 1), generator=generator, device=logits.device)
    # Short of one, so that rounding never leads past the last possible code.
    reached = uniform * (1 - 1e-6) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, reached, right=True)[:, 0]
