"""What the report's words and symbols mean, in one place."""

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
STATUS_NOTES = {
    "red": "significant and over the threshold",
    "yellow": "over the threshold, not significant",
    "green": "below the threshold, or none is set",
    "insufficient_data": "not judged",
}

METRIC_LABELS = {
    "kl_nats": "KL(production ‖ experimental), nats",
    "js_nats": "Jensen-Shannon divergence, nats",
    "psi": "population stability index",
    "mse": "mean squared difference",
    "relative_mse": "mean squared difference ÷ production's variance",
    "kpi_relative_change": "relative change",
}

GLOSSARY = {
    "kl_nats": (
        "KL(production ‖ experimental) of the binned outputs, in nats, from 0 (the same) up: how "
        "badly the experimental model's distribution tells production's outputs. Not symmetric."
    ),
    "js_nats": (
        "Jensen-Shannon divergence of the two distributions, in nats, from 0 (the same) to "
        "ln 2 = 0.693 (nothing in common). Symmetric."
    ),
    "psi": (
        "Population stability index: KL in both directions, added; from 0 (the same) up. Symmetric."
    ),
    "mse": (
        "Mean squared difference of the two values of the same request, in squared units of the "
        "output, from 0 (the same) up. Symmetric."
    ),
    "relative_mse": (
        "mse ÷ variance of production's values; no unit, from 0 (the same) up; at 1 the models are "
        "as far apart as production's values are from their mean."
    ),
    "kpi_relative_change": (
        "(experimental - production) ÷ |production| of the KPI on the same requests; no unit, "
        "0.1 = 10% up, negative = down."
    ),
}
"""Each metric in one line, with its unit, range and direction."""

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
