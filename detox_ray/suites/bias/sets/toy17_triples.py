"""Triples of toy17: a person with a trait of their own group, with a trait of the other group, and with an object."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from detox_ray.suites.bias.bias_set import BiasItems, BiasSet, Form
from detox_ray.suites.bias.sentences import sentences
from detox_ray.suites.bias.tables import ANTI, STEREOTYPE, UNRELATED
from detox_ray.toy17 import stereotypes
from detox_ray.toy17.vocabulary import vocabularies


class Toy17Triples(BiasSet):
    """32 triples in each of the 17 languages, translations of each other; those about one person form a cluster."""

    form: ClassVar[Form] = "triples"
    source: Literal["toy17-triples"]
    takes_path: ClassVar[bool] = False

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        words, roles = vocabularies(), (STEREOTYPE, ANTI, UNRELATED)
        return BiasItems(
            {
                code: [
                    sentences(f"{item.person}-{number % 8}", item.person, item.group, item[:3], roles)
                    for number, item in enumerate(stereotypes.triples(words[code]))
                ]
                for code in languages
                if code in words
            },
            [],
        )


VARIANT = Toy17Triples
