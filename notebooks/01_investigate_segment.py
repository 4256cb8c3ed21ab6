# Databricks notebook source
# MAGIC %md
# MAGIC # From an alert to the requests behind it
# MAGIC Reads the tables of one rehearsal. Outside Databricks, run it from the repository's root
# MAGIC after `make demo`; `CONFIG` and `RUN_ID` name another rehearsal.

# COMMAND ----------
from pathlib import Path

from pyspark.sql import functions as F

from rehearsal.configure import load_settings
from rehearsal.runtime import Job
from rehearsal.session import get_session
from rehearsal.tables import schemas as tables

CONFIG = globals().get("CONFIG", "conf/demo.yml")
RUN_ID = globals().get("RUN_ID", "demo")
settings = load_settings([Path(CONFIG)])
job = Job(globals().get("spark") or get_session(settings.spark), settings, RUN_ID)

# COMMAND ----------
# MAGIC %md ## What breached

# COMMAND ----------
alerts = job.store.read(tables.ALERTS, run_id=RUN_ID).where("segment_id IS NOT NULL")
alerts.orderBy(F.desc("score")).select("message").show(20, truncate=False)

# COMMAND ----------
# MAGIC %md ## Who they are, and which request types bring it

# COMMAND ----------
worst = alerts.orderBy(F.desc(F.col("score") / F.col("threshold"))).head()
segment = worst["segment_id"] if worst else None
profile = job.store.read(tables.SEGMENT_PROFILES, run_id=job.segmentation.run_id)
profile.where(F.col("segment_id") == segment).orderBy("rank").select(
    "feature", "segment_mean", "overall_mean", "effect_size"
).show(10, truncate=False)
contributions = job.store.read(tables.DRIFT_CONTRIBUTIONS, run_id=RUN_ID)
of_segment = contributions.where(F.col("segment_id") == segment)
of_segment.orderBy("output", "rank").select("output", "request_type", "share", "n_requests").show()

# COMMAND ----------
# MAGIC %md ## The requests the two models differ on most

# COMMAND ----------
segments = job.segments()
members = segments.where(F.col("segment_id") == segment)
replays = job.store.read(tables.REPLAYS, run_id=RUN_ID, origin="logged")
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
