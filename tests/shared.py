"""What tests of several folders build on and is no fixture: it is wanted when modules load."""

from datetime import datetime
from typing import Any

from rehearsal.configure import parse_settings
from rehearsal.settings import Settings

# The JIT's second tier would not pay back in sessions of many tiny jobs; nor do collections of what
# lives no longer than a query, and full ones each time that generated classes fill the metaspace.
JVM = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC "
    "-Xms800m -Xmn400m -XX:MetaspaceSize=400m"
)
FAST = {
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    # Every query's plan is written out for a UI that is off; the short form takes less time.
    "spark.sql.ui.explainMode": "simple",
    "spark.driver.extraJavaOptions": JVM,
}


def plain_settings(
    start: str | datetime = "2026-01-01",
    columns: dict[str, Any] | None = None,
    **sections: Any,
) -> Settings:
    """Return settings over tables that are never read, as YAML would give them."""
    mapped = {"request_id": "id", "user_id": "user", "request_type": "kind", "requested_at": "at"}
    return parse_settings(
        {
            "seed": 1,
            "requests": {"table": "logs.calls", "columns": mapped | (columns or {})},
            "models": {"production": {"uri": "a"}, "experimental": {"uri": "b"}},
            "output": {"path": "out"},
            "replay": {"start": start, "end": "2027-01-01"},
        }
        | sections
    )
