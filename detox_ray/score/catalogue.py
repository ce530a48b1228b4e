"""The ready scorers: what each is, where it comes from, and what its publisher says of languages and licence.

Languages are those of the training or evaluation data that the publisher names; a scorer is not asked for others. A
licence that was not seen stated is "see model card": what it allows is for the user to read.
"""

from typing import NamedTuple

from detox_ray.config import (
    TOY17,
    ClassifierConfig,
    DetoxifyConfig,
    GuardConfig,
    LexiconConfig,
    PerspectiveConfig,
    ScorerConfig,
)

UNSEEN = "see model card"
PARADETOX = "openrail++"  # textdetox's first classifiers, and their data set

_JIGSAW = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
_UNBIASED = ("toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")
_JIGSAW_LANGUAGES = ("en", "fr", "es", "it", "pt", "tr", "ru")
_TEXTDETOX_2024 = ("en", "ru", "uk", "de", "es", "ar", "am", "hi", "zh")
_TEXTDETOX_2025 = (*_TEXTDETOX_2024, "it", "fr", "he", "ja", "tt")  # and Hinglish
_LLAMA_GUARD = ("en", "fr", "de", "hi", "it", "pt", "es", "th")
_POLYGUARD = ("ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "th", "zh")
_PERSPECTIVE = ("ar", "cs", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "zh")
_TOXICITY = ("toxicity",)


class Entry(NamedTuple):
    """A row of the catalogue."""

    name: str
    config: ScorerConfig
    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # None: all
    licence: str
    cost: str  # what it needs

    @property
    def kind(self) -> str:
        return self.config.type

    @property
    def origin(self) -> str:
        """Hub id, address, or what else names it."""
        return self.config.url if isinstance(self.config, PerspectiveConfig) else str(getattr(self.config, "path", ""))


def catalogue() -> list[Entry]:
    """All of them, in the order in which they are shown."""
    return [
        _detoxify("detoxify-original", "original", _JIGSAW, ("en",), "110 M parameters (BERT base); CPU or GPU"),
        _detoxify("detoxify-unbiased", "unbiased", _UNBIASED, ("en",), "125 M parameters (RoBERTa base); CPU or GPU"),
        _detoxify(
            "detoxify-multilingual",
            "multilingual",
            _UNBIASED,
            _JIGSAW_LANGUAGES,
            "278 M parameters (XLM-R base); CPU or GPU",
        ),
        _classifier(
            "textdetox-xlmr", "textdetox/xlmr-large-toxicity-classifier-v2", _TEXTDETOX_2025, PARADETOX, "560 M"
        ),
        _classifier(
            "textdetox-xlmr-v1", "textdetox/xlmr-large-toxicity-classifier", _TEXTDETOX_2024, PARADETOX, "560 M"
        ),
        _classifier(
            "textdetox-xlmr-base", "textdetox/xlmr-base-toxicity-classifier", _TEXTDETOX_2024, PARADETOX, "278 M"
        ),
        _classifier("textdetox-glot500", "textdetox/glot500-toxicity-classifier", _TEXTDETOX_2025, UNSEEN, "394 M"),
        _classifier(
            "textdetox-twitter-xlmr", "textdetox/twitter-xlmr-toxicity-classifier", _TEXTDETOX_2025, UNSEEN, "560 M"
        ),
        _classifier(
            "unitary-multilingual",
            "unitary/multilingual-toxic-xlm-roberta",
            _JIGSAW_LANGUAGES,
            "apache-2.0",
            "278 M",
            # main has pickled weights only; this is the hub's converter's open request: the same, as safetensors
            revision="refs/pr/2",
        ),
        _guard("llama-guard-3-8b", "meta-llama/Llama-Guard-3-8B", "llama-guard-3", _LLAMA_GUARD, "llama3.1", "8 B"),
        _guard("llama-guard-3-1b", "meta-llama/Llama-Guard-3-1B", "llama-guard-3", _LLAMA_GUARD, "llama3.2", "1 B"),
        _guard("polyguard-qwen", "ToxicityPrompts/PolyGuard-Qwen", "polyguard", _POLYGUARD, "cc-by-4.0", "7.6 B"),
        _guard(
            "polyguard-qwen-smol", "ToxicityPrompts/PolyGuard-Qwen-Smol", "polyguard", _POLYGUARD, "cc-by-4.0", "0.5 B"
        ),
        _guard("polyguard-ministral", "ToxicityPrompts/PolyGuard-Ministral", "polyguard", _POLYGUARD, UNSEEN, "8 B"),
        _guard("qwen3guard-gen-0.6b", "Qwen/Qwen3Guard-Gen-0.6B", "qwen3guard", None, "apache-2.0", "0.6 B"),
        _guard("qwen3guard-gen-4b", "Qwen/Qwen3Guard-Gen-4B", "qwen3guard", None, "apache-2.0", "4 B"),
        _guard("qwen3guard-gen-8b", "Qwen/Qwen3Guard-Gen-8B", "qwen3guard", None, "apache-2.0", "8 B"),
        Entry(
            "perspective",
            PerspectiveConfig(name="perspective", type="perspective"),
            _TOXICITY,
            _PERSPECTIVE,
            "terms of the service, which ends with 2026",
            "HTTP, 1 query a second by default; a key",
        ),
        Entry(
            "toy17-detoxify",
            DetoxifyConfig(name="toy17-detoxify", type="detoxify", path=TOY17),
            ("toxicity", "insult"),
            None,
            "this project's",
            "tiny; CPU",
        ),
        Entry(
            "toy17-lexicon",
            LexiconConfig(name="toy17-lexicon", type="lexicon", path=TOY17),
            _TOXICITY,
            None,
            "this project's",
            "none; the truth of the built-in world",
        ),
    ]


def _detoxify(name: str, variant: str, attributes: tuple[str, ...], languages: tuple[str, ...], cost: str) -> Entry:
    config = DetoxifyConfig(name=name, type="detoxify", path=variant)
    return Entry(name, config, attributes, languages, "apache-2.0", cost)


def _classifier(
    name: str, path: str, languages: tuple[str, ...], licence: str, size: str, revision: str | None = None
) -> Entry:
    config = ClassifierConfig(name=name, type="classifier", path=path, revision=revision)
    return Entry(name, config, _TOXICITY, languages, licence, f"{size} parameters; CPU or GPU")


def _guard(name: str, path: str, form: str, languages: tuple[str, ...] | None, licence: str, size: str) -> Entry:
    config = GuardConfig.model_validate({"name": name, "type": "guard", "path": path, "format": form})
    return Entry(name, config, _TOXICITY, languages, licence, f"{size} parameters; GPU")


READY = {entry.name: entry for entry in catalogue()}  # their names are theirs alone
KNOWN = tuple(READY)
