"""What the report's metrics, outputs and numbers are: formula, unit, range, direction, source.

The one place for it: the README and the tables' comments refer to the report.
"""

from dataclasses import dataclass

from rehearsal.report import sources as by
from rehearsal.report.sources import Source


@dataclass(frozen=True)
class Term:
    """One metric, output or number: its formula in words, unit, range, direction and sources."""

    words: str
    unit: str
    span: str
    direction: str
    sources: tuple[Source, ...]


_APART = "higher = further apart"
_SYMMETRIC = f"{_APART}; symmetric"
_UP = "0 = the same, no upper end"
_UNIT = "0 = the same, 1 = nothing in common"
_HIGHER = "positive = the experimental model is higher"

GLOSSARY = {
    "kl_nats": Term(
        "Sum over bins or classes of production's share × ln(production's share ÷ "
        "experimental's): how badly the experimental model's distribution tells production's "
        "outputs.",
        "nats", _UP, f"{_APART}; not symmetric", (by.KULLBACK,),
    ),
    "kl_reverse_nats": Term(
        "The same with the models exchanged: how badly production's distribution tells the "
        "experimental model's outputs.",
        "nats", _UP, f"{_APART}; not symmetric", (by.KULLBACK,),
    ),
    "js_nats": Term(
        "Mean of both models' KL to the average of their two distributions.",
        "nats", "0 = the same, ln 2 = 0.693 = nothing in common", _SYMMETRIC, (by.LIN,),
    ),
    "js_distance": Term(
        "Square root of js_nats ÷ ln 2.", "none", _UNIT, _SYMMETRIC, (by.ENDRES,)
    ),
    "psi": Term(
        "Population stability index: kl_nats + kl_reverse_nats.",
        "nats", _UP, _SYMMETRIC, (by.JEFFREYS, by.YURDAKUL),
    ),
    "tv_distance": Term(
        "Half the summed absolute differences of shares: the share of requests that would have to "
        "move to another bin to make the two alike.",
        "share", _UNIT, _SYMMETRIC, (by.GIBBS,),
    ),
    "l_infinity_distance": Term(
        "The largest absolute difference of the share of one bin or class.",
        "share", "0 = the same, up to 1", _SYMMETRIC, (by.TFDV,),
    ),
    "ks_distance": Term(
        "The largest absolute difference of the shares at or below a bin's edge; value only.",
        "share", _UNIT, _SYMMETRIC, (by.MASSEY,),
    ),
    "wasserstein_distance": Term(
        "Mean distance that values would have to be moved to make the two distributions alike, "
        "bins standing for their middles; value only.",
        "the value's", _UP, _SYMMETRIC, (by.VALLENDER,),
    ),
    "flip_rate": Term(
        "Requests that the two models put in different bins or classes ÷ all requests. It counts "
        "moves that cancel out, which distances of distributions do not.",
        "share", "0 = never, 1 = always", _SYMMETRIC, (by.CHURN,),
    ),
    "mean_kl_nats": Term(
        "Mean over requests of KL(production ‖ experimental) of the request's class "
        "probabilities; class only.",
        "nats per request", _UP, f"{_APART}; not symmetric", (by.KULLBACK,),
    ),
    "mse": Term(
        "Mean squared difference of the two values of the same request.",
        "the value's, squared", _UP, _SYMMETRIC, (by.SKLEARN_MSE,),
    ),
    "relative_mse": Term(
        "mse ÷ variance of production's values: at 1 the models are as far apart as production's "
        "values are from their mean.",
        "none", _UP, _APART, (by.SKLEARN_R2,),
    ),
    "mae": Term(
        "Mean absolute difference of the two values of the same request.",
        "the value's", _UP, _SYMMETRIC, (by.SKLEARN_MAE,),
    ),
    "mean_change": Term(
        "Mean of the experimental model's output - mean of production's, on the same requests.",
        "the output's", "any; 0 = no change", _HIGHER, (by.LIANG,),
    ),
    "kpi_relative_change": Term(
        "mean_change of the KPI ÷ |production's mean|; a ratio of two KPIs stands for its mean.",
        "none: 0.1 = 10%", "any; 0 = no change", _HIGHER, (by.DENG,),
    ),
}  # fmt: skip
"""Each metric by the name the tables give it."""

OUTPUT_GLOSSARY = {
    "value": Term(
        "The number a model returns for a request, in bins cut at production's quantiles unless "
        "drift.value_edges are set.",
        "the model's", "the model's", "the model's", (by.HERE,),
    ),
    "class": Term(
        "The most probable class of a request.",
        "class label", "the model's classes", "none", (by.HERE,),
    ),
    "missing": Term(
        "1 for a request that a model leaves open (no value or no probabilities, or NaN), else 0.",
        "share", "0 to 1", "positive change = the experimental model leaves more open", (by.HERE,),
    ),
    "expected_accuracy": Term(
        "Mean probability of the most probable class: what accuracy would be if the model were "
        "calibrated.",
        "share", "0 to 1", "positive change = the experimental model is surer, not better",
        (by.GARG,),
    ),
    "calibration": Term(
        "Mean of (probability of the most probable class - 1 where it was right, 0 where not).",
        "share", "-1 to 1, 0 = calibrated",
        "positive change = towards overconfidence", (by.GUO,),
    ),
    "log_loss": Term(
        "Mean of - ln(probability given to what happened).",
        "nats per request", "0 = certain and right, no upper end",
        "positive change = the experimental model is worse", (by.GOOD,),
    ),
    "any other name": Term(
        "A KPI of `kpis` in the configuration: the mean over requests that have it; of kind ratio, "
        "the sum of its numerator ÷ the sum of its denominator, over requests that have both.",
        "the KPI's", "the KPI's", "the KPI's", (by.HERE,),
    ),
}  # fmt: skip
"""What is compared: each output that a metric can be of."""

