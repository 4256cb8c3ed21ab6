"""The configuration as frozen, typed values: what each key means and may hold."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictStr,
    Tag,
    field_serializer,
    model_validator,
)

METRICS = (
    "kl_nats", "kl_reverse_nats", "js_nats", "js_distance", "psi", "tv_distance",
    "l_infinity_distance", "ks_distance", "wasserstein_distance", "flip_rate", "mean_kl_nats",
    "mse", "relative_mse", "mae", "mean_change", "kpi_relative_change",
)  # fmt: skip
OUTPUTS = ("value", "class", "missing", "expected_accuracy", "calibration", "log_loss")
"""What both models say of a request, beside KPIs."""
_BINNED = METRICS[:7]
OUTPUT_METRICS = {
    "value": (*_BINNED, "ks_distance", "wasserstein_distance", "flip_rate", "mse", "relative_mse",
              "mae", "mean_change"),
    "class": (*_BINNED, "flip_rate", "mean_kl_nats"),
    **dict.fromkeys(OUTPUTS[2:], ("mean_change",)),
}  # fmt: skip
KPI_METRICS = ("mean_change", "kpi_relative_change")
NOISE_METRICS = (
    "kl_nats", "kl_reverse_nats", "js_nats", "psi", "tv_distance", "l_infinity_distance",
    "ks_distance", "wasserstein_distance", "mean_change", "kpi_relative_change",
)  # fmt: skip
"""Metrics that are 0 but for noise when the two models' outputs are swapped at random."""


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_utc)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]
Window = Literal["day", "week", "month"]


class Strict(BaseModel):
    """Base of every section: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Strict):
    """Where one of the user's own tables is: a catalog `table`, or a `path` with its format."""

    table: Name | None = None
    path: Name | None = None
    format: Literal["delta", "parquet"] = "delta"

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if (self.table is None) == (self.path is None):
            raise ValueError("give exactly one of 'table' (catalog.schema.name) and 'path'")
        return self

    @property
    def label(self) -> str:
        """The table's name or path, as messages and the quarantine show it."""
        return self.table or self.path or ""


class RequestColumns(Strict):
    """Which of the user's columns is which, in the request log."""

    request_id: Name
    user_id: Name
    request_type: Name
    requested_at: Name
    continuous: tuple[Name, ...] = ()
    categorical: tuple[Name, ...] = ()
    datetime: tuple[Name, ...] = ()
    outcome: Name | None = None

    @model_validator(mode="after")
    def _no_column_twice(self) -> "RequestColumns":
        payload = [*self.continuous, *self.categorical, *self.datetime]
        names = [self.request_id, self.user_id, self.request_type, self.requested_at, *payload]
        _refuse_repeats([*names, self.outcome] if self.outcome else names)
        keys = ("request_id", "user_id", "request_type", "requested_at")
        clashing = sorted(set(keys) & set(payload))
        if clashing:
            raise ValueError(
                f"column {', '.join(clashing)} has the name of a key but is mapped as a feature; "
                "give the models a copy under another name"
            )
        return self

    @property
    def payload(self) -> tuple[str, ...]:
        """The request's own features, in the order mapped."""
        return (*self.continuous, *self.categorical, *self.datetime)


class UserColumns(Strict):
    """Which of the user's columns is which, in the profile table."""

    user_id: Name
    continuous: tuple[Name, ...] = ()
    categorical: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _no_column_twice(self) -> "UserColumns":
        _refuse_repeats([self.user_id, *self.attributes])
        return self

    @property
    def attributes(self) -> tuple[str, ...]:
        """The profile attributes, in the order mapped."""
        return (*self.continuous, *self.categorical)


def _refuse_repeats(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"column {', '.join(repeated)} is mapped more than once")


class RequestSource(Source):
    """The request log."""

    columns: RequestColumns


class UserSource(Source):
    """The user profiles."""

    columns: UserColumns


STORED = "stored"
"""What tables say instead of a model's name where its outputs come from the log."""


