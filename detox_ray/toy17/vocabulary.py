"""The 17 small languages: the words and word order of each, read from a YAML file and validated.

Every language has words for the same concepts. Forms are written as they occur in a sentence, with articles, particles,
copula suffixes and case endings, so the grammar does not inflect them. Fields of a file:

    scripts      prefixes of the Unicode names of its letters
    spaced       whether spaces separate words (not in Japanese and Chinese)
    action       order of the roles in "the teacher buys useful books in the garden today"
    attribute    whether "useful" comes before or after "books"
    predicate    order of the roles in "Leo is kind" and "Leo is a liar"
    articles     words that may precede an insult but are not part of it ("a liar"; in Chinese also "very")
"""

import hashlib
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

CATEGORIES = ("names", "persons", "verbs", "objects", "attributes", "places", "adverbs", "praise", "insults")

Forms = dict[str, str]  # concept -> form


class Vocabulary(BaseModel):
    """One language of toy17."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    name: str
    scripts: list[str] = Field(min_length=1)
    spaced: bool
    full_stop: str
    action: list[Literal["subject", "verb", "object", "place", "adverb"]]
    attribute: Literal["before", "after"]
    predicate: list[Literal["subject", "copula", "predicate"]]
    copula: str
    articles: list[str]
    names: Forms
    persons: Forms
    verbs: Forms
    objects: Forms
    attributes: Forms
    places: Forms
    adverbs: Forms
    praise: Forms
    insults: Forms

    def forms(self, category: str) -> Forms:
        """Return the forms of one of `CATEGORIES`."""
        forms: Forms = getattr(self, category)
        return forms

    def all_forms(self) -> list[str]:
        """Return every form, with the copula if the language has one."""
        forms = [form for category in CATEGORIES for form in self.forms(category).values()]
        return [*forms, self.copula] if self.copula else forms

    @cached_property
    def lexicon(self) -> tuple[str, ...]:
        """Return the insults without their articles, in the order of the file."""
        return tuple(self._bare(form) for form in self.insults.values())

    def _bare(self, form: str) -> str:
        for article in sorted(self.articles, key=len, reverse=True):
            opening = article + " " if self.spaced else article
            if form.startswith(opening):
                return form.removeprefix(opening)
        return form


def _files() -> list[Any]:
    folder = files("detox_ray.toy17") / "languages"
    return sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)


@cache
def vocabularies() -> dict[str, Vocabulary]:
    """Return all languages by code, sorted. Raises pydantic's ValidationError if a file is not valid."""
    loaded = (Vocabulary.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in _files())
    return {vocabulary.code: vocabulary for vocabulary in loaded}


def content_hash() -> str:
    """Return a hash of all language files."""
    digest = hashlib.sha256()
    for file in _files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