_P_VALUE = ("p-value", "0 to 1", "lower = harder to explain by chance")

TEST_GLOSSARY = {
    "distribution": Term(
        "Are the two distributions equal? A Wald test of the paired differences of shares, "
        "clustered by user: Stuart-Maxwell's where each user has one request.",
        *_P_VALUE, (by.STUART, by.MAXWELL, by.LIANG),
    ),
    "mean": Term(
        "Are the two means equal? The same test of one paired difference.", *_P_VALUE, (by.LIANG,)
    ),
    "size": Term(
        "Are the models further apart on the same request than the threshold?",
        *_P_VALUE, (by.HODGES,),
    ),
}  # fmt: skip
"""What is tested; metrics of one test share its p-value."""

NUMBER_GLOSSARY = {
    "score": Term(
        "The metric less what the noise of so many users adds to it where nothing drifts; "
        "score_bias_corrected in the tables.",
        "the metric's", "the metric's", "the metric's", (by.MILLER,),
    ),
    "95% interval": Term(
        "Of the score, by the delta method or draws of its noise, users as units.",
        "the metric's", "the metric's", "narrower = surer", (by.DENG,),
    ),
    "q-value": Term(
        "The false discovery rate at which the test is significant after all segments, tests and "
        "windows: segments first, then their tests.",
        "share of false alarms", "0 to 1", "significant if at most drift.alpha",
        (by.BENJAMINI, by.BOGOMOLOV),
    ),
    "would have shown": Term(
        "A drift this large would have been significant with a chance of 80%.",
        "the metric's", "above 0", "lower = less could hide", (by.COHEN,),
    ),
    "drifts since": Term(
        "The window from which on the differences add up most clearly in the drift's direction; "
        "between: starts that fit about as well (likelihood, 95%).",
        "first day of a window, UTC", "windows of the replay", "none", (by.HINKLEY,),
    ),
    "share of the drift": Term(
        "Part that some requests have in the statistic of the test, or, for the share of the "
        "size, in KL or the mean's change, ÷ the whole.",
        "share", "any; request types sum to 1", "negative = it pulls the models together",
        (by.HERE, by.AUMANN),
    ),
    "lift": Term(
        "Share of the drift ÷ share of requests of a sub-population.",
        "none", "any; 1 = as much as its size", "higher = the drift is concentrated in it",
        (by.LAVRAC,),
    ),
    "brings … of the change": Term(
        "Sum over values of one dimension of (share now - share before) × mean score before, ÷ "
        "the change of the mean score since the windows before the drift.",
        "share", "any; from 20% named, from 50% the verdict", "higher = inputs, not models",
        (by.KITAGAWA,),
    ),
    "disagreements per 1,000": Term(
        "Requests whose most probable class differs (without classes: whose values are further "
        "apart than effect.value_tolerance, or in other bins) ÷ all × 1,000.",
        "per 1,000 requests", "0 to 1,000", "higher = the models part more often", (by.CHURN,),
    ),
}  # fmt: skip
"""What stands beside the scores and in the other sections."""

SEGMENT_GLOSSARY = {
    "silhouette": Term(
        "Mean over users of (b - a) ÷ b, a the distance to the own segment's centre and b to the "
        "next one.",
        "none", "-1 to 1", "higher = better apart", (by.ROUSSEEUW, by.HRUSCHKA),
    ),
    "Davies-Bouldin": Term(
        "Spread of each segment ÷ distance to the segment most like it, averaged.",
        "none", "from 0 up", "lower = better apart", (by.DAVIES,),
    ),
    "Calinski-Harabasz": Term(
        "Variance between segments ÷ variance within them, per degree of freedom.",
        "none", "from 0 up", "higher = better apart", (by.CALINSKI,),
    ),
    "cost": Term(
        "Mean squared distance of users to their segment's centre.",
        "scaled units, squared", "from 0 up", "lower = tighter; falls with every k", (by.LLOYD,),
    ),
    "stability": Term(
        "Mean Jaccard overlap of a segment with its like in fits on bootstrap samples.",
        "share", "0 to 1", "below 0.6 doubtful, from 0.75 stable", (by.HENNIG,),
    ),
    "PSI of the mix": Term(
        "Population stability index of the segments' shares of users against those at the fit.",
        "nats", "0 = the same mix, above 0.25 = another one", "higher = further from the fit",
        (by.SIDDIQI, by.YURDAKUL),
    ),
    "effect size": Term(
        "Segment mean - mean of all users, ÷ standard deviation of all users.",
        "standard deviations", "any; 0 = average", "positive = above average", (by.COHEN,),
    ),
    "unusual flow": Term(
        "More users from one segment to another than earlier runs lead to expect, after "
        "correction for the number of flows; marked ▲.",
        "users", "–", "–", (by.BENJAMINI,),
    ),
    "prototype": Term(
        "One of the real users nearest to a segment's centre.", "user", "–", "–", (by.HERE,)
    ),
    "cold": Term(
        "The segment of users with no or too little history to place them by.",
        "segment", "–", "–", (by.HERE,),
    ),
    "noise": Term(
        "The segment of users who lie in no dense place (DBSCAN only).",
        "segment", "–", "–", (by.DBSCAN,),
    ),
}  # fmt: skip
"""Each term of the section on segments."""