class StoredOutput(Strict):
    """Columns of the request log that already hold a model's output."""

    value: Name | None = None
    probabilities: dict[str, Name] = Field(
        default={}, description="class label -> column with its probability"
    )

    @model_validator(mode="after")
    def _something(self) -> "StoredOutput":
        if self.value is None and not self.probabilities:
            raise ValueError("map 'value', 'probabilities' (class: column), or both")
        return self


class ModelSource(Strict):
    """One of the two models: an MLflow `uri`, or its `stored` outputs in the request log."""

    uri: Name | None = None
    stored: StoredOutput | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "ModelSource":
        if (self.uri is None) == (self.stored is None):
            raise ValueError(
                "give exactly one of 'uri' (models:/name@alias, runs:/..., a path) and 'stored'"
            )
        return self


class Models(Strict):
    """The pair on rehearsal."""

    production: ModelSource
    experimental: ModelSource

    @model_validator(mode="after")
    def _same_kind(self) -> "Models":
        if (self.production.uri is None) != (self.experimental.uri is None):
            raise ValueError("both models need a 'uri', or both need 'stored' outputs")
        return self

    @property
    def stored(self) -> bool:
        """True when outputs come from the log, so that nothing can be scored afresh."""
        return self.production.uri is None


class Output(Strict):
    """Where Rehearsal's own tables and report go: a folder `path`, or a catalog `schema`."""

    path: Name | None = None
    catalog_schema: Name | None = Field(default=None, alias="schema")
    report: Name = ".rehearsal/report.html"
    scratch: Name | None = Field(
        default=None,
        description="folder all workers reach, for training snapshots; default: beside `path`",
    )

    @model_validator(mode="after")
    def _one_place(self) -> "Output":
        if (self.path is None) == (self.catalog_schema is None):
            raise ValueError("give exactly one of 'path' (a folder) and 'schema' (catalog.schema)")
        if self.catalog_schema is not None and self.scratch is None:
            raise ValueError("'schema' needs 'scratch', a folder that all workers reach")
        return self

    @property
    def scratch_path(self) -> str:
        """The folder for files that live no longer than a step."""
        return self.scratch or f"{self.path}/_scratch"


class Production(Strict):
    """What must never be written to, whatever the rest of the configuration says."""

    schemas: tuple[Name, ...] = ()
    paths: tuple[Name, ...] = ()


class Mlflow(Strict):
    """Where runs, curves, models and the report are logged."""

    tracking_uri: Name | None = None
    experiment: Name = "rehearsal"
    artifacts: Name | None = None


