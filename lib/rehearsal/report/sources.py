"""Where the report's measures come from: papers and documentation, each once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What a term is cited from: a text, and where it is read if that place is stable."""

    text: str
    link: str | None = None


def _paper(text: str, doi: str) -> Source:
    return Source(text, f"https://doi.org/{doi}")


def _preprint(text: str, number: str) -> Source:
    return Source(text, f"https://arxiv.org/abs/{number}")


HERE = Source("Rehearsal's own")

# Divergences and distances
KULLBACK = _paper("Kullback & Leibler 1951", "10.1214/aoms/1177729694")
JEFFREYS = _paper("Jeffreys 1946", "10.1098/rspa.1946.0056")
LIN = _paper("Lin 1991", "10.1109/18.61115")
ENDRES = _paper("Endres & Schindelin 2003", "10.1109/TIT.2003.813506")
YURDAKUL = Source("Yurdakul 2018", "https://scholarworks.wmich.edu/dissertations/3208")
SIDDIQI = Source("Siddiqi 2006, Credit Risk Scorecards")
GIBBS = _preprint("Gibbs & Su 2002", "math/0209021")
MASSEY = _paper("Massey 1951", "10.1080/01621459.1951.10500769")
VALLENDER = _paper("Vallender 1974", "10.1137/1118101")
TFDV = Source(
    "TensorFlow Data Validation", "https://www.tensorflow.org/tfx/data_validation/get_started"
)
CHURN = Source(
    "Milani Fard et al. 2016",
    "https://papers.nips.cc/paper_files/paper/2016/hash/"
    "dc5c768b5dc76a084531934b34601977-Abstract.html",
)
_SKLEARN = "https://scikit-learn.org/stable/modules/"
SKLEARN_MSE = Source("scikit-learn", f"{_SKLEARN}model_evaluation.html#mean-squared-error")
SKLEARN_MAE = Source("scikit-learn", f"{_SKLEARN}model_evaluation.html#mean-absolute-error")
SKLEARN_R2 = Source("scikit-learn, 1 - R²", f"{_SKLEARN}model_evaluation.html#r2-score")

# Tests, intervals, and what follows from them
LIANG = _paper("Liang & Zeger 1986", "10.1093/biomet/73.1.13")
DENG = _preprint("Deng, Knoblich & Lu 2018", "1803.06336")
STUART = _paper("Stuart 1955", "10.1093/biomet/42.3-4.412")
MAXWELL = _paper("Maxwell 1970", "10.1192/bjp.116.535.651")
HODGES = Source("Hodges & Lehmann 1954, J. R. Stat. Soc. B 16")
MILLER = Source("Miller 1955, Note on the bias of information estimates")
BENJAMINI = _paper("Benjamini & Hochberg 1995", "10.1111/j.2517-6161.1995.tb02031.x")
BOGOMOLOV = _paper("Benjamini & Bogomolov 2014", "10.1111/rssb.12028")
COHEN = _paper("Cohen 1988", "10.4324/9780203771587")
HINKLEY = _paper("Hinkley 1970", "10.1093/biomet/57.1.1")
AUMANN = Source("Aumann & Shapley 1974, Values of Non-Atomic Games")
KITAGAWA = _paper("Kitagawa 1955", "10.1080/01621459.1955.10501299")
LAVRAC = Source("Lavrač, Flach & Zupan 1999, Rule Evaluation Measures")

# Outputs
GARG = _preprint("Garg et al. 2022", "2201.04234")
GUO = _preprint("Guo et al. 2017", "1706.04599")
GOOD = _paper("Good 1952", "10.1111/j.2517-6161.1952.tb00104.x")

# Segments and generators
ROUSSEEUW = _paper("Rousseeuw 1987", "10.1016/0377-0427(87)90125-7")
HRUSCHKA = Source("simplified by Hruschka et al. 2004")
DAVIES = _paper("Davies & Bouldin 1979", "10.1109/TPAMI.1979.4766909")
CALINSKI = _paper("Caliński & Harabasz 1974", "10.1080/03610927408827101")
LLOYD = _paper("Lloyd 1982", "10.1109/TIT.1982.1056489")
HENNIG = _paper("Hennig 2007", "10.1016/j.csda.2006.11.025")
DBSCAN = Source("scikit-learn, DBSCAN", f"{_SKLEARN}clustering.html#dbscan")
KINGMA = _preprint("Kingma & Welling 2014", "1312.6114")

# The gate of the generators
LOPEZ_PAZ = _preprint("Lopez-Paz & Oquab 2017", "1610.06545")
YEOM = _paper("Yeom et al. 2018", "10.1109/CSF.2018.00027")
ESTEBAN = _preprint("Esteban, Hyland & Rätsch 2017", "1706.02633")
ZHAO = _preprint("Zhao et al. 2021", "2102.08369")
DWORK = _paper("Dwork et al. 2006", "10.1007/11681878_14")
SDMETRICS = Source("SDMetrics", "https://docs.sdv.dev/sdmetrics")
PLATZER = _paper("Platzer & Reutterer 2021", "10.3389/fdata.2021.679939")
