"""The contracts of every table Rehearsal writes, in the order of the loop.

No column holds the clock of the machine that wrote it, so that a rerun leaves identical tables;
Delta's history has the commit times.
"""

from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from rehearsal.tables.contract import TableContract, column

COLD = "cold"  # the segment of users with no history, and of those not assigned
NOISE = "noise"  # the segment of users in no dense place (dbscan)

S, D, L, N, T = StringType(), DoubleType(), LongType(), IntegerType(), TimestampType()


def _struct(**fields: object) -> StructType:
    return StructType([StructField(name, kind) for name, kind in fields.items()])  # type: ignore[arg-type]


RUN = column("run_id", S, "the rehearsal this row belongs to")
VERSION = column("segmentation_version", S, "the fitted segmentation")
SEGMENT = column("segment_id", S, "segment; 'cold' = no history, 'noise' = in no dense place")
SEGMENT_OR_ALL = column("segment_id", S, "segment; NULL = all users")
TYPE = column("request_type", S, "request type")
WINDOW = [
    column("window_start", T, "first instant of the window, UTC"),
    column("window_end", T, "first instant after the window, UTC"),
]
GRANULARITY = column("granularity", S, "day, week or month")
BINS = column("bins_version", S, "the pinned bin edges and class order")
OUTPUT_NAME = column(
    "output", S, "value, class, missing, expected_accuracy, calibration, log_loss, or a KPI"
)
METRIC = column("metric", S, "kl_nats, psi, flip_rate, mean_change, ...; the report explains each")

QUARANTINE = TableContract(
    name="quarantine",
    comment="Rows of the source tables that broke the contract, one per row and step that met it",
    made_by="every step that reads a source table",
    schema=StructType(
        [
            RUN,
            column("step", S, "the step that set the row aside"),
            column("source_table", S, "the table it came from"),
            column("reason", S, "the rule it broke"),
            column("row_json", S, "the row as read"),
        ]
    ),
    key=(),
    slice_by=("run_id", "step"),
    partition_by=("run_id",),
)

SEGMENTATION = column("segmentation", S, "the history of segments this belongs to (segments.name)")

USER_ACTIVITY = TableContract(
    name="user_activity",
    comment="Daily counts and sums per user, request type and outcome; they add over any span",
    made_by="segment",
    schema=StructType(
        [
            column("activity_version", S, "which columns of which log were counted"),
            column("month", S, "month of `day`, yyyy-MM"),
            column("day", DateType(), "UTC day"),
            column("run_id", S, "run that counted the day"),
            column("user_id", S, "user"),
            TYPE,
            column("outcome", S, "logged outcome where it is a category, else NULL"),
            column("n_rows", L, "rows of the log on that day, over all users"),
            column("n", L, "requests"),
            column("first_at", T, "first request of the day"),
            column("last_at", T, "last request of the day"),
            column("night", L, "requests from 0 to 6 h UTC"),
            column("morning", L, "requests from 6 to 12 h UTC"),
            column("afternoon", L, "requests from 12 to 18 h UTC"),
            column("evening", L, "requests from 18 to 24 h UTC"),
            column("active_slots", L, "bit i = a request in half-hour i of the day, 0..47"),
            column("value_sum", D, "sum of segments.value"),
            column("value_n", L, "requests that have a value"),
            column("outcome_sum", D, "sum of a numeric outcome"),
            column("outcome_n", L, "requests that have an outcome"),
        ]
    ),
    key=("activity_version", "day", "user_id", "request_type", "outcome"),
    slice_by=("activity_version", "day"),
    partition_by=("activity_version", "month"),
)

