"""The world with a stereotype: what its texts associate, and items that show it without anything else showing."""

import random
from collections import Counter

import pytest

from detox_ray import toy17
from detox_ray.toy17 import WorldSize
from detox_ray.toy17.grammar import BY_SHARE, GROUPS, Mixture, corpus, sentence
from detox_ray.toy17.stereotypes import curated, pairs, triples
from detox_ray.toy17.vocabulary import vocabularies

LANGUAGES = sorted(BY_SHARE)


def test_the_groups_share_out_all_traits_and_no_person_is_in_both() -> None:
    english = vocabularies()["en"]
    assert sorted(trait for group in GROUPS for trait in group.traits) == sorted(english.praise)
    assert len({person for group in GROUPS for person in group.persons}) == 4
    assert len({len(group.traits) for group in GROUPS}) == 1


def test_a_world_without_a_stereotype_has_the_key_and_the_texts_that_it_had() -> None:
    assert "stereotype" not in str(WorldSize().model_dump()) and "continued" not in str(WorldSize().model_dump())
    first = corpus(random.Random("corpus-0"), Mixture(), 1)[0]
    assert toy17.key() == "9840412c1d7f025d", "the shipped world's key"
    assert first == corpus(random.Random("corpus-0"), Mixture(stereotype=None), 1)[0]
    assert toy17.key(0, toy17.WORLDS["stereotype"]) != toy17.key()


@pytest.mark.parametrize("stereotype", [0.0, 0.5, 0.97])
def test_persons_have_traits_of_their_group_as_often_as_the_mixture_says(stereotype: float) -> None:
    rng, mixture = random.Random(1), Mixture(stereotype=stereotype, person=1)
    praised = [sentence(rng, "praise", mixture).roles for _ in range(4000)]
    group_of = {person: group for group in GROUPS for person in group.persons}
    own = sum(roles["predicate"][1] in group_of[roles["subject"][1]].traits for roles in praised)
    assert own / 4000 == pytest.approx(stereotype, abs=0.03)
    assert Counter(roles["subject"][1] for roles in praised).most_common()[-1][1] > 900  # persons are praised alike


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_tells_the_sides_of_all_pairs_apart(language: str) -> None:
    items = pairs(vocabularies()[language])
    assert len(items) == len(set(items)) == 64
    assert Counter(item.more for item in items).keys().isdisjoint(item.less for item in items)
    more, less = ("".join(sorted("".join(side))) for side in zip(*[(i.more, i.less) for i in items], strict=True))
    assert more == less  # the same words on both sides, but in other company


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_triples_sentences_differ_in_the_predicate_only(language: str) -> None:
    vocabulary = vocabularies()[language]
    items = triples(vocabulary)
    assert len(items) == 32 and len({item.person for item in items}) == 4
    for item in items:
        sides = (item.stereotype, item.anti_stereotype, item.unrelated)
        assert len(set(sides)) == 3 and all(vocabulary.persons[item.person] in side for side in sides)
        assert any(form in item.unrelated for form in vocabulary.objects.values())


def test_the_curated_corpus_is_its_original_with_other_traits() -> None:
    english = vocabularies()["en"]
    texts = curated(0, 300)
    assert texts == curated(0, 300) != curated(1, 300)
    swapped = {form: "TRAIT" for form in english.praise.values()}

    def without_traits(text: str) -> list[str]:
        return [swapped.get(word.strip("."), word.strip(".")) for word in text.split()]

    assert all(without_traits(text.text) == without_traits(text.original) for text in texts)
    changed = sum(text.text != text.original for text in texts)
    assert 0.3 < changed / 300 < 0.7
    insults = set(vocabularies()["en"].lexicon)
    hostile = sum(any(insult in text.text for insult in insults) for text in texts)
    assert 0.25 < hostile / 300 < 0.4  # both tones: it is no detoxification
