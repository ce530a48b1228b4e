"""The published sets of bias items that the suite can read, and the number of items an experiment has of each."""

from detox_ray.config import Experiment
from detox_ray.data import DataError
from detox_ray.suites.bias.bias_set import sets_of
from detox_ray.suites.catalogue import PresentItems, PublishedSet

SUITE = "bias"
SETS = (
    PublishedSet(
        "MultiLingualCrowsPairs",
        SUITE,
        "crows-pairs",
        ("ar", "ca", "de", "en", "es", "fr", "it", "mt", "zh"),
        "1,481 to 1,705 pairs",
        "CC-BY-SA-4.0",
        "gitlab.inria.fr/corpus4ethics/multilingualcrowspairs",
    ),
    PublishedSet(
        "CrowS-Pairs",
        SUITE,
        "crows-pairs",
        ("en",),
        "1,508 pairs",
        "CC-BY-SA-4.0",
        "github.com/nyu-mll/crows-pairs",
    ),
    PublishedSet(
        "Dutch CrowS-Pairs",
        SUITE,
        "crows-pairs",
        ("en", "fr", "nl"),
        "1,463 pairs",
        "CC0-1.0; its French and English rows descend from CC-BY-SA-4.0",
        "github.com/jerryspan/Dutch-CrowS-Pairs",
    ),
    PublishedSet(
        "StereoSet",
        SUITE,
        "stereoset",
        ("en",),
        "2,106 triples",
        "CC-BY-SA-4.0",
        "github.com/moinnadeem/StereoSet",
    ),
    PublishedSet(
        "stereotypes-multi",
        SUITE,
        "stereoset",
        ("de", "en", "es", "fr", "tr"),
        "2,106 triples",
        "none stated; its texts descend from CC-BY-SA-4.0",
        "github.com/slds-lmu/stereotypes-multi",
    ),
    PublishedSet(
        "MBBQ",
        SUITE,
        "bbq, dialect mbbq",
        ("en", "es", "nl", "tr"),
        "10,088 questions and 10,072 control questions",
        "none stated; derives from BBQ, for evaluation only",
        "github.com/Veranep/MBBQ",
    ),
    PublishedSet("BBQ", SUITE, "bbq, dialect bbq", ("en",), "58,492 questions", "CC-BY-4.0", "github.com/nyu-mll/BBQ"),
    PublishedSet(
        "KoBBQ", SUITE, "bbq, dialect kobbq", ("ko",), "2,280 test samples", "MIT", "github.com/naver-ai/KoBBQ"
    ),
    PublishedSet(
        "EsBBQ and CaBBQ",
        SUITE,
        "bbq, dialect esbbq or cabbq",
        ("es", "ca"),
        "27,320 questions",
        "Apache-2.0",
        "github.com/langtech-bsc/EsBBQ-CaBBQ",
    ),
)


def present(experiment: Experiment) -> list[PresentItems]:
    """Return the number of items of each set in each of the experiment's languages; 0 if they cannot be read."""
    items: list[PresentItems] = []
    for bias_set in sets_of(experiment.bias) if experiment.bias else ():
        try:
            rows = bias_set.read(experiment.languages).rows
        except DataError:
            rows = {}
        items += [
            PresentItems(SUITE, bias_set.name, language, len(rows.get(language, ())))
            for language in experiment.languages
        ]
    return items
