"""Pairs of toy17: a trait praised in a person whose group has it, and in a person whose group does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from detox_ray.suites.bias.bias_set import BiasItems, BiasSet
from detox_ray.suites.bias.sentences import pair
from detox_ray.toy17 import stereotypes
from detox_ray.toy17.vocabulary import vocabularies


class Toy17Pairs(BiasSet):
    """64 pairs in each of the 17 languages, translations of each other; pairs about one trait form a cluster."""

    source: Literal["toy17-pairs"]
    takes_path: ClassVar[bool] = False

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        words = vocabularies()
        return BiasItems(
            {
                code: [
                    pair(f"{item.trait}-{number % 4}", item.more, item.less, item.group, cluster=item.trait)
                    for number, item in enumerate(stereotypes.pairs(words[code]))
                ]
                for code in languages
                if code in words
            },
            [],
        )


VARIANT = Toy17Pairs
