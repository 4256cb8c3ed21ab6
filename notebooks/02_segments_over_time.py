# Databricks notebook source
# MAGIC %md
# MAGIC # Segments over time: who they are, who moved, and one user by hand
# MAGIC Reads the tables of one rehearsal, and writes nothing.
# MAGIC
# MAGIC On Databricks set `CONFIG` (the YAML file of the run) and `RUN_ID` in a cell above.
# MAGIC Elsewhere run it from the repository's root; without them it reads what `make demo` made.

# COMMAND ----------
from pathlib import Path

import numpy as np
from pyspark.sql import functions as F

from rehearsal.configure import load_settings
from rehearsal.runtime import Job
from rehearsal.segments.model import SegmentModel
from rehearsal.session import get_session
from rehearsal.tables import schemas as tables

CONFIG = globals().get("CONFIG", "conf/demo.yml")
RUN_ID = globals().get("RUN_ID", "demo")
settings = load_settings([Path(CONFIG)])
job = Job(globals().get("spark") or get_session(settings.spark), settings, RUN_ID)
history = settings.segments.name

# COMMAND ----------
# MAGIC %md ## What each run decided, and by which numbers

# COMMAND ----------
runs = job.store.read(tables.SEGMENTATIONS, segmentation=history).orderBy("valid_from")
runs.select("run_id", "valid_from", "decision", "k", "psi", "cost_ratio", "n_moved").show()
runs.select("run_id", "reason").show(truncate=False)

# COMMAND ----------
# MAGIC %md ## Who the segments are

# COMMAND ----------
made_by = job.segmentation.run_id
profiles = job.store.read(tables.SEGMENT_PROFILES, run_id=made_by)
profiles.where("rank = 1").orderBy(F.desc("n_users")).select(
    "segment_id", "n_users", "stability", "segment_name"
).show(truncate=False)

# COMMAND ----------
# MAGIC %md ## Who moved since the run before, unusual flows first

# COMMAND ----------
flows = job.store.read(tables.SEGMENT_MIGRATIONS, segmentation=history, run_id=made_by)
flows.where("NOT from_segment_id <=> to_segment_id").orderBy("q_value", F.desc("n_users")).select(
    "from_segment_id", "to_segment_id", "n_users", "direction", "status", "reason"
).show(truncate=False)

# COMMAND ----------
# MAGIC %md ## Who was where at an instant is one filter

# COMMAND ----------
segments = job.store.read(tables.SEGMENTS, segmentation=history)
at = F.lit(settings.replay.start)
then = segments.where(
    (F.col("valid_from") <= at) & (F.col("valid_to").isNull() | (F.col("valid_to") > at))
)
then.groupBy("segment_id").count().orderBy("segment_id").show()

# COMMAND ----------
# MAGIC %md ## One user in plain numpy, as a service would

# COMMAND ----------
text = runs.where(F.col("run_id") == made_by).head()["model_json"]
model = SegmentModel.from_json(text)
user = job.store.read(tables.USER_FEATURES, run_id=made_by).orderBy(F.desc("n_requests")).head()
found = model.assign(np.array([user["features"]], dtype=float))
print(user["user_id"], found.segment_ids[0], f"distance {found.distance[0]:.2f}")
