"""One number per user: what it is called, where it comes from, and how its tail is tamed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """A feature as it is pinned in a fitted model, so that later runs compute the same number.

    `source` and `argument` say how it is computed (`share_of_type`, `search`); `group` is what
    `segments.group_weights` weighs; `tail` is none, log (log1p) or sqrt.
    """

    name: str
    group: str
    tail: str = "none"
    source: str = ""
    argument: str = ""
