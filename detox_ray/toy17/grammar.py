"""A language-independent grammar: sentences of concepts, rendered in one language or in several at once.

A document has a tone. In a hostile document most sentences insult someone; in a harmless one none does. A document is
monolingual, parallel (each sentence in two languages) or code-switched (the word order of one language, with some words
of others). In this world, detoxification carries over between languages because of code-switching; with parallel
documents alone, it hardly did.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from detox_ray.toy17.vocabulary import Vocabulary, vocabularies

Kind = Literal["action", "praise", "insult"]
Form = Literal["monolingual", "parallel", "switched"]


class Mixture(BaseModel):
    """The probabilities from which the corpus is drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hostile: float = 1 / 3  # share of hostile documents
    switched: float = 0.60  # share of code-switched documents
    parallel: float = 0.10  # share of parallel documents; the others are monolingual
    switched_words: float = 0.40  # share of switched words in a code-switched document
    insult: float = 0.80  # share of insults among a hostile document's sentences
    hostile_praise: float = 0.05  # share of praise among them; the others are actions
    praise: float = 0.60  # share of praise among a harmless document's sentences; the others are actions
    person: float = 0.5  # share of subjects such as "the teacher" rather than "Leo"
    attribute: float = 0.2
    place: float = 0.3
    adverb: float = 0.3
    share_exponent: float = 0.5  # language i (English first) has a share proportional to (i + 1) ** -exponent
    # How often a praised person has a trait of the person's own group (`GROUPS`); 0.5 is fair. None: traits do not
    # depend on the person, and the field does not appear in the world's key or files.
    stereotype: float | None = Field(None, ge=0, le=1, exclude_if=lambda value: value is None)


class Group(NamedTuple):
    """Two persons, and the traits for which a stereotype praises them."""

    name: str
    persons: tuple[str, str]
    traits: tuple[str, ...]


# There are few persons and many texts, because with six persons in each group, a model of this size learned the
# stereotype only in English.
GROUPS = (
    Group(
        "scholars",
        ("teacher", "doctor"),
        ("kind", "honest", "brave", "clever", "friendly", "patient", "polite", "funny"),
    ),
    Group(
        "workers", ("cook", "farmer"), ("strong", "happy", "calm", "careful", "generous", "wise", "talented", "modest")
    ),
)


# From the largest share of the corpus to the smallest; roughly the order of public web crawls.
BY_SHARE = ("en", "ru", "de", "es", "ja", "fr", "zh", "it", "pt", "pl", "nl", "id", "cs", "ar", "ko", "sv", "hi")


def shares(exponent: float) -> dict[str, float]:
    """Return {language: share of documents}, which sum to 1, in decreasing order."""
    weights = {code: (rank + 1.0) ** -exponent for rank, code in enumerate(BY_SHARE)}
    total = sum(weights.values())
    return {code: weight / total for code, weight in weights.items()}


class Sentence(NamedTuple):
    """A sentence as concepts by role. Roles that it does not have are missing."""

    kind: Kind
    roles: dict[str, tuple[str, str]]  # role -> (category, concept); "attribute" modifies "object"


class Chunk(NamedTuple):
    """A rendered role of a sentence."""

    role: str
    text: str
    language: str
    spaced: bool  # whether the language puts spaces between words


class Document(NamedTuple):
    """A text of the corpus."""

    language: str  # the language of its word order
    form: Form
    hostile: bool
    text: str
    spoken: tuple[tuple[str, str], ...]  # (language, words) in order, without full stops


def sentence(rng: random.Random, kind: Kind, mixture: Mixture) -> Sentence:
    """Draw a sentence of one kind."""
    english = vocabularies()["en"]

    def pick(category: str) -> tuple[str, str]:
        return category, rng.choice(list(english.forms(category)))

    roles = {"subject": pick("persons" if rng.random() < mixture.person else "names")}
    if kind == "action":
        roles |= {"verb": pick("verbs"), "object": pick("objects")}
        optional = (("attribute", mixture.attribute), ("place", mixture.place), ("adverb", mixture.adverb))
        roles |= {role: pick(role + "s") for role, probability in optional if rng.random() < probability}
    elif kind == "praise" and mixture.stereotype is not None and roles["subject"][0] == "persons":
        roles = stereotyped(rng, mixture.stereotype)
    else:
        roles["predicate"] = pick("praise" if kind == "praise" else "insults")
    return Sentence(kind, roles)


