# Databricks notebook source
# MAGIC %md
# MAGIC # From an alert to the requests behind it
# MAGIC Reads the tables of one rehearsal: what breached, who they are, since when, which request
# MAGIC types and sub-populations bring it, why, and the requests themselves; then who makes more of
# MAGIC them, and how good these are. It writes nothing.
# MAGIC
# MAGIC On Databricks set `CONFIG` (the YAML file of the run) and `RUN_ID` in a cell above.
# MAGIC Elsewhere run it from the repository's root; without them it reads what `make demo` made.

# COMMAND ----------
from pathlib import Path

import altair as alt
from pyspark.sql import functions as F

from rehearsal.configure import load_settings
from rehearsal.drift.kpis import counted_kpis
from rehearsal.drift.score import score_drift
from rehearsal.generate.sampling.serving import serving_of
from rehearsal.report import charts_gate, charts_generated
from rehearsal.report.data import read_report_data
from rehearsal.report.picture import with_rows
from rehearsal.report.rows import marginal_rows, total_variation
from rehearsal.report.rows_generated import generator_rows
from rehearsal.runtime import Job
from rehearsal.session import get_session
from rehearsal.settings import Thresholds
from rehearsal.tables import schemas as tables
from rehearsal.tables.source import open_source, read_users

CONFIG = globals().get("CONFIG", "conf/demo.yml")
RUN_ID = globals().get("RUN_ID", "demo")
settings = load_settings([Path(CONFIG)])
job = Job(globals().get("spark") or get_session(settings.spark), settings, RUN_ID)
alt.renderers.enable("png", scale_factor=2)  # charts are drawn here, without a network

# COMMAND ----------
# MAGIC %md
# MAGIC ## What breached
# MAGIC An alert is a segment and window whose score is over the threshold and significant, the
# MAGIC worst first. The rest of this notebook follows the first one; filter `alerts` to follow
# MAGIC another.

# COMMAND ----------
alerts = job.store.read(tables.ALERTS, run_id=RUN_ID).where("segment_id IS NOT NULL")
worst_first = F.desc(F.abs(F.col("score")) / F.col("threshold"))
alerts.orderBy(worst_first).select("message").show(20, truncate=False)
worst = alerts.orderBy(worst_first).head()
segment = worst["segment_id"] if worst else None
print(f"segment {segment}" if worst else "nothing breached; what follows stays empty")
of_segment = F.col("segment_id") == segment

# COMMAND ----------
# MAGIC %md
# MAGIC ## Who they are
# MAGIC The features in which the segment differs most from all users. `effect_size` is that
# MAGIC difference in standard deviations of all users: 0 is average, above 1 is a lot.