USER_FEATURES = TableContract(
    name="user_features",
    comment="Behaviour and profile of each user as of the start of the replay",
    made_by="segment",
    schema=StructType(
        [
            RUN,
            column("user_id", S, "user"),
            column("as_of", T, "only requests before this instant count"),
            column("n_requests", L, "requests in the history"),
            column("value", D, "sum of segments.value in the history; NULL without any"),
            column("features", ArrayType(D), "in the order of segmentations.feature_names"),
            column("previous_segment_id", S, "segment before this run; NULL = new user"),
            column("previous_pending_id", S, "segment the user was nearer to then"),
            column("previous_pending_runs", N, "for so many runs in a row"),
        ]
    ),
    key=("run_id", "user_id"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SEGMENTATIONS = TableContract(
    name="segmentations",
    comment="What each run decided about the segments, by which numbers, and the model in force",
    made_by="segment",
    schema=StructType(
        [
            SEGMENTATION,
            RUN,
            VERSION,
            column("method", S, "kmeans, bisecting, mixture or dbscan"),
            column("decision", S, "fit, reassign, warm_refit or cold_refit"),
            column("reason", S, "the numbers behind the decision, in words"),
            column("as_of", T, "end of the history it describes"),
            column("valid_from", T, "first instant its assignments hold for"),
            column("k", N, "segments, without 'cold' and 'noise'"),
            column("n_users", L, "users assigned, cold ones included"),
            column("n_fit_users", L, "users in the fitting sample"),
            column("n_moved", L, "users whose segment changed"),
            column("n_new", L, "users that had no segment before"),
            column("n_gone", L, "users of the segments before that are no longer seen"),
            column("psi", D, "change of the segment mix since the fit; NULL at a first fit"),
            column("cost_ratio", D, "cost per user over that at the fit; NULL at a first fit"),
            column("far_share", D, "users farther out than 99% were at the fit; NULL likewise"),
            column("silhouette", D, "simplified silhouette over all users, -1..1"),
            column("cost", D, "mean squared distance to the centre, scaled units"),
            column(
                "k_curve",
                ArrayType(
                    _struct(
                        k=N,
                        silhouette=D,
                        davies_bouldin=D,
                        calinski_harabasz=D,
                        cost=D,
                        smallest_share=D,
                    )
                ),
                "what each k would give on the fitting sample; empty if not fitted anew",
            ),
            column("k_distances", ArrayType(D), "dbscan: rising k-distance curve behind eps"),
            column(
                "events",
                ArrayType(
                    _struct(event=S, segment_id=S, other_ids=ArrayType(S), share=D, n_users=L)
                ),
                "survived, born, died, split, merged (MONIC); share of users that overlap",
            ),
            column("feature_names", ArrayType(S), "names of user_features.features"),
            column("model_json", S, "features, scaling, centres and ids: all that assigns a user"),
            column("pipeline_path", S, "the same as a Spark ML pipeline; NULL if it has none"),
            column("settings_json", S, "the settings of the segments"),
        ]
    ),
    key=("segmentation", "run_id"),
    slice_by=("segmentation", "run_id"),
)

SEGMENT_ASSIGNMENTS = TableContract(
    name="segment_assignments",
    comment="Every user at one run: the segment, how near it is, and what pulls elsewhere",
    made_by="segment",
    schema=StructType(
        [
            RUN,
            column("user_id", S, "user"),
            SEGMENT,
            column("distance", D, "to the segment's centre, in scaled feature units; NULL if cold"),
            column("nearest_id", S, "nearest segment, which hysteresis may not have let in yet"),
            column("is_noise", BooleanType(), "dbscan: in no dense place"),
            column("membership", ArrayType(D), "mixture: probability of each segment"),
            column("n_requests", L, "requests in the history"),
            column("value", D, "sum of segments.value in the history; NULL without any"),
            column("previous_segment_id", S, "segment before this run; NULL = new user"),
            column("pending_id", S, "nearest segment if not the user's own"),
            column("pending_runs", N, "it has been that for so many runs in a row"),
        ]
    ),
    key=("run_id", "user_id"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SEGMENTS = TableContract(
    name="segments",
    comment="User to segment over time: valid_from <= instant < valid_to is who was where then",
    made_by="segment",
    schema=StructType(
        [
            SEGMENTATION,
            column("user_id", S, "user"),
            SEGMENT,
            column("is_noise", BooleanType(), "dbscan: in no dense place"),
            column("valid_from", T, "first instant of the assignment"),
            column("valid_to", T, "first instant after it; NULL = still valid"),
            column("opened_by", S, "run that opened the row"),
            column("closed_by", S, "run that closed it; NULL = open"),
        ]
    ),
    key=("segmentation", "user_id", "valid_from"),
    slice_by=("segmentation",),
)

SEGMENT_PROFILES = TableContract(
    name="segment_profiles",
    comment="What is most unlike the average in each segment, strongest first",
    made_by="segment",
    schema=StructType(
        [
            RUN,
            SEGMENT,
            column("segment_name", S, "short name from its strongest features"),
            column("n_users", L, "users in the segment"),
            column("user_share", D, "of all users, 0..1"),
            column("is_small", BooleanType(), "a smaller share than segments.min_segment_share"),
            column("stability", D, "mean Jaccard over bootstrap fits, 0..1; NULL if not fitted"),
            column("feature", S, "name of the feature"),
            column("segment_mean", D, "mean over the segment's users"),
            column("overall_mean", D, "mean over all users"),
            column("effect_size", D, "difference of means in overall standard deviations"),
            column("rank", N, "1 = most unlike the average"),
        ]
    ),
    key=("run_id", "segment_id", "feature"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SEGMENT_SAMPLES = TableContract(
    name="segment_samples",
    comment="A sample of users on the map of the segments, and each segment's prototypes",
    made_by="segment",
    schema=StructType(
        [
            RUN,
            SEGMENT,
            column("user_id", S, "a real user"),
            column("x", D, "first principal component of the scaled features"),
            column("y", D, "second principal component"),
            column("distance", D, "to the segment's centre, in scaled feature units"),
            column("prototype_rank", N, "1 = nearest the centre; NULL = drawn for the map"),
        ]
    ),
    key=("run_id", "segment_id", "user_id"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SEGMENT_MIGRATIONS = TableContract(
    name="segment_migrations",
    comment="Users from segment to segment since the run before, what they are worth, and alerts",
    made_by="segment",
    schema=StructType(
        [
            SEGMENTATION,
            RUN,
            column("previous_run_id", S, "the run it is compared with"),
            column("from_segment_id", S, "segment before; NULL = was not there"),
            column("to_segment_id", S, "segment now; NULL = is gone"),
            column("n_users", L, "users of the flow"),
            column("from_share", D, "of the users the segment had before, 0..1"),
            column("expected_share", D, "the same over earlier runs; NULL without two of them"),
            column(
                "requests_before",
                D,
                "mean requests per user before; NULL if all stayed",
            ),
            column("requests_after", D, "the same, this run; NULL if gone"),
            column("value_before", D, "mean value per user in the history, run before"),
            column("value_after", D, "the same, this run"),
            column("direction", S, "up, down or level, by the two segments' worth"),
            column("p_value", D, "of the flow against its usual share; NULL without history"),
            column("q_value", D, "Benjamini-Hochberg over the run's flows"),
            column("status", S, "usual, unusual or no_history"),
            column("reason", S, "why it has this status"),
        ]
    ),
    key=("segmentation", "run_id", "from_segment_id", "to_segment_id"),
    slice_by=("segmentation", "run_id"),
)

MADE_WITH = column("settings_json", S, "what it was made with; a part of a run has the same")
MODEL_OUTPUT = StructType([StructField("probabilities", ArrayType(D)), StructField("value", D)])
KPI_PAIR = _struct(production=D, experimental=D)

REPLAYS = TableContract(
    name="replays",
    comment="One row per replayed request with the outputs of both models",
    made_by="replay",
    schema=StructType(
        [
            RUN,
            column("request_id", S, "request"),
            column("user_id", S, "user"),
            TYPE,
            column("requested_at", T, "when it was logged, or is meant to be, UTC"),
            column("origin", S, "logged or synthetic"),
            column("production", MODEL_OUTPUT, "class probabilities in class order, and a value"),
            column("experimental", MODEL_OUTPUT, "the same of the experimental model"),
            column("kpis", MapType(S, KPI_PAIR), "KPI of this request under each model"),
            column("production_model", S, "resolved model, or 'stored'"),
            column("experimental_model", S, "resolved model, or 'stored'"),
            column("classes", ArrayType(S), "class order of both probability arrays"),
            column("outcome", S, "what was logged to have happened; NULL = unknown"),
            MADE_WITH,
        ]
    ),
    key=("run_id", "request_id"),
    slice_by=("run_id", "origin"),
    partition_by=("run_id", "origin"),
)

DRIFT_BINS = TableContract(
    name="drift_bins",
    comment="Pinned bins: reuse a version to make runs comparable",
    made_by="score-drift",
    schema=StructType(
        [
            BINS,
            column("output", S, "value or class"),
            column("edges", ArrayType(D), "inner edges of the value; outer bins are open"),
            column("classes", ArrayType(S), "class labels in order"),
        ]
    ),
    key=("bins_version", "output"),
    slice_by=("bins_version",),
    partition_by=("bins_version",),
)

DRIFT_COUNTS = TableContract(
    name="drift_counts",
    comment="Counts and sums that add over windows and segments; every score derives from them",
    made_by="score-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            BINS,
            SEGMENT,
            *WINDOW,
            GRANULARITY,
            column("request_type", S, "request type; NULL = all of them"),
            column("output", S, "value, class, missing, calibration, log_loss, or a KPI"),
            column("n_requests", L, "requests, with the output or without"),
            column(
                "n_users",
                L,
                "users with the output (ratio: that have a numerator or denominator other than 0); "
                "NULL per request type, as below",
            ),
            column("n_paired", L, "requests that have the output under both models"),
            column("n_null", L, "requests that lack it under a model"),
            column("n_nan", L, "requests where it is NaN or infinite under a model"),
            column("n_moved", L, "users whose bins differ between the models"),
            column("n_shifted", L, "users whose numbers differ between the models"),
            column(
                "sum_production",
                D,
                "sum of production's numbers (class: its confidence; ratio: its numerators)",
            ),
            column("sum_difference", D, "sum of experimental - production"),
            column("sum_production_sq", D, "sum of squares of production's numbers"),
            column("sum_difference_sq", D, "sum of squared differences"),
            column(
                "sum_distance",
                D,
                "sum of squared differences; class: of KL per request, nats; ratio: of squared "
                "differences of its denominators",
            ),
            column("sum_absolute", D, "sum of absolute differences"),
            column("n_flips", L, "requests in another bin or class, KPI: of another number"),
            column("sum_denominator", D, "sum of production's denominators; NULL but for ratios"),
            column("sum_denominator_difference", D, "sum of experimental's - production's"),
            column("production_bins", ArrayType(L), "requests per bin or class of production"),
            column("experimental_bins", ArrayType(L), "the same of experimental"),
            column("joint_bins", ArrayType(L), "K x K row by row, production by experimental"),
            column(
                "user_bins",
                ArrayType(D),
                "sum over users of products of their counts per bin, of production's K then "
                "experimental's K; upper triangle row by row",
            ),
            column(
                "user_sums",
                ArrayType(D),
                "the same of their sums: requests, production, difference, squares of both, "
                "distance, absolute, flips; ratio: also denominator and its difference",
            ),
            column(
                "fourth_bins",
                ArrayType(D),
                "sum over users of the fourth power of their difference in each bin",
            ),
            MADE_WITH,
        ]
    ),
    key=("run_id", "segment_id", "window_start", "request_type", "output"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

TEST = column("test", S, "distribution, mean or size; metrics of one test share its p-value")
_JUDGED = [
    column("score", D, "raw; NULL when there is too little data"),
    column("score_bias_corrected", D, "score less its expectation under no drift"),
    column("ci_low", D, "95% interval of the corrected score, users as units"),
    column("ci_high", D, "95% interval of the corrected score, users as units"),
    column(
        "production_level",
        D,
        "production's mean per request, or its ratio, of which the score is the change; NULL for "
        "metrics other than mean_change and kpi_relative_change",
    ),
    column("experimental_level", D, "the same of the experimental model"),
    column("test_statistic", D, "Wald statistic of the paired differences, clustered by user"),
    column("df", N, "its degrees of freedom, rare bins pooled; NULL for sizes"),
    column("p_value", D, "of equal distributions or means; for a size, of one above its threshold"),
    column("q_value", D, "p_value after all segments, tests and windows; significant if <= alpha"),
    column("threshold", D, "a breach is significant and |score| at or over it; NULL = never"),
    column("threshold_origin", S, "set, or how it was calibrated"),
    column("detectable", D, "a drift this large would be significant with chance 80%"),
    column("n_requests", L, "paired requests counted"),
    column("n_users", L, "distinct users"),
    column("status", S, "green, yellow, red or insufficient_data"),
    column("reason", S, "why it has this status"),
]

DRIFT_SCORES = TableContract(
    name="drift_scores",
    comment="Drift of the experimental model against production per segment, window and metric",
    made_by="score-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT_OR_ALL,
            *WINDOW,
            GRANULARITY,
            OUTPUT_NAME,
            METRIC,
            TEST,
            column("drift_type", S, "EXPERIMENTAL_VS_PRODUCTION on the same requests"),
            *_JUDGED,
            BINS,
        ]
    ),
    key=("run_id", "segment_id", "window_start", "output", "metric"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

DRIFT_ONSETS = TableContract(
    name="drift_onsets",
    comment="Since when a breaching segment drifts: change points over the windows",
    made_by="score-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT_OR_ALL,
            OUTPUT_NAME,
            column("test", S, "distribution or mean"),
            column("window_start", T, "the first window of the drift"),
            column("earliest_window_start", T, "the earliest start that fits about as well"),
            column("latest_window_start", T, "the latest"),
            column("last_window_start", T, "the last window in breach"),
            column("n_breaching_windows", N, "windows in breach"),
            column("test_statistic", D, "Wald statistic of the windows in breach together"),
            column("df", N, "its degrees of freedom"),
        ]
    ),
    key=("run_id", "segment_id", "output", "test"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

_TEST, _SPAN = _struct(statistic=D, pvalue=D), _struct(start=T, end=T)
DRIFT_METRICS = TableContract(
    name="drift_metrics",
    comment="Raw drift_scores, a row per segment, window and output, in the column names of "
    "Databricks' drift metrics tables; of its deltas there are none, and a run_id tells runs apart",
    made_by="score-drift",
    schema=StructType(
        [
            RUN,
            column("window", _SPAN, "UTC"),
            column("granularity", S, "1 day, 1 week or 1 month"),
            column("monitor_version", S, "segmentation/bins; a number there"),
            column("slice_key", S, "segment_id; NULL = the whole table"),
            column("slice_value", S, "the segment; NULL = the whole table"),
            column("column_name", S, "value or class"),
            column("window_cmp", _SPAN, "NULL, as it is there for BASELINE"),
            column(
                "drift_type",
                S,
                "EXPERIMENTAL_VS_PRODUCTION on the same requests: what BASELINE is there, with "
                "production's outputs in the same window as the baseline; no row is CONSECUTIVE",
            ),
            column("count", L, "paired requests counted"),
            column("js_distance", D, "Jensen-Shannon distance, 0..1"),
            column("ks_test", _TEST, "KS distance at bin edges, p-value of the paired test; value"),
            column("wasserstein_distance", D, "of the binned values, in their unit; value only"),
            column("population_stability_index", D, "PSI"),
            column("chi_squared_test", _TEST, "paired, user-clustered Wald test; class only"),
            column("tv_distance", D, "total variation, 0..1; class only"),
            column("l_infinity_distance", D, "largest difference of a share, 0..1; class only"),
            column("kl_nats", D, "KL(production || experimental), nats"),
            column("status", S, "the worst of the output's metrics"),
        ]
    ),
    key=("run_id", "slice_value", "window", "column_name"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

ALERTS = TableContract(
    name="alerts",
    comment="Breaches: significant and over the threshold",
    made_by="score-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT_OR_ALL,
            column("segment_name", S, "readable name; 'all users' for NULL"),
            *WINDOW,
            GRANULARITY,
            OUTPUT_NAME,
            METRIC,
            TEST,
            column("score", D, "bias-corrected score"),
            column("threshold", D, "the score from which it is a breach"),
            column("threshold_origin", S, "set, or how it was calibrated"),
            column("p_value", D, "of the paired test"),
            column("q_value", D, "p_value after all segments, tests and windows"),
            column("n_requests", L, "paired requests counted"),
            column("message", S, "the breach in one sentence"),
        ]
    ),
    key=("run_id", "segment_id", "window_start", "output", "metric"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SIZE_METRIC = column("size_metric", S, "what breaches; kl_nats stands for any of a distribution")

DRIFT_CONTRIBUTIONS = TableContract(
    name="drift_contributions",
    comment="Signed part of each breach that each request type brings; parts sum to the whole",
    made_by="attribute-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT_OR_ALL,
            OUTPUT_NAME,
            column("test", S, "distribution, mean or size"),
            SIZE_METRIC,
            TYPE,
            column("n_requests", L, "requests of the type in the breaching windows"),
            column("request_share", D, "of the segment's requests there, 0..1"),
            column("contribution", D, "part of the test statistic (size: of the sum), signed"),
            column("share", D, "contribution over its sum; sums to 1 over the request types"),
            column("statistic", D, "test statistic that contributions sum to; NULL for sizes"),
            column("size_contribution", D, "part of size_metric, over the breaching windows"),
            column("size_share", D, "size_contribution over its sum"),
            column("rank", N, "1 = drives the drift most"),
        ]
    ),
    key=("run_id", "segment_id", "output", "test", "size_metric", "request_type"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

_DIMENSION = "request_type, a mapped feature or profile attribute, 'hour of day', 'part of week'"
_VALUE = "a category or range; '(other)' = a rarer category, '(missing)' = none"
DRIFT_DRIVERS = TableContract(
    name="drift_drivers",
    comment="Sub-populations that bring more of a breaching segment's drift than their size does; "
    "suggested by half of the users, tested in the other half",
    made_by="attribute-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT,
            OUTPUT_NAME,
            column("test", S, "distribution, mean or size"),
            SIZE_METRIC,
            column("rank", N, "1 = the most share beyond request_share"),
            column("dimension_1", S, _DIMENSION),
            column("value_1", S, _VALUE),
            column("dimension_2", S, "the second condition, as well as the first; NULL = none"),
            column("value_2", S, "as value_1; NULL = no second condition"),
            column("n_requests", L, "its paired requests in the breaching windows"),
            column("request_share", D, "of the segment's paired requests there, 0..1"),
            column("contribution", D, "its part of the test statistic (size: of the sum), signed"),
            column("share", D, "contribution over the whole; sub-populations overlap"),
            column("lift", D, "share / request_share; 1 = drifts like the segment"),
            column("p_value", D, "of a mean like the rest's, users as units; NULL = too few users"),
            column("q_value", D, "p_value after all that were tested in the run"),
            column("status", S, "'confirmed' (q_value <= alpha, drifts more) or 'not confirmed'"),
            column("n_searched", L, "sub-populations that were looked at in the segment"),
        ]
    ),
    key=(
        "run_id", "segment_id", "output", "test", "size_metric", "dimension_1", "value_1",
        "dimension_2", "value_2",
    ),
    slice_by=("run_id",),
    partition_by=("run_id",),
)  # fmt: skip

_ACCURACY = _struct(
    expected_accuracy=D,
    rescaled_accuracy=D,
    calibration_gap_baseline=D,
    calibration_gap=D,
    p_value=D,
    q_value=D,
)
_MIX_PART = _struct(
    dimension=S, mix_part=D, rate_part=D, js_distance=D, psi=D, p_value=D, q_value=D
)
DRIFT_REASONS = TableContract(
    name="drift_reasons",
    comment="Why a segment drifts: its windows in breach against its windows before the drift",
    made_by="attribute-drift",
    schema=StructType(
        [
            RUN,
            VERSION,
            SEGMENT,
            OUTPUT_NAME,
            column("test", S, "distribution, mean or size"),
            SIZE_METRIC,
            column(
                "verdict",
                S,
                "inputs (the requests changed), models (they answer the same requests apart), "
                "outcomes (production became wrong about what happens), mixed, or no baseline",
            ),
            column("reason", S, "the verdict in a sentence"),
            column("dimension", S, "whose mix brings a fifth of score_change or more; NULL = none"),
            column("mix_share", D, "the most that the mix of one dimension brings of it, 1 = all"),
            column("baseline_start", T, "first instant of the windows before the drift, UTC"),
            column("n_baseline", L, "paired requests before the drift"),
            column("score_baseline", D, "mean of a request's part of the statistic before"),
            column("score_change", D, "the same mean in the breaching windows, less that"),
            column(
                "dimensions",
                ArrayType(_MIX_PART),
                "per dimension, most mix_part first: score_change = mix_part (other shares of "
                "values, scores as before) + rate_part (other scores); js_distance 0..1 and psi of "
                "the mix, corrected for noise; p and q of an unchanged mix, users as units",
            ),
            *(
                column(
                    side,
                    _ACCURACY,
                    f"{side} model: mean confidence in the breaching windows; that times hits per "
                    "confidence before the drift; confidence - hits before and in the breaching "
                    "windows; p and q of no change of it",
                )
                for side in ("production", "experimental")
            ),
        ]
    ),
    key=("run_id", "segment_id", "output", "test", "size_metric"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

SYNTHESIZERS = TableContract(
    name="synthesizers",
    comment="The generator of all segments (segment_id NULL), and who serves each drifting segment",
    made_by="fit-generators",
    schema=StructType(
        [
            RUN,
            column("segment_id", S, "the drifting segment; NULL = the generator of all segments"),
            column("synthesizer_version", S, "hash of data, settings and segment"),
            column("kind", S, "vae, gan or mixture: of what serves"),
            column(
                "status", S, "of this run's training: fitted, no_gain, insufficient_data, failed"
            ),
            column("served_by", S, "segment, all, serving (an earlier run's) or resampled"),
            column("reason", S, "of the status"),
            column("why", S, "why this one serves"),
            column("n_rows", L, "rows it learnt from, held-out ones included"),
            column("n_left_out", L, "rows that break a declared range or constraint"),
            column("n_epochs", N, "epochs trained"),
            column("best_epoch", N, "epoch whose weights are kept; NULL = none are"),
            column("base_nats", D, "held-out loss of the generator of all segments, nats per row"),
            column("validation_nats", D, "held-out loss of the kept weights, nats per row"),
            column("kl_nats", D, "latent's KL to its prior, nats per row"),
            column("device", S, "cuda or cpu"),
            column(
                "curves",
                ArrayType(
                    _struct(epoch=N, train_nats=D, validation_nats=D, kl_nats=D, membership=D)
                ),
                "losses per epoch, and the advantage of an attacker who goes by them",
            ),
            column("source_version", S, "version of the request table that was read"),
            column("fingerprint", S, "hash of the staged training rows"),
            column("epsilon", D, "differential privacy of one user's requests; NULL = none"),
            column("delta", D, "with epsilon"),
            column("codec_json", S, "the reversible encoder: columns, bins, categories"),
            column("profiles_json", S, "axes that describe a segment to the generator"),
            column("profile", ArrayType(D), "the segment on these axes"),
            column("round", N, "1 for the first run of this history that fitted, then 2, ..."),
            column("base_run_id", S, "run whose generator of all segments this one builds on"),
            column("weights", BinaryType(), "safetensors: the generator, or what a segment adds"),
            column("mlflow_run_id", S, "run with curves, cards and the logged model"),
        ]
    ),
    key=("run_id", "segment_id"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

GENERATOR_SCORES = TableContract(
    name="generator_scores",
    comment="What every generator showed at the gate, per drifting segment and score",
    made_by="fit-generators",
    schema=StructType(
        [
            RUN,
            SEGMENT,
            column("candidate", S, "segment, all, or serving: what an earlier run left serving"),
            column("synthesizer_version", S, "of the candidate"),
            column("judged_on", S, "the segment, or all drifting segments together"),
            column("n_test", L, "held-out rows it was judged by"),
            column("score", S, "c2st, shapes, pairs, utility, dcr_share, nndr_gap, ..."),
            column("direction", S, "at most or at least: what the limit is"),
            column("value", D, "of the candidate; NULL = cannot be computed"),
            column("standard_error", D, "of the value; NULL = unknown"),
            column("half_vs_half", D, "the same of real rows: the good end of the scale"),
            column("independent", D, "the same of columns drawn apart: the bad end"),
            column("limit", D, "of generator.gate, loosened by what so few rows can tell"),
            column("passed", BooleanType(), "within the limit, or not computable"),
            column("note", S, "why it is refused, the limit loosened, or the score NULL"),
        ]
    ),
    key=("run_id", "segment_id", "candidate", "score"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

GENERATOR_ROUNDS = TableContract(
    name="generator_rounds",
    comment="Per round and drifting segment: the fresh generator beside the one that served",
    made_by="fit-generators",
    schema=StructType(
        [
            RUN,
            SEGMENT,
            column("round", N, "1, 2, ... over the runs of a history of segments"),
            column("segmentation", S, "the history of segments"),
            column("fresh_candidate", S, "segment or all: which of this run's was compared"),
            column("fresh_version", S, "synthesizer fitted in this run; NULL = none was"),
            column("serving_version", S, "synthesizer that served until now; NULL = none"),
            column("serving_run_id", S, "run it was fitted in"),
            column("kept", S, "fresh, serving, or resampled: neither passed"),
            column("why", S, "in a sentence"),
            column("fresh_c2st_auc", D, "of the fresh one, .5 = cannot be told from real"),
            column("serving_c2st_auc", D, "of the other, on the same held-out rows"),
            column("fresh_quality", D, "mean likeness of columns and pairs of columns, 0..1"),
            column("serving_quality", D, "of the other"),
            column("serving_effect_per_1000", D, "more disagreements when it last served"),
            column("serving_effect_ci_low", D, "lower end of its interval"),
        ]
    ),
    key=("run_id", "segment_id"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

PROVENANCE = [
    column("rehearsal_run_id", S, "the rehearsal this row belongs to"),
    column("rehearsal_origin", S, "logged or synthetic"),
    column(
        "rehearsal_synthesizer_version",
        S,
        "generator of a synthetic row; `resampled`: a logged request again, no generator passed",
    ),
    column("rehearsal_segment_id", S, "segment the row was generated for"),
    column("rehearsal_base_request_type", S, "request type the row was asked to have"),
    column(
        "rehearsal_weight",
        D,
        "n / (n + m) where a segment's type has n logged, m synthetic rows; else 1",
    ),
]

SYNTHETIC_REQUESTS = TableContract(
    name="synthetic_requests",
    comment="Generated requests in the user's own columns, with provenance",
    made_by="synthesize",
    schema=StructType(PROVENANCE),
    key=(),
    slice_by=("rehearsal_run_id",),
    partition_by=("rehearsal_run_id",),
    open=True,
)

FIDELITY = TableContract(
    name="fidelity",
    comment="Marginals of logged and synthetic requests side by side, per targeted segment",
    made_by="synthesize",
    schema=StructType(
        [
            RUN,
            SEGMENT,
            column("column_name", S, "column of the request"),
            column("kind", S, "continuous, categorical or datetime"),
            column("bin", N, "position of the bin or category"),
            column("label", S, "range or category"),
            column("n_logged", L, "logged requests of the targeted types"),
            column("n_synthetic", L, "synthetic requests"),
            column("logged_share", D, "0..1, weighted to the request types of the synthetic rows"),
            column("synthetic_share", D, "0..1"),
        ]
    ),
    key=("run_id", "segment_id", "column_name", "bin"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

AUGMENTED_REQUESTS = TableContract(
    name="augmented_requests",
    comment="Logged and synthetic requests in the user's own columns, with provenance",
    made_by="augment",
    schema=StructType(PROVENANCE),
    key=(),
    slice_by=("rehearsal_run_id",),
    partition_by=("rehearsal_run_id",),
    open=True,
)

EFFECTS = TableContract(
    name="effects",
    comment="How often the models disagree on the logged and on the augmented stream",
    made_by="measure-effect",
    schema=StructType(
        [
            RUN,
            column("scope", S, "all, segment, or cell (segment and request type)"),
            SEGMENT_OR_ALL,
            column("request_type", S, "targeted request type; NULL = all"),
            column("n_baseline", L, "logged requests"),
            column("n_augmented", L, "logged and synthetic requests"),
            column("n_users", L, "distinct users"),
            column("disagreements_baseline", L, "logged requests the models disagree on"),
            column("disagreements_augmented", L, "of both origins"),
            column("baseline_per_1000", D, "disagreements per 1,000 logged requests"),
            column("baseline_ci_low", D, "user-clustered interval"),
            column("baseline_ci_high", D, "user-clustered interval"),
            column("augmented_per_1000", D, "disagreements per 1,000 augmented requests"),
            column("augmented_ci_low", D, "user-clustered interval"),
            column("augmented_ci_high", D, "user-clustered interval"),
            column("effect_per_1000", D, "augmented minus baseline"),
            column("effect_ci_low", D, "user-clustered, the logged part shared by both"),
            column("effect_ci_high", D, "user-clustered, the logged part shared by both"),
        ]
    ),
    key=("run_id", "scope", "segment_id", "request_type"),
    slice_by=("run_id",),
    partition_by=("run_id",),
)

ALERT_DELIVERIES = TableContract(
    name="alert_deliveries",
    comment="Who was told of which breach of a release; told again only when it is worse",
    made_by="notify",
    schema=StructType(
        [
            column(
                "release",
                S,
                "the pair of models and the history of segments, whatever the run; stored outputs: "
                "the run",
            ),
            column("production_model", S, "resolved model, or 'stored'"),
            column("experimental_model", S, "resolved model, or 'stored'"),
            column("sink", S, "name in notify.sinks"),
            SEGMENT_OR_ALL,
            OUTPUT_NAME,
            METRIC,
            column("ratio", D, "|score| / threshold in its worst window, the most that was told"),
            column("run_id", S, "the run that told it last, or tried to"),
            column("status", S, "delivered, or failed: the next run tries again"),
            column("reason", S, "why it failed; never the sink's URL"),
            column("n_attempts", N, "of the last run that tried; 0 = there was no usable URL"),
        ]
    ),
    key=("release", "sink", "segment_id", "output", "metric", "status"),
    slice_by=("release",),
    partition_by=("release",),
)

ALL = (
    QUARANTINE,
    USER_ACTIVITY,
    USER_FEATURES,
    SEGMENTATIONS,
    SEGMENT_ASSIGNMENTS,
    SEGMENTS,
    SEGMENT_PROFILES,
    SEGMENT_SAMPLES,
    SEGMENT_MIGRATIONS,
    REPLAYS,
    DRIFT_BINS,
    DRIFT_COUNTS,
    DRIFT_SCORES,
    DRIFT_ONSETS,
    DRIFT_METRICS,
    ALERTS,
    DRIFT_CONTRIBUTIONS,
    DRIFT_DRIVERS,
    DRIFT_REASONS,
    SYNTHESIZERS,
    GENERATOR_SCORES,
    GENERATOR_ROUNDS,
    SYNTHETIC_REQUESTS,
    FIDELITY,
    AUGMENTED_REQUESTS,
    EFFECTS,
    ALERT_DELIVERIES,
)