class Replay(Strict):
    """Which requests are replayed: `start` <= requested_at < `end`, UTC."""

    start: Instant
    end: Instant
    batch_rows: int = Field(10_000, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Replay":
        if self.start >= self.end:
            raise ValueError(f"'start' ({self.start}) must come before 'end' ({self.end})")
        return self


FeatureGroup = Literal[
    "activity", "value", "gaps", "sessions", "time", "trend", "outcome",
    "type counts", "type shares", "profile",
]  # fmt: skip
Method = Literal["kmeans", "bisecting", "mixture", "dbscan"]
Share = Annotated[float, Field(ge=0, le=1)]


class Dbscan(Strict):
    """Density clusters; users in no dense place are the segment 'noise'."""

    eps: Positive | None = Field(
        default=None, description="radius in scaled units; default: knee of the k-distance curve"
    )
    min_points: int = Field(10, ge=1, description="neighbours, the user included, of a core user")
    features: tuple[Name, ...] = Field(
        default=(), max_length=4, description="at most 4 features by name; default: PCA of all"
    )
    components: int = Field(3, ge=1, le=4, description="PCA components when no features are named")
    assign_noise: bool = Field(
        default=False, description="put noise into the nearest cluster, flagged in is_noise"
    )


class Adapt(Strict):
    """When a segmentation is fitted again, and when a user changes segment."""

    psi: Positive = Field(0.1, description="change of the segment mix that asks for a refit")
    psi_cold: Positive = Field(0.25, description="change of the mix that asks for a cold refit")
    cost_rise: Positive = Field(0.03, description="rise of cost per user that asks for a refit")
    far_share: Share = Field(
        0.05, description="share of users beyond what 99% were within at the fit; asks for a refit"
    )
    silhouette_drop: Positive = Field(0.05, description="fall that asks for a refit")
    cold_gain: Positive = Field(
        0.03, description="how much better a fit from scratch must be to replace a warm one"
    )
    hysteresis: float = Field(
        0.2, ge=0, lt=1, description="move only if d2(new) < (1 - hysteresis) * d2(old) ..."
    )
    patience: int = Field(3, ge=1, description="... or if nearest for so many runs in a row")


class Migration(Strict):
    """When a flow of users between two segments is unusual."""

    alpha: float = Field(0.05, gt=0, lt=1, description="false discovery rate of the alerts")
    min_users: int = Field(20, ge=1)
    times_expected: float = Field(2.0, ge=1, description="at least so many times the usual flow")
    value_jump: float = Field(
        2.0, gt=1, description="mean value of the two segments apart by this factor: up or down"
    )


class Segments(Strict):
    """Users in segments by behaviour before `as_of`, with ids that keep their meaning."""

    name: Annotated[str, Field(pattern=r"^\w[\w.:-]{0,99}$")] = Field(
        "main", description="the history of segments this run goes on with"
    )
    method: Method = "kmeans"
    k_min: int = Field(4, ge=1)
    k_max: int = Field(10, ge=1)
    as_of: Instant | None = Field(
        default=None, description="behaviour before it counts; default: the replay's start"
    )
    group_weights: dict[FeatureGroup, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="weight of a feature group in the distance; default: 1 each"
    )
    value: Name | None = Field(
        default=None, description="continuous request column that is a request's value, e.g. USD"
    )
    history_days: int = Field(365, ge=1)
    recent_days: int = Field(28, ge=1, description="span of the trend features")
    min_history_requests: int = Field(1, ge=1, description="fewer: the user is in segment 'cold'")
    fit_sample_users: int = Field(50_000, ge=100)
    max_request_types: int = Field(50, ge=1)
    max_categories: int = Field(20, ge=1)
    max_iterations: int = Field(20, ge=1)
    restarts: int = Field(10, ge=1, description="starts for each k; the cheapest is kept")
    pca: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="share of variance the components keep; default: no PCA"
    )
    min_segment_share: Share = Field(
        0.001, description="smaller segments are merged (dbscan: count as noise) or flagged"
    )
    small_segments: Literal["merge", "flag"] = "merge"
    dbscan: Dbscan = Dbscan()
    adapt: Adapt = Adapt()
    migration: Migration = Migration()

    @model_validator(mode="after")
    def _range(self) -> "Segments":
        if self.k_min > self.k_max:
            raise ValueError(f"'k_min' ({self.k_min}) is above 'k_max' ({self.k_max})")
        return self


def metrics_of(output: str) -> tuple[str, ...]:
    """Return what an output, one of `OUTPUTS` or a KPI, is measured by."""
    return OUTPUT_METRICS.get(output, KPI_METRICS)


class NoiseFloor(Strict):
    """A threshold no drift without cause exceeds: a quantile of the noise of each segment."""

    noise: float = Field(gt=0.5, lt=1, description="quantile, e.g. 0.99")
    run: Name | None = Field(
        default=None,
        description="run of production against itself; default: outputs swapped at random by user",
    )


class PastWindows(Strict):
    """A threshold from the segment's own past: mean + sigmas x standard deviation."""

    sigmas: Positive = 3.0
    windows: int = Field(8, ge=3, description="so many windows before, at least 3 of them scored")


def _kind_of_threshold(given: object) -> str:
    if isinstance(given, PastWindows) or (isinstance(given, dict) and "sigmas" in given):
        return "<past>"
    return "<noise>" if isinstance(given, NoiseFloor | dict) else "<number>"


Threshold = Annotated[
    Annotated[Positive | None, Tag("<number>")]
    | Annotated[NoiseFloor, Tag("<noise>")]
    | Annotated[PastWindows, Tag("<past>")],
    Discriminator(_kind_of_threshold),
]
"""A number; or how each segment's own is found. The kind is told first, so that a fault is one."""