# COMMAND ----------
profile = job.store.read(tables.SEGMENT_PROFILES, run_id=job.segmentation.run_id)
profile.where(of_segment).orderBy("rank").select(
    "feature", "segment_mean", "overall_mean", "effect_size"
).show(10, truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Since when
# MAGIC The window from which on the models' differences add up most clearly; any start from
# MAGIC `earliest_window_start` to `latest_window_start` fits about as well.

# COMMAND ----------
since = job.store.read(tables.DRIFT_ONSETS, run_id=RUN_ID)
since.where(of_segment).select(
    "output", "test", "window_start", "earliest_window_start", "latest_window_start"
).show(truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Which request types and sub-populations bring it
# MAGIC The shares of the request types add up to 1; a negative one pulls the models together.
# MAGIC Sub-populations overlap: one half of the users suggested them, the other half confirmed
# MAGIC them. `lift` is the share of the drift over the share of the requests.

# COMMAND ----------
contributions = job.store.read(tables.DRIFT_CONTRIBUTIONS, run_id=RUN_ID).where(of_segment)
contributions.orderBy("output", "size_metric", "rank").select(
    "output", "size_metric", "request_type", "share", "n_requests"
).show(truncate=False)
drivers = job.store.read(tables.DRIFT_DRIVERS, run_id=RUN_ID).where(of_segment)
drivers.where("status = 'confirmed'").orderBy("output", "test", "rank").select(
    "output", "dimension_1", "value_1", "dimension_2", "value_2", "share", "lift", "q_value"
).show(20, truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Why
# MAGIC Against the windows before the drift: **inputs** (other requests than before), **models**
# MAGIC (the same requests, answered apart), **outcomes** (production itself became wrong),
# MAGIC **mixed**, or **no baseline** (it drifts from the first window on). The second table has
# MAGIC what the mix of each dimension brings of the change (`mix_part`), and what is left to the
# MAGIC models (`rate_part`).

# COMMAND ----------
reasons = job.store.read(tables.DRIFT_REASONS, run_id=RUN_ID).where(of_segment)
reasons.select("output", "test", "verdict", "reason").show(truncate=False)
reasons.select("output", "test", "score_change", F.inline("dimensions")).select(
    "output", "dimension", "mix_part", "rate_part", "score_change", "q_value"
).show(20, truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## The requests behind it
# MAGIC Of the type that brings most, in the windows in breach: the requests that the two models
# MAGIC answer furthest apart, with their features. `apart` is the difference of the values, or
# MAGIC half the summed differences of the class probabilities where a class is what drifts.

# COMMAND ----------
segments = job.segments()
replays = job.store.read(tables.REPLAYS, run_id=RUN_ID, origin="logged")
columns = settings.requests.columns
log = open_source(job.spark, settings.requests, "requests")
features = log.select(
    F.col(columns.request_id).cast("string").alias("request_id"), *columns.payload
)
output = worst["output"] if worst else None
top = contributions.where((F.col("output") == output) & (F.col("rank") == 1))
breaching = alerts.where(of_segment & (F.col("output") == output))
windows = breaching.select("window_start", "window_end").distinct()
in_window = "requested_at >= window_start AND requested_at < window_end"
by_value = F.abs(F.col("experimental.value") - F.col("production.value"))
by_class = F.expr(
    "aggregate(zip_with(production.probabilities, experimental.probabilities,"
    " (p, q) -> abs(p - q)), 0D, (total, one) -> total + one) / 2"
)
apart = F.coalesce(*((by_value, by_class) if output == "value" else (by_class, by_value)))
behind = (
    replays.join(segments.where(of_segment).select("user_id"), "user_id")
    .join(top.select("request_type").distinct(), "request_type")
    .join(F.broadcast(windows), F.expr(in_window))
    .select("request_id", "user_id", "request_type", "requested_at", apart.alias("apart"),
            "production", "experimental")
    .orderBy(F.desc("apart"))
    .limit(20)
)  # fmt: skip
behind.join(features, "request_id", "left").orderBy(F.desc("apart")).show(20, truncate=False)

# COMMAND ----------
# MAGIC %md
# MAGIC ## Ask another question of the same replays
# MAGIC `score_drift` takes any frames and returns `scores`, `onsets`, `alerts`, `contributions`
# MAGIC and `counts`: here of days instead of the run's windows, against the default thresholds.
# MAGIC Filtered replays or other segments do as well.

# COMMAND ----------
asked = settings.drift.model_copy(
    update={"window": "day", "thresholds": Thresholds(), "output_thresholds": {}}
)
again = score_drift(replays, segments, asked, kpis=counted_kpis(settings.kpis))
own = again.scores[again.scores["segment_id"] == segment]
shown = ["window_start", "output", "metric", "score_bias_corrected", "ci_low", "ci_high", "q_value",
         "detectable", "status"]  # fmt: skip
print(own[own["threshold"].notna()][shown].to_string(index=False, max_rows=30))
print(f"{len(again.alerts)} breaches in all segments by day")
again.counts.unpersist()

# COMMAND ----------
# MAGIC %md
# MAGIC ## Who makes more of them, and why
# MAGIC `served_by` is `segment` (the generator of all segments with what this one adds to it),
# MAGIC `all` (that generator alone), `serving` (what run `base_run_id` left) or `resampled` (logged
# MAGIC requests again: no generator passed its gate). The loss is of held-out requests, in nats
# MAGIC per row, lower is better: `base_nats` of the generator of all segments, `validation_nats`
# MAGIC of the weights kept.

# COMMAND ----------
if job.store.exists(tables.SYNTHESIZERS):
    job.store.read(tables.SYNTHESIZERS, run_id=RUN_ID).where(of_segment).select(
        "served_by", "why", "kind", "base_run_id", "n_rows", "status", "reason", "base_nats",
        "validation_nats",
    ).show(truncate=False, vertical=True)  # fmt: skip

# COMMAND ----------
# MAGIC %md
# MAGIC ## What it showed at the gate
# MAGIC Each score on its own scale, better to the right, between ◇ rows whose columns are drawn
# MAGIC independently of one another and ○ one half of the real requests against the other. Tried
# MAGIC were ▲ what served before, ● the generator with what the segment adds, ■ the one of all
# MAGIC segments. │ is the limit; orange with ✕ is refused. The report explains every score.

# COMMAND ----------
data = read_report_data(job)  # what the report shows; bounded, whatever the log
drawn = generator_rows(data, [str(segment)])
gate = data.gate[data.gate["segment_id"] == segment]
print(gate[["candidate", "score", "value", "limit", "half_vs_half", "independent", "passed",
            "judged_on", "n_test"]].to_string(index=False))  # fmt: skip
scales = with_rows(charts_gate.scales(700), drawn["gate"], segment=str(segment))
scales if len(gate) else "Nobody was judged."

# COMMAND ----------
# MAGIC %md
# MAGIC ## Round after round
# MAGIC Every run of this history of segments is a round: its fresh generator meets the one that
# MAGIC served, on the same held-out requests, and the better stays (ringed). C2ST AUC .5 = cannot
# MAGIC be told from real requests. `effect_per_1000` is what the run of the round then measured.

# COMMAND ----------
rounds = data.rounds[data.rounds["segment_id"] == segment].sort_values("round")
print(rounds[["round", "run_id", "kept", "fresh_c2st_auc", "serving_c2st_auc", "effect_per_1000",
              "why"]].to_string(index=False))  # fmt: skip
auc = charts_gate.rounds("auc", "C2ST AUC", 500)
over_rounds = with_rows(auc, drawn["rounds"], segment=str(segment))
over_rounds if len(drawn["rounds"]) else "One round so far: there is nothing to compare yet."

# COMMAND ----------
# MAGIC %md
# MAGIC ## Real and synthetic, column by column
# MAGIC `distance` is the total variation of the two distributions over the column's bins, 0 = the
# MAGIC same, 1 = nothing in common; of the request types that are made more of, weighted to their
# MAGIC mix. The chart is of the first; set `column` to see another.

# COMMAND ----------
distances, shares = total_variation(data), marginal_rows(data)
distances = distances[distances["key"] == segment].sort_values("distance", ascending=False)
print(distances[["column_name", "kind", "distance"]].to_string(index=False))
column = distances["column_name"].iloc[0] if len(distances) else ""
shares = shares[(shares["key"] == segment) & (shares["column_name"] == column)]
by_name = (shares["kind"] == "categorical").any()
bars = charts_generated.marginals(column, "shares", categorical=by_name, width=500)
beside = with_rows(bars, shares, segment=str(segment))
beside if len(shares) else "There are no synthetic requests to compare."

# COMMAND ----------
# MAGIC %md
# MAGIC ## A few of each
# MAGIC Logged and synthetic requests of the type that brings most of the drift. A synthetic one
# MAGIC bears a real user of the segment, so that it joins with a real profile.

# COMMAND ----------
if job.store.exists(tables.AUGMENTED_REQUESTS):
    stream = job.store.read(tables.AUGMENTED_REQUESTS, rehearsal_run_id=RUN_ID).join(
        top.select(F.col("request_type").alias("rehearsal_base_request_type")).distinct(),
        "rehearsal_base_request_type",
    )
    own = [columns.user_id, columns.request_type, columns.requested_at, *columns.payload]
    for origin in ("logged", "synthetic"):
        stream.where(
            (F.col("rehearsal_segment_id") == segment) & (F.col("rehearsal_origin") == origin)
        ).orderBy(F.xxhash64(columns.request_id)).select("rehearsal_origin", *own).show(
            5, truncate=False
        )

# COMMAND ----------
# MAGIC %md
# MAGIC ## What the augmented stream adds
# MAGIC Disagreements of the two models per 1,000 requests, on the logged stream and with the
# MAGIC synthetic requests in it. Empty where outputs are stored, which nothing new can be scored
# MAGIC with.

# COMMAND ----------
if job.store.exists(tables.EFFECTS):
    job.store.read(tables.EFFECTS, run_id=RUN_ID).orderBy("scope", "segment_id").select(
        "scope", "segment_id", "request_type", "baseline_per_1000", "augmented_per_1000",
        "effect_ci_low", "effect_ci_high",
    ).show(truncate=False)  # fmt: skip

# COMMAND ----------
# MAGIC %md
# MAGIC ## Draw more yourself
# MAGIC What serves the segment, loaded from the tables: condition columns are given (the request
# MAGIC type, the user's attributes), all others are drawn. Here 200 users of the segment send one
# MAGIC request each; change a column of `asked`, to ask what others would send. Without Spark, load
# MAGIC the same from MLflow, as the README shows.

# COMMAND ----------
if job.store.exists(tables.SYNTHESIZERS):
    fitted = job.store.read(tables.SYNTHESIZERS)
    of_run = fitted.where(F.col("run_id") == RUN_ID)
    if of_run.where(of_segment & (F.col("served_by") != "resampled")).isEmpty():
        print("no generator serves this segment: there is nothing to draw from")
    else:
        serving = serving_of(of_run, fitted.where("segment_id IS NULL"), RUN_ID)
        synthesizer = serving.bases.load(serving.models.where(of_segment).head().asDict())
        asked = segments.where(of_segment).crossJoin(top.select("request_type").distinct())
        if settings.users is not None:
            asked = asked.join(read_users(job.spark, settings.users).rows, "user_id")
        asked = asked.orderBy(F.xxhash64("user_id")).limit(200).toPandas()
        made = synthesizer.sample(len(asked), asked, seed=1)
        print(made.head(10).to_string(index=False))
