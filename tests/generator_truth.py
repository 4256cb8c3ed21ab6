"""Token columns of a known distribution, on which generators are tried.

first, second      conditions, of 3 and 2 codes
third              1 + (2 x first + second) mod 5 in 84% of rows; code 0 never occurs
fourth             the third's mod 5 in 88% of rows
fifth              code 1 in 10% to 70% of rows, as the segment's profile says; code 2 in 10%
sixth              codes 0, 1, 2 in 50%, 30% and 20%, whatever the rest; code 3 never occurs
"""

import numpy as np

from rehearsal.generate.models.generator import Rows
from rehearsal.generate.models.layout import Codes, Floats, Layout, Mask

LAYOUT = Layout((3, 2, 6, 5, 3, 4), n_conditions=2, n_profile=2)
PROFILES = np.array([[p, 1 - p] for p in (0.0, 0.25, 0.75, 1.0)])
UNSEEN_PROFILE = np.array([0.5, 0.5])
RULE_SHARE, FOLLOWS_SHARE = 0.84, 0.88


def by_rule(codes: Codes) -> Codes:
    """Return the third column as its rule has it, shape (n,)."""
    return 1 + (2 * codes[:, 0] + codes[:, 1]) % 5


def fifth_share(profile: Floats) -> float:
    """Return how often the fifth column is 1 in a segment."""
    return float(0.1 + 0.6 * profile[0])


def truth(n: int, seed: int, profiles: Floats = PROFILES) -> Rows:
    """Return n rows over segments of these profiles, shape (segments, 2)."""
    random = np.random.default_rng(seed)
    segment = random.integers(0, len(profiles), n)
    first, second = random.integers(0, 3, n), random.integers(0, 2, n)
    third = by_rule(np.stack([first, second], axis=1))
    third = np.where(random.random(n) < 0.8, third, random.integers(1, 6, n))
    fourth = np.where(random.random(n) < 0.85, third % 5, random.integers(0, 5, n))
    ones = np.array([fifth_share(profile) for profile in profiles])[segment]
    draw = random.random(n)
    fifth = np.where(draw < ones, 1, np.where(draw < ones + 0.1, 2, 0))
    sixth = random.choice(3, n, p=[0.5, 0.3, 0.2])
    codes = np.stack([first, second, third, fourth, fifth, sixth], axis=1).astype(np.int64)
    return Rows(codes, segment, profiles)


def profiles_of(rows: Rows) -> Floats:
    """Return each row's profile, shape (n, n_profile)."""
    return np.ascontiguousarray(rows.profiles[rows.segment])


AT_MOST, IMPLIED = (
    np.tril(np.ones((5, 5), dtype=bool)),
    np.array([[True, True, True], [True, True, True], [True, False, False]]),
)
MASKED = Layout((3, 5, 5, 3), n_conditions=1, masks=(Mask(1, 2, AT_MOST), Mask(0, 3, IMPLIED)))
"""The third column is at most the second; where the condition is 2 the fourth is 0."""


def masked_truth(n: int, seed: int) -> Rows:
    """Return n rows of MASKED, in which the masks are all that ties the columns."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 3, n), random.integers(0, 5, n)
    third = random.integers(0, second + 1)
    fourth = np.where(first == 2, 0, random.integers(0, 3, n))
    return plain_rows(np.stack([first, second, third, fourth], axis=1))


def plain_rows(codes: Codes) -> Rows:
    """Return the rows as those of one segment that nothing describes."""
    return Rows(codes.astype(np.int64), np.zeros(len(codes), dtype=np.int64), np.zeros((1, 0)))
