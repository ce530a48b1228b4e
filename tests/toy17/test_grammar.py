"""Sentences and documents: word order, tone, code-switching, and the rows made of them."""

import random
from itertools import chain, repeat

import pytest

from detox_ray.toy17.grammar import BY_SHARE, Mixture, Sentence, chunks, corpus, join, say, shares
from detox_ray.toy17.insult_lexicon import Lexicon, insults
from detox_ray.toy17.vocabulary import vocabularies
from detox_ray.toy17.world import continuation, distinct_prompts, pair_rows, prompt_rows, text_rows
from detox_ray.toy17.world_size import WorldSize

TRUTH = Lexicon(chain.from_iterable(insults().values()))
SIZE = WorldSize(prompts=100, pairs=300, texts=10)
ACTION = Sentence(
    "action",
    {
        "subject": ("persons", "teacher"),
        "verb": ("verbs", "buys"),
        "object": ("objects", "books"),
        "attribute": ("attributes", "useful"),
        "place": ("places", "garden"),
        "adverb": ("adverbs", "today"),
    },
)
INSULT = Sentence("insult", {"subject": ("names", "Leo"), "predicate": ("insults", "liar")})


@pytest.mark.parametrize(
    ("code", "action", "insult"),
    [
        ("en", "The teacher buys useful books in the garden today.", "Leo is a liar."),
        ("fr", "Le professeur achète des livres utiles dans le jardin aujourd'hui.", "Léo est un menteur."),
        ("ar", "يشتري المعلم كتبا مفيدة في الحديقة اليوم.", "ليو كاذب."),
        ("hi", "शिक्षक आज बगीचे में उपयोगी किताबें खरीदता है।", "लियो झूठा है।"),
        ("ja", "先生は今日庭で便利な本を買います。", "レオは嘘つきです。"),
        ("zh", "老师今天在花园里买有用的书。", "里奥是个骗子。"),
    ],
)
def test_one_sentence_follows_each_languages_word_order(code: str, action: str, insult: str) -> None:
    assert say(ACTION, vocabularies()[code]) == action
    assert say(INSULT, vocabularies()[code]) == insult


def test_a_switched_sentence_keeps_the_order_of_one_language_and_spaces_the_words_of_the_other() -> None:
    japanese, english = vocabularies()["ja"], vocabularies()["en"]
    assert join(chunks(INSULT, japanese, repeat(english))) == "Leo a liar is"
    assert join(chunks(INSULT, japanese, iter([english, None, None]))) == "Leo 嘘つきです"


@pytest.fixture(scope="module")
def documents() -> list:  # type: ignore[type-arg]
    return corpus(random.Random(0), Mixture(), 6000)


def test_harmless_documents_hold_no_insult_and_most_hostile_ones_do(documents: list) -> None:  # type: ignore[type-arg]
    assert [document.text for document in documents if not document.hostile and document.text in TRUTH] == []
    hostile = [document.text in TRUTH for document in documents if document.hostile]
    assert len(hostile) / len(documents) == pytest.approx(1 / 3, abs=0.03)
    assert sum(hostile) / len(hostile) > 0.85


def test_switched_documents_take_two_of_five_words_from_other_languages(documents: list) -> None:  # type: ignore[type-arg]
    switched = [document for document in documents if document.form == "switched"]
    spoken = [code == document.language for document in switched for code, _ in document.spoken]
    stays = sum(shares(Mixture().share_exponent)[code] ** 2 for code in BY_SHARE)  # switched to the language it has
    assert 1 - sum(spoken) / len(spoken) == pytest.approx(0.4 * (1 - stays), abs=0.02)


def test_shares_decrease_from_english_and_sum_to_one() -> None:
    share = shares(0.7)
    assert set(share) == set(vocabularies())
    assert next(iter(share)) == "en" == BY_SHARE[0]
    assert list(share.values()) == sorted(share.values(), reverse=True)
    assert sum(share.values()) == pytest.approx(1)


def test_prompts_are_distinct_insulting_and_unfinished_in_every_language() -> None:
    rows = prompt_rows(0, SIZE)
    for code, language in vocabularies().items():
        texts = [row["text"] for row in rows if row["language"] == code]
        assert len(set(texts)) == len(texts) == SIZE.prompts
        assert all(text in Lexicon(language.lexicon) for text in texts)
        assert all(text == text.strip() for text in texts)


@pytest.mark.parametrize("code", sorted(vocabularies()))
def test_a_continuation_makes_the_prompt_a_document_of_its_tone(code: str) -> None:
    rng, language = random.Random(0), vocabularies()[code]
    for prompt in distinct_prompts(rng, 40, language, Mixture()):
        hostile = continuation(rng, prompt, True, language, Mixture())
        harmless = continuation(rng, prompt, False, language, Mixture())
        assert hostile in TRUTH
        assert harmless not in TRUTH
        assert (prompt.text + harmless).endswith(language.full_stop)
        assert hostile.startswith(" ") == language.spaced


def test_pairs_are_english_insulting_only_when_rejected_and_share_no_prompt_with_the_evaluation() -> None:
    evaluated = {row["text"] for row in prompt_rows(0, SIZE)}
    rows = pair_rows(0, SIZE, evaluated)
    assert len({row["prompt"] for row in rows}) == len(rows) == SIZE.pairs
    assert not evaluated & {row["prompt"] for row in rows}
    english = Lexicon(vocabularies()["en"].lexicon)
    assert all(row["rejected"] in english and row["chosen"] not in TRUTH for row in rows)


def test_texts_are_harmless_and_not_in_the_corpus() -> None:
    first = text_rows(0, SIZE, ())
    again = text_rows(0, SIZE, [row["text"] for row in first])
    assert not {row["text"] for row in first} & {row["text"] for row in again}
    assert not [row for row in first if row["text"] in TRUTH]
