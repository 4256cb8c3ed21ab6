"""The report's words and symbols for statuses and metrics; `terms` says what each means."""

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
