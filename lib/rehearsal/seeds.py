"""Randomness as a function of (seed, key), independent of partitioning and of the process."""

from hashlib import blake2b

from pyspark.sql import Column
from pyspark.sql import functions as F

_TWO_53 = float(1 << 53)


def derive_seed(seed: int, *parts: object) -> int:
    """Return a seed in [1, 2**31) that depends on `seed` and every part's text."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2**31 - 2) + 1


def short_hash(*parts: object, length: int = 12) -> str:
    """Return `length` hex digits that identify the parts' texts, for version names."""
    text = "\x1f".join(map(str, parts))
    return blake2b(text.encode(), digest_size=16).hexdigest()[:length]


def hash_order(seed: int, *columns: str) -> Column:
    """Return a BIGINT column whose order is a random permutation fixed by (seed, key columns)."""
    return F.xxhash64(F.lit(seed).cast("bigint"), *(F.col(name) for name in columns))


def uniform(seed: int, *columns: str) -> Column:
    """Return a DOUBLE column, uniform on [0, 1), fixed by (seed, key columns)."""
    bits = F.shiftrightunsigned(hash_order(seed, *columns), 11)
    return bits.cast("double") / F.lit(_TWO_53)
