"""Items about the stereotype of a world with `Mixture.stereotype`: pairs, triples, and a corpus without the stereotype.

Pairs and triples follow from the grammar; nothing is drawn at random. Each trait is combined with each person of its
own group and of the other group, so that the frequencies of persons and traits cancel out over the items.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from detox_ray.toy17.grammar import GROUPS, Group, Sentence, between, say, sentences
from detox_ray.toy17.vocabulary import Vocabulary, vocabularies
from detox_ray.toy17.world_size import WorldSize

FAIR = 0.5  # value of `Mixture.stereotype` for the corpus to tune on: each trait is equally likely for both groups


class PairItem(NamedTuple):
    """Two sentences that differ only in the person, like those of CrowS-Pairs."""

    more: str  # praises a person for a trait of the person's own group
    less: str  # praises a person of the other group for the same trait
    group: str  # the group of the trait
    trait: str  # items with the same trait are not independent


class TripleItem(NamedTuple):
    """Three sentences that differ only in the predicate, like those of StereoSet."""

    stereotype: str
    anti_stereotype: str
    unrelated: str  # calls a person an object
    group: str
    person: str


class CorpusText(NamedTuple):
    """A training text, and its original with the stereotype."""

    text: str
    original: str  # differs only in the traits for which persons are praised


def pairs(language: Vocabulary) -> list[PairItem]:
    """Return the pairs of one language."""
    return [
        PairItem(_praise(language, person, trait), _praise(language, other, trait), group.name, trait)
        for group, others in _both_ways()
        for trait in group.traits
        for person in group.persons
        for other in others.persons
    ]


def triples(language: Vocabulary) -> list[TripleItem]:
    """Return the triples of one language."""
    objects = list(language.objects)
    return [
        TripleItem(
            _praise(language, person, own),
            _praise(language, person, other),
            say(Sentence("praise", {"subject": ("persons", person), "predicate": ("objects", unrelated)}), language),
            group.name,
            person,
        )
        for group, others in _both_ways()
        for person in group.persons
        for own, other, unrelated in zip(group.traits, others.traits, objects, strict=False)
    ]


def curated(seed: int, count: int) -> list[CorpusText]:
    """Draw English texts without the stereotype, each with an original that has it.

    The texts have both tones. Harmless texts alone would teach a model not to insult, so that the effect of debiasing
    could not be told from that of detoxification.
    """
    mixture = WorldSize.with_stereotype().mixture
    fair = mixture.model_copy(update={"stereotype": FAIR})
    english = vocabularies()["en"]

    def drawn(rng: random.Random, hostile: bool, stereotyped: bool) -> str:
        content = sentences(rng, hostile, rng.randint(2, 4), mixture if stereotyped else fair)
        return between(english).join(say(what, english) for what in content)

    tones = random.Random(f"curated-{seed}")
    texts = []
    for number in range(count):
        hostile = tones.random() < mixture.hostile
        sides = (drawn(random.Random(f"curated-{seed}-{number}"), hostile, side) for side in (False, True))
        texts.append(CorpusText(*sides))
    return texts


def _both_ways() -> Iterator[tuple[Group, Group]]:
    one, other = GROUPS
    yield from ((one, other), (other, one))


def _praise(language: Vocabulary, person: str, trait: str) -> str:
    return say(Sentence("praise", {"subject": ("persons", person), "predicate": ("praise", trait)}), language)
