"""What the numbers of the generators are, and what each score of their gate holds them to."""

from dataclasses import dataclass

from rehearsal.report import sources as by
from rehearsal.report.terms import Term


@dataclass(frozen=True)
class GateScore:
    """One score of the gate: what a reader knows it by, the limit in `generator.gate`, the term."""

    title: str
    setting: str
    term: Term


_UNIT = "0 = nothing in common, 1 = alike"
_CLOSER = "higher = closer to real requests"
_SAFER = "lower = less is given away"
_TOLD = "lower = harder to tell apart"

GATE_SCORES = {
    "c2st": GateScore("C2ST AUC", "max_c2st", Term(
        "Classifier two-sample test: how well gradient boosting tells synthetic from real rows it "
        "has not seen, as the area under the ROC curve.",
        "none", "0.5 = not told apart, 1 = always", _TOLD, (by.LOPEZ_PAZ,),
    )),
    "shapes": GateScore("column shapes", "min_shapes", Term(
        "Mean over columns of 1 - Kolmogorov-Smirnov statistic (numbers) or 1 - total variation "
        "distance (categories) of real and synthetic rows.",
        "none", _UNIT, _CLOSER, (by.SDMETRICS,),
    )),
    "pairs": GateScore("pair trends", "min_pairs", Term(
        "Mean over pairs of columns of 1 - half the difference of their correlations (numbers) or "
        "1 - total variation distance of their joint counts.",
        "none", _UNIT, _CLOSER, (by.SDMETRICS,),
    )),
    "utility": GateScore("TSTR ÷ TRTR", "min_utility", Term(
        "How far above chance a model trained on synthetic rows predicts real ones (TSTR), ÷ the "
        "same of one trained on real rows (TRTR).",
        "none", "0 = chance, 1 = as useful as real rows", "higher = more useful", (by.ESTEBAN,),
    )),
    "dcr_share": GateScore("DCR share", "max_dcr_share", Term(
        "Distance to the closest record: share of synthetic rows nearer to a row the generator "
        "learnt from than to one held out, for as many of either.",
        "share", "0.5 = no memory, 1 = always", _SAFER, (by.PLATZER,),
    )),
    "nndr_gap": GateScore("NNDR gap", "max_nndr_gap", Term(
        "Nearest neighbour distance ratio of a synthetic row: the nearest ÷ the second-nearest "
        "real row. What it lacks to 1 where the nearest was learnt from, less the same where it "
        "was held out, for as many of either.",
        "none", "0 = no memory, 1 = all rows sit on ones learnt from", _SAFER, (by.ZHAO,),
    )),
    "exact": GateScore("exact copies", "max_exact", Term(
        "Share of synthetic rows that equal a row learnt from in every column, less the share that "
        "equals a held-out one, for as many of either.",
        "share", "0 = no more than by chance, 1 = all are copies", _SAFER, (by.HERE,),
    )),
    "membership": GateScore("membership advantage", "max_membership", Term(
        "True less false positive rate of the best attack that guesses from the generator whether "
        "it learnt from a row.",
        "none", "0 = no attack succeeds, 1 = always", _SAFER, (by.YEOM,),
    )),
}  # fmt: skip
"""Each score by the name generator_scores gives it, in the order a reader looks at them."""

GENERATOR_GLOSSARY = {
    **{one.title: one.term for one in GATE_SCORES.values()},
    "real halves": Term(
        "The good end of a scale: the same score of one half of the real rows, the other half "
        "standing for the real ones.",
        "the score's", "the score's", "none", (by.HERE,),
    ),
    "independent columns": Term(
        "The bad end of a scale: the same score of rows whose columns are drawn apart, so that "
        "nothing hangs together. Such rows give nothing away: for the scores of privacy they are "
        "as good as real halves.",
        "the score's", "the score's", "none", (by.HERE,),
    ),
    "limit": Term(
        "generator.gate of the configuration, loosened to what real rows reach where there are "
        "few of them.",
        "the score's", "the score's", "a generator is refused beyond it", (by.HERE,),
    ),
    "quality": Term(
        "Mean of column shapes and pair trends.", "none", _UNIT, _CLOSER, (by.SDMETRICS,)
    ),
    "nats per row": Term(
        "Generator's loss: mean of - ln(probability) of rows, or the variational bound on it; "
        "held-out: of rows not trained on.",
        "nats per row", "any", "lower = better told", (by.KINGMA,),
    ),
    "latent KL": Term(
        "KL of a row's latent distribution to its prior: what the latent carries.",
        "nats per row", "0 = nothing, no upper end", "near 0 = the latent is unused", (by.KINGMA,),
    ),
    "epsilon": Term(
        "Differential privacy: whatever is learnt of the generator is at most e^epsilon times as "
        "likely with one user's requests as without, but for a chance of delta.",
        "none", "above 0", "lower = less is given away", (by.DWORK,),
    ),
}  # fmt: skip
"""Each term of the sections on generators."""
