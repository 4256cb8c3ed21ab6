"""What the report's words and symbols mean, in one place."""

from dataclasses import dataclass

STATUSES = ("red", "yellow", "green", "insufficient_data")
"""Worst first; a segment has the worst status of its windows that could be judged."""

GLYPHS = {"red": "▲", "yellow": "◆", "green": "✓", "insufficient_data": "–"}
"""Status must be visible by more than colour."""

STATUS_WORDS = {
    "red": "drifts",
    "yellow": "watch",
    "green": "no drift seen",
    "insufficient_data": "too little data",
}
NO_THRESHOLD = "no_threshold"
"""What the page says instead of green where nothing could have been a breach."""

STATUS_NOTES = {
    "red": "significant and over the threshold",
    "yellow": "over the threshold, but not significant or not for long enough",
    "green": "below the threshold",
    "insufficient_data": "not judged",
}

METRIC_LABELS = {
    "kl_nats": "KL(production ‖ experimental), nats",
    "kl_reverse_nats": "KL(experimental ‖ production), nats",
    "js_nats": "Jensen-Shannon divergence, nats",
    "js_distance": "Jensen-Shannon distance",
    "psi": "population stability index",
    "tv_distance": "total variation distance",
    "l_infinity_distance": "largest difference of a share",
    "ks_distance": "Kolmogorov-Smirnov distance",
    "wasserstein_distance": "Wasserstein distance, in its unit",
    "flip_rate": "share of requests answered differently",
    "mean_kl_nats": "mean KL per request, nats",
    "mse": "mean squared difference",
    "relative_mse": "mean squared difference ÷ production's variance",
    "mae": "mean absolute difference",
    "mean_change": "change of the mean",
    "kpi_relative_change": "relative change",
}


@dataclass(frozen=True)
class Term:
    """One metric or output: its formula in words, unit, range, and what more of it means."""

    words: str
    unit: str
    span: str
    direction: str


_APART = "higher = further apart"
_SYMMETRIC = f"{_APART}; symmetric"
_UP = "0 = the same, no upper end"
_UNIT = "0 = the same, 1 = nothing in common"

GLOSSARY = {
    "kl_nats": Term(
        "Sum over bins or classes of production's share × ln(production's share ÷ "
        "experimental's): how badly the experimental model's distribution tells production's "
        "outputs.",
        "nats", _UP, f"{_APART}; not symmetric",
    ),
    "kl_reverse_nats": Term(
        "The same with the models exchanged: how badly production's distribution tells the "
        "experimental model's outputs.",
        "nats", _UP, f"{_APART}; not symmetric",
    ),
    "js_nats": Term(
        "Mean of both models' KL to the average of their two distributions.",
        "nats", "0 = the same, ln 2 = 0.693 = nothing in common", _SYMMETRIC,
    ),
    "js_distance": Term("Square root of js_nats ÷ ln 2.", "none", _UNIT, _SYMMETRIC),
    "psi": Term(
        "Population stability index: kl_nats + kl_reverse_nats.", "nats", _UP, _SYMMETRIC
    ),
    "tv_distance": Term(
        "Half the summed absolute differences of shares: the share of requests that would have to "
        "move to another bin to make the two alike.",
        "share", _UNIT, _SYMMETRIC,
    ),
    "l_infinity_distance": Term(
        "The largest absolute difference of the share of one bin or class.",
        "share", "0 = the same, up to 1", _SYMMETRIC,
    ),
    "ks_distance": Term(
        "The largest absolute difference of the shares at or below a bin's edge; value only.",
        "share", _UNIT, _SYMMETRIC,
    ),
    "wasserstein_distance": Term(
        "Mean distance that values would have to be moved to make the two distributions alike, "
        "bins standing for their middles; value only.",
        "the value's", _UP, _SYMMETRIC,
    ),
    "flip_rate": Term(
        "Requests that the two models put in different bins or classes ÷ all requests. It counts "
        "moves that cancel out, which distances of distributions do not.",
        "share", "0 = never, 1 = always", _SYMMETRIC,
    ),
    "mean_kl_nats": Term(
        "Mean over requests of KL(production ‖ experimental) of the request's class "
        "probabilities; class only.",
        "nats per request", _UP, f"{_APART}; not symmetric",
    ),
    "mse": Term(
        "Mean squared difference of the two values of the same request.",
        "the value's, squared", _UP, _SYMMETRIC,
    ),
    "relative_mse": Term(
        "mse ÷ variance of production's values: at 1 the models are as far apart as production's "
        "values are from their mean.",
        "none", _UP, _APART,
    ),
    "mae": Term(
        "Mean absolute difference of the two values of the same request.",
        "the value's", _UP, _SYMMETRIC,
    ),
    "mean_change": Term(
        "Mean of the experimental model's output - mean of production's, on the same requests.",
        "the output's", "any; 0 = no change", "positive = the experimental model is higher",
    ),
    "kpi_relative_change": Term(
        "mean_change of the KPI ÷ |production's mean|; a ratio of two KPIs stands for its mean.",
        "none: 0.1 = 10%", "any; 0 = no change", "positive = the experimental model is higher",
    ),
}  # fmt: skip
"""Each metric by the name the tables give it."""

