"""Which rows a private generator learns from: each for itself, none because of another user's.

Privacy compares a log with the same log less one user, so nothing else may change when a user
leaves. Whether a row is in, and in which part, is decided by its own id and by its user's other
rows alone: there are no caps that are filled up in hash order, which a user who leaves would let
others into. Every row is in a part, at most `max_user_rows` of a user; where that is too many for
this machine it is refused, not cut. Test rows are those of the parts of all runs (`rows`), and
those of segments that do not drift are not used. There is no validation part, since held-out rows
may decide nothing.

Public, as if known beforehand: the settings; names and kinds of columns; the segments, their
profiles, and which user is in which; which segments drift, and on which request types; and that
an id is of one request of one user.

Covered by epsilon: the codec and the generator of all segments, `codec_json` and `weights` of the
row of `synthesizers` without a segment, which with the public `profiles_json` make the synthesizer
that may leave. Not covered: all else that is told of the rows. The gate's scores, fidelity and who
serves are computed on real held-out rows; counts, hashes and versions are exact; a synthetic
request borrows a logged user; resampled requests are logged ones. These tables stay inside.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from rehearsal.seeds import derive_seed, hash_order


def rows_of_users(rows: DataFrame, most: int, seed: int) -> DataFrame:
    """Return at most `most` rows of every user, by hash: what one user can change is bounded."""
    order = hash_order(derive_seed(seed, "user rows"), "request_id")
    by_user = Window.partitionBy("user_id").orderBy(order, "request_id")
    return rows.withColumn("of_user", F.row_number().over(by_user)).where(
        F.col("of_user") <= most
    ).drop("of_user")  # fmt: skip
