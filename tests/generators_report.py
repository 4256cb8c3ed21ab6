"""What step 5 leaves of a run by hand: who was tried, with which scores, and the rounds before."""

from collections.abc import Sequence
from typing import Any

# score -> (limit, real halves, independent columns)
SCALES = {
    "c2st": (0.75, 0.512, 0.958),
    "shapes": (0.9, 0.982, 0.979),
    "pairs": (0.85, 0.961, 0.742),
    "utility": (0.85, 0.991, 0.04),
    "dcr_share": (0.55, 0.498, 0.503),
    "nndr_gap": (0.1, 0.002, -0.061),
    "exact": (0.01, 0.0, 0.0),
    "membership": (0.1, 0.004, 0.001),
}
GOOD = (0.604, 0.974, 0.944, 0.935, 0.508, 0.012, 0.0, 0.013)
BLURRED = (0.871, 0.953, 0.831, 0.902, 0.501, -0.012, 0.0, 0.006)
STALE = (0.668, 0.931, 0.927, 0.911, 0.611, 0.024, 0.021, 0.118)


def gate_rows_of(
    segment: str, candidate: str, values: Sequence[float | None], **told: Any
) -> list[dict[str, Any]]:
    """Return a row per score; whether it is passed follows from the scale's limit."""
    rows = []
    for (score, (limit, half, independent)), value in zip(SCALES.items(), values, strict=True):
        lower = limit - half if score not in ("shapes", "pairs", "utility") else half - limit
        apart = 0.0 if value is None else value - limit
        rises = score in ("shapes", "pairs", "utility")
        rows.append(
            {"segment_id": segment, "candidate": candidate, "judged_on": segment, "n_test": 412,
             "direction": "at least" if rises else "at most", "score": score, "value": value,
             "limit": limit, "half_vs_half": half,
             "independent": independent, "passed": apart >= 0 if rises else apart <= 0,
             "note": "Undefined: no target." if value is None else "", **told}
        )  # fmt: skip
        assert lower > 0, "real halves keep every limit"
    return rows


def curve_rows(segment: str | None, start: float, n_epochs: int) -> list[dict[str, Any]]:
    """Return losses that fall, the held-out one up again in the last two epochs.

    What is learnt by heart grows all the time; of what a segment adds it is not measured.
    """
    return [
        {"segment_id": segment, "epoch": e, "train_nats": start - 2 * (1 - 0.8**e),
         "validation_nats": start + 0.2 - 2 * (1 - 0.82**e) + 0.05 * max(0, e - n_epochs + 2),
         "membership": 0.005 * e if segment is None else float("nan")}
        for e in range(1, n_epochs + 1)
    ]  # fmt: skip


def synthesizer_rows() -> list[dict[str, Any]]:
    """Return the generator of all segments, and s1, s2 and s3, each served by another."""
    return [
        {"segment_id": None, "kind": "vae", "status": "fitted", "n_rows": 41_210, "n_left_out": 12,
         "n_epochs": 24, "best_epoch": 20, "validation_nats": 7.612, "kl_nats": 1.96,
         "device": "cpu", "base_run_id": "r1"},
        {"segment_id": "s1", "kind": "vae", "status": "fitted", "served_by": "segment",
         "n_rows": 2000, "n_epochs": 12, "best_epoch": 10, "base_nats": 7.412,
         "validation_nats": 7.25, "device": "cpu", "base_run_id": "r1",
         "reason": "serving refused: membership advantage 0.118 is above gate.max_membership"},
        {"segment_id": "s2", "kind": "vae", "status": "no_gain", "served_by": "serving",
         "n_rows": 5100, "n_epochs": 8, "base_nats": 7.301, "validation_nats": 7.301,
         "device": "cpu", "base_run_id": "r0",
         "reason": "held-out loss 7.301 nats, -0.002 less with an adapter: within what chance"},
        {"segment_id": "s3", "kind": "vae", "status": "insufficient_data",
         "served_by": "resampled", "n_rows": 9, "base_run_id": "r1",
         "reason": "9 requests, generator.min_rows is 100"},
    ]  # fmt: skip


def gate_rows() -> list[dict[str, Any]]:
    return [
        *gate_rows_of("s1", "serving", STALE),
        *gate_rows_of("s1", "segment", GOOD),
        *gate_rows_of("s2", "serving", GOOD),
        *gate_rows_of("s2", "all", BLURRED),
        *gate_rows_of("s3", "all", (*BLURRED[:3], None, *BLURRED[4:]), n_test=31,
                    judged_on="small segments together"),
    ]  # fmt: skip


def round_rows(
    segments: Sequence[str],
    n_rounds: int,
    kinds: Sequence[str] = ("fresh", "serving", "fresh", "resampled"),
) -> list[dict[str, Any]]:
    """Return rounds in which each of `kinds` is kept in turn; the last one is that of run r1."""
    rows = []
    for segment in segments:
        for number in range(1, n_rounds + 1):
            kept = kinds[(number - 1) % len(kinds)]
            known = number > 1
            rows.append(
                {"segment_id": segment, "round": number, "kept": kept,
                 "run_id": "r1" if number == n_rounds else f"r{number - n_rounds}",
                 "why": f"made {kept}",
                 "fresh_c2st_auc": 0.66 - 0.01 * number + 0.03 * (number % 2),
                 "serving_c2st_auc": 0.67 - 0.01 * number if known else None,
                 "fresh_quality": 0.94 + 0.002 * number,
                 "serving_quality": 0.938 + 0.002 * number if known else None,
                 "effect_per_1000": 20.0 + number if kept != "resampled" else None,
                 "effect_ci_low": 15.0, "effect_ci_high": 30.0 + number}
            )  # fmt: skip
    return rows
