# Databricks notebook source
# MAGIC %md
# MAGIC # From an alert to the requests behind it
# MAGIC Reads the tables of one rehearsal. Outside Databricks, run it from the repository's root
# MAGIC after `make demo`; `CONFIG` and `RUN_ID` name another rehearsal.

# COMMAND ----------
from pathlib import Path

from pyspark.sql import functions as F

from rehearsal.configure import load_settings
from rehearsal.drift.kpis import counted_kpis
from rehearsal.drift.score import score_drift
from rehearsal.runtime import Job
from rehearsal.session import get_session
from rehearsal.settings import Thresholds
from rehearsal.tables import schemas as tables

CONFIG = globals().get("CONFIG", "conf/demo.yml")
RUN_ID = globals().get("RUN_ID", "demo")
settings = load_settings([Path(CONFIG)])
job = Job(globals().get("spark") or get_session(settings.spark), settings, RUN_ID)

# COMMAND ----------
# MAGIC %md ## What breached

# COMMAND ----------
alerts = job.store.read(tables.ALERTS, run_id=RUN_ID).where("segment_id IS NOT NULL")
worst_first = F.desc(F.abs(F.col("score")) / F.col("threshold"))
alerts.orderBy(worst_first).select("message").show(20, truncate=False)

# COMMAND ----------
# MAGIC %md ## Who they are, and which request types bring it

# COMMAND ----------
worst = alerts.orderBy(worst_first).head()
segment = worst["segment_id"] if worst else None
print(f"segment {segment}" if worst else "nothing breached; what follows stays empty")
profile = job.store.read(tables.SEGMENT_PROFILES, run_id=job.segmentation.run_id)
profile.where(F.col("segment_id") == segment).orderBy("rank").select(
    "feature", "segment_mean", "overall_mean", "effect_size"
).show(10, truncate=False)
contributions = job.store.read(tables.DRIFT_CONTRIBUTIONS, run_id=RUN_ID)
of_segment = contributions.where(F.col("segment_id") == segment)
of_segment.orderBy("output", "size_metric", "rank").select(
    "output", "size_metric", "request_type", "share", "n_requests"
).show()

# COMMAND ----------
# MAGIC %md ## Since when, which sub-populations, and why

# COMMAND ----------
since = job.store.read(tables.DRIFT_ONSETS, run_id=RUN_ID)
since.where(F.col("segment_id") == segment).select(
    "output", "test", "window_start", "earliest_window_start", "latest_window_start"
).show(truncate=False)
drivers = job.store.read(tables.DRIFT_DRIVERS, run_id=RUN_ID)
drivers.where(F.col("segment_id") == segment).where("status = 'confirmed'").orderBy(
    "output", "rank"
).select(
    "output", "dimension_1", "value_1", "dimension_2", "value_2", "share", "lift", "q_value"
).show(20, truncate=False)
reasons = job.store.read(tables.DRIFT_REASONS, run_id=RUN_ID)
reasons.where(F.col("segment_id") == segment).select("output", "verdict", "reason").show(
    truncate=False
)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Ask another question of the same replays
# MAGIC `score_drift` takes any frames: other windows, other thresholds, other segments. Nothing is
# MAGIC written.

# COMMAND ----------
segments = job.segments()
replays = job.store.read(tables.REPLAYS, run_id=RUN_ID, origin="logged")
asked = settings.drift.model_copy(update={"window": "day", "thresholds": Thresholds()})
again = score_drift(replays, segments, asked, kpis=counted_kpis(settings.kpis))
own = again.scores[again.scores["segment_id"] == segment]
shown = ["window_start", "output", "metric", "score_bias_corrected", "ci_low", "ci_high", "q_value",
         "detectable", "status"]  # fmt: skip
print(own[own["threshold"].notna()][shown].to_string(index=False, max_rows=30))

# COMMAND ----------
# MAGIC %md ## The requests the two models differ on most

# COMMAND ----------
members = segments.where(F.col("segment_id") == segment)
apart = F.abs(F.col("experimental.value") - F.col("production.value"))
differing = (
    replays.join(members.select("user_id"), "user_id")
    .join(of_segment.where("rank = 1").select("request_type").distinct(), "request_type")
    .select(
        "request_id", "user_id", "request_type", "requested_at",
        F.col("production.value").alias("production"),
        F.col("experimental.value").alias("experimental"), apart.alias("apart"),
    )
    .orderBy(F.desc("apart"))
)  # fmt: skip
differing.show(20, truncate=False)

# COMMAND ----------
# MAGIC %md ## What the augmented stream adds

# COMMAND ----------
job.store.read(tables.EFFECTS, run_id=RUN_ID).orderBy("scope", "segment_id").show(truncate=False)