class Thresholds(Strict):
    """The score from which a significant difference is a breach; null never breaches."""

    kl_nats: Threshold = 0.05
    kl_reverse_nats: Threshold = None
    js_nats: Threshold = None
    js_distance: Threshold = None
    psi: Threshold = None
    tv_distance: Threshold = None
    l_infinity_distance: Threshold = None
    ks_distance: Threshold = None
    wasserstein_distance: Threshold = None
    flip_rate: Threshold = None
    mean_kl_nats: Threshold = None
    mse: Threshold = None
    relative_mse: Threshold = None
    mae: Threshold = None
    mean_change: Threshold = None
    kpi_relative_change: Threshold = 0.1

    @model_validator(mode="after")
    def _noise_is_defined(self) -> "Thresholds":
        for name in type(self).model_fields:
            held = getattr(self, name)
            swapped = isinstance(held, NoiseFloor) and held.run is None
            if swapped and name not in NOISE_METRICS:
                raise ValueError(
                    f"{name} is not 0 without drift, so that swapping outputs at random says "
                    f"nothing; give 'run', or one of {', '.join(NOISE_METRICS)}"
                )
        return self


Spending = Literal["even", "endless"]


class Persistence(Strict):
    """A breach needs `of` windows: this one and the last, `breaching` of them over threshold."""

    breaching: int = Field(1, ge=1)
    of: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _possible(self) -> "Persistence":
        if self.breaching > self.of:
            raise ValueError(f"'breaching' ({self.breaching}) is above 'of' ({self.of})")
        return self


class Drift(Strict):
    """How drift is binned, windowed, tested and held against thresholds."""

    window: Window = "week"
    bins: int = Field(10, ge=2, le=50)
    value_edges: tuple[float, ...] | None = Field(
        default=None, description="inner bin edges of the value; default: production's quantiles"
    )
    bins_version: Name | None = Field(default=None, description="reuse the bins of an earlier run")
    min_requests: int = Field(200, ge=2)
    min_users: int = Field(20, ge=2)
    alpha: float = Field(0.05, gt=0, lt=1, description="false discovery rate over all windows")
    spending: Spending = Field(
        "even",
        description="alpha over the replay's windows, to a fixed end; endless: for one that grows",
    )
    persistence: Persistence = Persistence()
    thresholds: Thresholds = Thresholds()
    output_thresholds: dict[Name, Thresholds] = Field(
        default={}, description="output or KPI -> metric -> threshold, in place of `thresholds`"
    )

    def thresholds_of(self, output: str) -> Thresholds:
        """Return the thresholds of one output: its own where it has any, else those of all."""
        own = self.output_thresholds.get(output)
        if own is None:
            return self.thresholds
        return self.thresholds.model_copy(
            update={metric: getattr(own, metric) for metric in own.model_fields_set}
        )

    @field_serializer("output_thresholds")
    def _own_alone(self, held: dict[str, Thresholds]) -> dict[str, dict[str, Any]]:
        """Leave out what was not set: written down and read again, it would be set to its default.

        And be refused, of a metric that the output does not have.
        """
        return {name: own.model_dump(exclude_unset=True) for name, own in held.items()}

    @model_validator(mode="after")
    def _metrics_of_their_outputs(self) -> "Drift":
        for output, own in self.output_thresholds.items():
            lacking = sorted(own.model_fields_set - set(metrics_of(output)))
            if lacking:
                kpi = f"a KPI, which all but {', '.join(OUTPUTS)} are"
                raise ValueError(
                    f"output_thresholds.{output}.{lacking[0]}: no metric of "
                    f"{'this output' if output in OUTPUTS else kpi}; "
                    f"allowed: {', '.join(metrics_of(output))}"
                )
        return self

    @model_validator(mode="after")
    def _edges_rise(self) -> "Drift":
        edges = self.value_edges
        if edges is not None and (not edges or list(edges) != sorted(set(edges))):
            raise ValueError("'value_edges' must rise strictly and hold at least one number")
        return self


class MeanKpi(Strict):
    """Mean of the model's value."""

    kind: Literal["mean_value"]


class ClassRateKpi(Strict):
    """Share of requests whose most probable class is `label`."""

    kind: Literal["class_rate"]
    label: str


