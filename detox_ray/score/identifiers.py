"""Identifiers of a text's language: py3langid, lingua, or fastText's lid.176 from the user's file.

py3langid and lingua ship their models. They choose among our 17 languages and `OTHERS`, which have scripts of their own
and so cannot be confused with the 17. Languages that resemble one of the 17 are candidates only if the experiment has
them. With 17 neighbours such as Malay, Slovak and Catalan as candidates, lingua recognised 94 % of texts of 40
characters instead of 97 % (Indonesian 57 % instead of 98 %), and py3langid, with all its labels, 95 % instead of 98 %.
The price is that a drift into a neighbouring language counts as the language itself.

Percentage recognised with a confidence above 0.3, and speed (benchmarks/identifiers.py: 200 RTP-LX prompts of each of
the 17 languages, cut to this many characters; py3langid 0.4.0, lingua 2.1.1, one busy core):

    characters   py3langid   lingua   worst of py3langid     worst of lingua
        10          74.7      73.4    es, it 53              es 42
        20          90.8      84.7    es 81                  es 63
        40          97.5      94.4    zh 83 (few so long)    zh 78
        80          99.7      99.6    it 98                  pt 97
    texts/s at 40: 14,842 and 4,053

fastText is what Neplenbroek et al. 2025 used (docs/papers.md, "Language consistency of Neplenbroek et al."): all its
176 labels compete.
"""

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from detox_ray.config import InputError
from detox_ray.config.languages import GROUPS, LANGUAGES

KNOWN = GROUPS["rtp-lx-17"]
OTHERS = ("el", "he", "th", "hy", "ka", "bn", "gu", "pa", "ta", "te")
PACKAGES = {"lingua": "lingua-language-detector", "py3langid": "py3langid"}


class Identified(NamedTuple):
    """The most likely language, and its probability."""

    code: str  # ISO 639-1
    confidence: float  # in [0, 1]; 0 if the text gives no evidence


class Identifier(Protocol):
    """A loaded identifier."""

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        """Return the most likely language of each text, however uncertain. The caller applies a threshold."""
        ...


class Lingua:
    """lingua in its high-accuracy mode; takes about 0.5 GB."""

    def __init__(self, also: Sequence[str]) -> None:
        import lingua

        codes = [getattr(lingua.IsoCode639_1, code.upper()) for code in (*KNOWN, *also, *OTHERS)]
        self._detector = lingua.LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        likeliest = (self._detector.compute_language_confidence_values(text)[0] for text in texts)
        return [Identified(guess.language.iso_code_639_1.name.lower(), guess.value) for guess in likeliest]


class Py3langid:
    """py3langid, a naive Bayes model over byte n-grams."""

    def __init__(self, also: Sequence[str]) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._identifier.set_languages([*KNOWN, *also, *OTHERS])

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        return [Identified(*self._identifier.classify(text)) for text in texts]


class FastText:
    """fastText with lid.176.bin or .ftz. Raises InputError if the package is missing or the file is not a model."""

    def __init__(self, path: str):
        try:
            import fasttext
        except ImportError:
            rule = "the package fasttext is not installed: install it, or choose lingua or py3langid"
            raise InputError(f"quality.identifier: {rule} (got 'fasttext')") from None
        try:
            self._model: Any = fasttext.load_model(path)
        except ValueError as error:
            raise InputError(f"quality.fasttext: must be a fastText model ({error}) (got {path!r})") from None

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        # A list, because for a single text the package asks NumPy for a view that NumPy 2 refuses.
        labels, scores = self._model.predict([" ".join(text.split()) for text in texts])
        return [
            Identified(label[0].removeprefix("__label__"), min(1.0, float(score[0]))) if len(label) else UNKNOWN
            for label, score in zip(labels, scores, strict=True)
        ]


UNKNOWN = Identified("und", 0.0)


def beside_known(languages: Sequence[str]) -> list[str]:
    """Return, in a fixed order, those of an experiment's languages that are not among the 17."""
    return [code for code in LANGUAGES if code in languages and code not in KNOWN]


def load(name: str, fasttext: str | None, also: Sequence[str] = ()) -> Identifier:
    """Load an identifier by its name in the experiment.

    Args:
        name: Name of the identifier.
        fasttext: Path of fastText's model file.
        also: Candidate languages besides the 17 (`beside_known`).
    """
    if name == "fasttext":
        assert fasttext is not None, "QualityConfig requires the file"
        return FastText(str(Path(fasttext).expanduser()))
    return Lingua(also) if name == "lingua" else Py3langid(also)


def revision(name: str, fasttext: str | None, also: Sequence[str] = ()) -> str:
    """Return a text that changes whenever an answer may. Raises InputError if the model file cannot be read."""
    if name != "fasttext":
        return f"{name} {metadata.version(PACKAGES[name])}{''.join(f' +{code}' for code in also)}"
    assert fasttext is not None, "QualityConfig requires the file"
    try:
        with Path(fasttext).expanduser().open("rb") as stream:
            return f"fasttext {hashlib.file_digest(stream, 'sha256').hexdigest()[:16]}"
    except OSError as error:
        raise InputError(f"quality.fasttext: cannot be read: {error.strerror} (got {fasttext!r})") from None