OUTPUT_GLOSSARY = {
    "value": Term(
        "The number a model returns for a request, in bins cut at production's quantiles unless "
        "drift.value_edges are set.",
        "the model's", "the model's", "the model's",
    ),
    "class": Term(
        "The most probable class of a request.", "class label", "the model's classes", "none"
    ),
    "expected_accuracy": Term(
        "Mean probability of the most probable class: what accuracy would be if the model were "
        "calibrated.",
        "share", "0 to 1", "positive change = the experimental model is surer, not better",
    ),
    "calibration": Term(
        "Mean of (probability of the most probable class - 1 where it was right, 0 where not).",
        "share", "-1 to 1, 0 = calibrated",
        "positive change = towards overconfidence",
    ),
    "log_loss": Term(
        "Mean of - ln(probability given to what happened).",
        "nats per request", "0 = certain and right, no upper end",
        "positive change = the experimental model is worse",
    ),
    "any other name": Term(
        "A KPI of `kpis` in the configuration: the mean over requests that have it; of kind ratio, "
        "the sum of its numerator ÷ the sum of its denominator, over requests that have both.",
        "the KPI's", "the KPI's", "the KPI's",
    ),
}  # fmt: skip
"""What is compared: each output that a metric can be of."""

TEST_NOTES = {
    "distribution": "are the two distributions equal? Paired by request, clustered by user",
    "mean": "are the two means equal? Paired by request, clustered by user",
    "size": "are the models further apart on the same request than the threshold?",
}

SEGMENT_GLOSSARY = {
    "silhouette": (
        "How much nearer users are to their own segment's centre than to the next one, -1 to 1, "
        "averaged (simplified silhouette, Hruschka 2004); higher = better apart."
    ),
    "Davies-Bouldin": (
        "Spread of each segment ÷ distance to the segment most like it, averaged; from 0 up, "
        "lower = better apart."
    ),
    "Calinski-Harabasz": (
        "Variance between segments ÷ variance within them, per degree of freedom; from 0 up, "
        "higher = better apart."
    ),
    "cost": "Mean squared distance of users to their segment's centre, in scaled units.",
    "stability": (
        "Mean Jaccard overlap of a segment with its like in fits on bootstrap samples, 0 to 1: "
        "below 0.6 doubtful, from 0.75 stable (Hennig 2007)."
    ),
    "PSI of the mix": (
        "Population stability index of the segments' shares of users against those at the fit; "
        "0 = the same mix, above 0.25 = another one."
    ),
    "effect size": (
        "Segment mean - mean of all users, in standard deviations of all users; 0 = average."
    ),
    "prototype": "One of the real users nearest to a segment's centre.",
    "cold": "The segment of users with no or too little history to place them by.",
    "noise": "The segment of users who lie in no dense place (DBSCAN only).",
    "unusual flow": (
        "More users from one segment to another than earlier runs lead to expect, after "
        "correction for the number of flows; marked ▲."
    ),
}
"""Each term of the section on segments in one line."""