class AccuracyKpi(Strict):
    """Share of requests whose most probable class equals the logged outcome."""

    kind: Literal["accuracy"]


class AbsoluteErrorKpi(Strict):
    """Mean |value - logged outcome|."""

    kind: Literal["absolute_error"]


class RatioKpi(Strict):
    """Sum of one KPI per sum of another, over the requests that have both under both models."""

    kind: Literal["ratio"]
    numerator: Name
    denominator: Name


RequestKpi = MeanKpi | ClassRateKpi | AccuracyKpi | AbsoluteErrorKpi
"""What a request has of its own."""
Kpi = Annotated[RequestKpi | RatioKpi, Field(discriminator="kind")]


class AtMost(Strict):
    """In every request the one number is at most the other: `column` <= `other`."""

    kind: Literal["at_most"]
    column: Name
    other: Name

    @model_validator(mode="after")
    def _two_columns(self) -> "AtMost":
        if self.column == self.other:
            raise ValueError(f"'column' and 'other' are both {self.column!r}")
        return self


class Implied(Strict):
    """Where `column` has the value `is`, the number `then` has the value `value`, e.g. 0."""

    kind: Literal["implied"]
    column: Name
    value_is: StrictBool | StrictStr | float = Field(alias="is")
    then: Name
    value: float = 0.0

    @model_validator(mode="after")
    def _two_columns(self) -> "Implied":
        if self.column == self.then:
            raise ValueError(f"'column' and 'then' are both {self.column!r}")
        return self

    @property
    def category(self) -> str:
        """The value as a category: a boolean is the one that its text is."""
        truth = isinstance(self.value_is, bool)
        return str(self.value_is).lower() if truth else str(self.value_is)


Constraint = Annotated[AtMost | Implied, Field(discriminator="kind")]


class Private(Strict):
    """Differential privacy of the requests of any one user: who is in the log cannot be told.

    Of codec and generator, that is: scores and tables are of real requests and stay inside. The
    generator is a mixture, and all rows not held out are learnt from: `max_rows` and `context_rows`
    do not hold, and more than `max_total_rows` are refused. Every fit spends the budget again, and
    what fits on the same users spend adds up.
    """

    epsilon: Positive = Field(description="the budget of one fit; 1 to 10 are common")
    delta: float = Field(1e-6, gt=0, lt=1e-2, description="well below 1 / number of users")
    max_user_rows: int = Field(20, ge=1, description="rows of one user that are learnt from")


class Gate(Strict):
    """What a generator must show, per segment, before its requests are used."""

    max_c2st: float = Field(0.75, gt=0.5, le=1, description="AUC of telling real from synthetic")
    min_shapes: float = Field(0.9, ge=0, le=1, description="likeness of single columns")
    min_pairs: float = Field(0.85, ge=0, le=1, description="likeness of pairs of columns")
    min_utility: float = Field(0.85, ge=0, le=1, description="TSTR as a share of TRTR")
    max_dcr_share: float = Field(0.55, ge=0.5, le=1, description="rows nearer to training rows")
    max_nndr_gap: float = Field(0.1, ge=0, le=1, description="NNDR lower beside training rows")
    max_exact: float = Field(0.01, ge=0, le=1, description="copies of training rows")
    max_membership: float = Field(0.15, ge=0, le=1, description="advantage of the best attack")
    min_rows: int = Field(40, ge=10, description="held-out rows to judge a segment by itself")