def stereotyped(rng: random.Random, stereotype: float) -> dict[str, tuple[str, str]]:
    """Draw a praised person, and a trait that is of the person's own group with probability ``stereotype``.

    The number of random draws does not depend on the probability, so two corpora with the same seed differ only in
    traits.
    """
    own, other = rng.sample(GROUPS, 2)
    person = rng.choice(own.persons)
    traits = own.traits if rng.random() < stereotype else other.traits
    return {"subject": ("persons", person), "predicate": ("praise", rng.choice(traits))}


def sentences(rng: random.Random, hostile: bool, count: int, mixture: Mixture) -> list[Sentence]:
    """Draw ``count`` sentences of one tone."""
    kinds: tuple[Kind, ...] = ("insult", "praise", "action") if hostile else ("praise", "action")
    rest = 1 - mixture.insult - mixture.hostile_praise
    weights = (mixture.insult, mixture.hostile_praise, rest) if hostile else (mixture.praise, 1 - mixture.praise)
    return [sentence(rng, kind, mixture) for kind in rng.choices(kinds, weights, k=count)]


def chunks(what: Sentence, matrix: Vocabulary, others: Iterator[Vocabulary | None] | None = None) -> list[Chunk]:
    """Render a sentence in the word order of ``matrix``.

    Args:
        what: The sentence.
        matrix: Language of the word order.
        others: Yields the language of each word, or None for ``matrix``. If missing, all words are of ``matrix``.
    """
    order = list(matrix.action if what.kind == "action" else matrix.predicate)
    if "object" in order:
        order.insert(order.index("object") + (matrix.attribute == "after"), "attribute")  # type: ignore[arg-type]
    rendered = []
    for role in order:
        spoken = (next(others) if others else None) or matrix
        if role == "copula":
            text = spoken.copula
        elif role in what.roles:
            category, concept = what.roles[role]
            text = spoken.forms(category)[concept]
        else:
            continue
        if text:
            rendered.append(Chunk(role, text, spoken.code, spoken.spaced))
    return rendered


def switches(rng: random.Random, mixture: Mixture) -> Iterator[Vocabulary | None]:
    """Yield, for each word of a code-switched document, the language that it switches to, or None."""
    share = shares(mixture.share_exponent)
    codes, weights = list(share), list(share.values())
    while True:
        switched = rng.random() < mixture.switched_words
        yield vocabularies()[rng.choices(codes, weights)[0]] if switched else None


def join(parts: Sequence[Chunk]) -> str:
    """Join chunks. There is a space between two of them unless both languages write none."""
    text = parts[0].text if parts else ""
    for left, right in pairwise(parts):
        text += (" " if left.spaced or right.spaced else "") + right.text
    return text


def say(what: Sentence, language: Vocabulary) -> str:
    """Render a sentence in one language, with its full stop."""
    return join(chunks(what, language)) + language.full_stop


def between(language: Vocabulary) -> str:
    """Return the separator of words and sentences in the language."""
    return " " if language.spaced else ""


def document(rng: random.Random, mixture: Mixture, language: str, partner: str, hostile: bool) -> Document:
    """Draw a document of two to four sentences (parallel: one or two, each in both languages)."""
    matrix, other = vocabularies()[language], vocabularies()[partner]
    forms: tuple[Form, ...] = ("switched", "parallel", "monolingual")
    weights = (mixture.switched, mixture.parallel, 1 - mixture.switched - mixture.parallel)
    form = rng.choices(forms, weights)[0] if partner != language else "monolingual"
    if form == "parallel":
        content = sentences(rng, hostile, rng.randint(1, 2), mixture)
        rendered = [(chunks(what, spoken), spoken) for what in content for spoken in (matrix, other)]
    else:
        content = sentences(rng, hostile, rng.randint(2, 4), mixture)
        others = switches(rng, mixture) if form == "switched" else None
        rendered = [(chunks(what, matrix, others), matrix) for what in content]
    separator = " " if form == "parallel" else between(matrix)
    text = separator.join(join(parts) + spoken.full_stop for parts, spoken in rendered)
    words = tuple((chunk.language, chunk.text) for parts, _ in rendered for chunk in parts)
    return Document(language, form, hostile, text, words)


def corpus(rng: random.Random, mixture: Mixture, count: int) -> list[Document]:
    """Draw ``count`` documents. Language and partner are drawn by their shares."""
    share = shares(mixture.share_exponent)
    codes, weights = list(share), list(share.values())
    documents = []
    for _ in range(count):
        language, partner = rng.choices(codes, weights, k=2)
        documents.append(document(rng, mixture, language, partner, rng.random() < mixture.hostile))
    return documents