class Generator(Strict):
    """One conditional generator of all segments, and what a segment adds to it."""

    kind: Literal["auto", "vae", "gan", "mixture"] = Field(
        "auto", description="auto: a mixture for fewer than 2,000 rows in all, else a VAE"
    )
    max_segments: int = Field(100, ge=1, description="drifting segments served, worst first")
    min_rows: int = Field(100, ge=20, description="rows below which a segment adds nothing itself")
    max_rows: int = Field(50_000, ge=100, description="rows of a drifting segment, by hash")
    context_rows: int = Field(1_000, ge=0, description="rows of every other segment")
    max_total_rows: int = Field(300_000, ge=1_000)
    bins: int = Field(32, ge=4, le=256)
    max_categories: int = Field(100, ge=2)
    min_count: int = Field(10, ge=1, description="fewer rows per category or bin are pooled")
    ranges: dict[Name, tuple[float, float]] = Field(
        default_factory=dict, description="column -> [lowest, highest] valid value"
    )
    constraints: tuple[Constraint, ...] = Field(
        (), description="what every request keeps: at_most (column <= other), implied"
    )
    hidden: int = Field(128, ge=8)
    latent: int = Field(8, ge=1)
    components: int = Field(200, ge=1, description="of the mixture")
    max_epochs: int = Field(60, ge=1)
    patience: int = Field(6, ge=1)
    batch_rows: int = Field(256, ge=8)
    learning_rate: Positive = 2e-3
    validation_share: float = Field(0.15, gt=0, lt=0.4, description="decides when to stop")
    test_share: float = Field(0.15, gt=0, lt=0.4, description="what the gate judges by")
    processes: int = Field(1, ge=1, description="that train the generator of all segments at once")
    task_minutes: int = Field(120, ge=1, description="the longest a training or judgement may take")
    private: Private | None = None
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _ranges_hold_values(self) -> "Generator":
        empty = [name for name, (low, high) in self.ranges.items() if low >= high]
        if empty:
            low, high = self.ranges[empty[0]]
            raise ValueError(
                f"ranges.{empty[0]}: the lowest, {low}, is not below the highest, {high}"
            )
        for position, rule in enumerate(self.constraints):
            if isinstance(rule, Implied) and rule.then in self.ranges:
                low, high = self.ranges[rule.then]
                if not low <= rule.value <= high:
                    raise ValueError(
                        f"constraints.{position}.value: {rule.value} is outside "
                        f"ranges.{rule.then}, [{low}, {high}]"
                    )
        return self

    @model_validator(mode="after")
    def _no_circle(self) -> "Generator":
        above: dict[str, set[str]] = {}
        for rule in self.constraints:
            if isinstance(rule, AtMost):
                above.setdefault(rule.column, set()).add(rule.other)
        for start, others in above.items():
            reached, fresh = set[str](), others
            while fresh:
                reached |= fresh
                fresh = {name for at in fresh for name in above.get(at, ())} - reached
            if start in reached:
                raise ValueError(
                    f"constraints: by at_most {start!r} is at most itself, in a circle"
                )
        return self

    @model_validator(mode="after")
    def _one_value_implied(self) -> "Generator":
        implied: dict[tuple[str, str, str], float] = {}
        for rule in self.constraints:
            if isinstance(rule, Implied):
                key = (rule.column, rule.category, rule.then)
                if implied.setdefault(key, rule.value) != rule.value:
                    raise ValueError(
                        f"constraints: where {rule.column} is {rule.value_is!r}, {rule.then} "
                        f"cannot be both {implied[key]} and {rule.value}"
                    )
        return self


class Augment(Strict):
    """How many synthetic requests, as a share of the targeted segments' logged requests."""

    synthetic_share: float = Field(0.5, gt=0, le=20)
    max_synthetic: int = Field(1_000_000, ge=1)
    max_request_types: int = Field(5, ge=1, description="drifting types per segment")


class Effect(Strict):
    """When two outputs of the same request count as a disagreement."""

    value_tolerance: Positive | None = Field(
        default=None, description="|experimental - production| beyond it; default: another bin"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1)


def _variable(value: str) -> str:
    # The fault does not quote the value: it may be the URL itself.
    if not re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII):
        raise ValueError(
            "give the name of an environment variable; the URL is kept there, not here"
        )
    return value


class Sink(Strict):
    """Who is told of breaches: an apprise URL, a secret, so an environment variable holds it."""

    url_env: Annotated[str, AfterValidator(_variable)]

    @model_validator(mode="before")
    @classmethod
    def _no_bare_url(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("give url_env, the environment variable with the URL")  # noqa: TRY004 - pydantic collects no TypeError
        return value


class Prometheus(Strict):
    """Where gauges go: a file for the node exporter, a Pushgateway, or both."""

    textfile: Name | None = None
    pushgateway: Name | None = None
    job: Name = "rehearsal"

    @model_validator(mode="after")
    def _usable(self) -> "Prometheus":
        if self.textfile is not None and not self.textfile.endswith(".prom"):
            raise ValueError("'textfile' must end in .prom, or the node exporter passes it over")
        if self.pushgateway is not None and "@" in self.pushgateway:
            raise ValueError("'pushgateway' is host:port; no user or password belongs here")
        return self


class Notify(Strict):
    """Who is told of a run's breaches, and how often it is tried."""

    sinks: dict[Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")], Sink] = {}
    report_url: Name | None = Field(
        default=None, description="link in the message; default: the path of output.report"
    )
    attempts: int = Field(3, ge=1, le=10, description="per sink and run, after growing pauses")
    prometheus: Prometheus = Prometheus()

    @property
    def configured(self) -> bool:
        """Whether there is anyone or anything to tell."""
        prometheus = self.prometheus
        return bool(self.sinks or prometheus.textfile or prometheus.pushgateway)


class Spark(Strict):
    """The session a bare `rehearsal` command builds; clusters bring their own."""

    master: Name = "local[*]"
    driver_memory: Name = "2g"
    conf: dict[str, str | int | bool] = {}


def _not_an_output(name: str) -> str:
    if name in OUTPUTS:
        raise ValueError(f"{name!r} is the name of an output; no KPI may be {', '.join(OUTPUTS)}")
    return name


class Settings(Strict):
    """One rehearsal."""

    seed: int
    requests: RequestSource
    users: UserSource | None = None
    models: Models
    output: Output
    production: Production = Production()
    mlflow: Mlflow = Mlflow()
    replay: Replay
    segments: Segments = Segments()
    drift: Drift = Drift()
    kpis: dict[Annotated[str, Field(pattern=r"^\w+$"), AfterValidator(_not_an_output)], Kpi] = {}
    generator: Generator = Generator()
    augment: Augment = Augment()
    effect: Effect = Effect()
    notify: Notify = Notify()
    spark: Spark = Spark()

    @model_validator(mode="after")
    def _names_apart(self) -> "Settings":
        attributes = self.users.columns.attributes if self.users else ()
        shared = sorted(set(attributes) & set(self.requests.columns.payload))
        if shared:
            raise ValueError(
                f"column {', '.join(shared)} is mapped in both requests and users; "
                "models could not tell them apart"
            )
        return self

    @model_validator(mode="after")
    def _value_mapped(self) -> "Settings":
        value, known = self.segments.value, self.requests.columns.continuous
        if value is not None and value not in known:
            raise ValueError(
                f"segments.value: {value!r} is none of requests.columns.continuous "
                f"({', '.join(known) or 'empty'})"
            )
        return self

    @model_validator(mode="after")
    def _outputs_known(self) -> "Settings":
        known = (*OUTPUTS, *self.kpis)
        unknown = [name for name in self.drift.output_thresholds if name not in known]
        if unknown:
            raise ValueError(
                f"drift.output_thresholds.{unknown[0]}: no such output; allowed: {', '.join(known)}"
            )
        return self

    @model_validator(mode="after")
    def _ratios_of_kpis(self) -> "Settings":
        own = [name for name, kpi in self.kpis.items() if not isinstance(kpi, RatioKpi)]
        for name, kpi in self.kpis.items():
            if not isinstance(kpi, RatioKpi):
                continue
            for key, part in (("numerator", kpi.numerator), ("denominator", kpi.denominator)):
                if part not in own:
                    raise ValueError(
                        f"kpis.{name}.{key}: {part!r} is no KPI of a request; "
                        f"allowed: {', '.join(own) or 'none, there is no other in kpis'}"
                    )
        return self

    @model_validator(mode="after")
    def _outcomes_mapped(self) -> "Settings":
        needing = sorted(
            name for name, kpi in self.kpis.items() if kpi.kind in ("accuracy", "absolute_error")
        )
        if needing and self.requests.columns.outcome is None:
            raise ValueError(
                f"kpi {', '.join(needing)} needs requests.columns.outcome, the logged truth"
            )
        return self
