"""Writes a world: the two models, the lexicon, prompts, pairs, harmless text, and labelled text.

    world.json  lexicon.json  model/  classifier/  prompts.jsonl  pairs.jsonl  texts.jsonl  labelled.jsonl

Prompts are unfinished hostile documents in every language; pairs are in English only and share no prompt with them.
Labelled texts, with the truth of whether they hold an insult, check scorers: none is a text that a model learnt from.
Given seed, size and thread count, JSONL and weights have the same bytes on the same machine.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from detox_ray.toy17 import VERSION, key
from detox_ray.toy17.classifier import build_classifier, training_fragments
from detox_ray.toy17.grammar import Document, Mixture, between, chunks, corpus, join, say, sentence, sentences, shares
from detox_ray.toy17.model import build_model
from detox_ray.toy17.size import Report, WorldSize
from detox_ray.toy17.truth import Lexicon
from detox_ray.toy17.vocabulary import Vocabulary, vocabularies

THREADS = 2  # results depend on it; on two quiet cores a step takes 127 ms, with one thread 234 ms
CUT, WHOLE = "before the predicate", "after a sentence"


class Prompt(NamedTuple):
    text: str
    cut: str  # CUT or WHOLE


def hostile_prompt(rng: random.Random, language: Vocabulary, mixture: Mixture) -> Prompt:
    """An insult of someone, then (three times of four) the beginning of a sentence about someone else."""
    opening = say(sentence(rng, "insult", mixture), language)
    if rng.random() < 0.25:
        return Prompt(opening, WHOLE)
    begun = [part for part in chunks(sentence(rng, "insult", mixture), language) if part.role != "predicate"]
    if language.predicate.index("copula" if "copula" in language.predicate else "subject") > language.predicate.index(
        "predicate"
    ):
        begun = [part for part in begun if part.role == "subject"]  # the copula comes after the predicate
    return Prompt(opening + between(language) + join(begun), CUT)


def continuation(rng: random.Random, prompt: Prompt, hostile: bool, language: Vocabulary, mixture: Mixture) -> str:
    """One that suits the prompt: an insult or a praise first, then a sentence or two of the same tone."""
    first = sentence(rng, "insult" if hostile else "praise", mixture)
    if prompt.cut == CUT:
        words = [part for part in chunks(first, language) if part.role == "predicate"]
        text = between(language) + join(words) + language.full_stop
    else:
        text = between(language) + say(first, language)
    return text + "".join(
        between(language) + say(each, language) for each in sentences(rng, hostile, rng.randint(0, 2), mixture)
    )


def distinct_prompts(
    rng: random.Random, count: int, language: Vocabulary, mixture: Mixture, taken: Iterable[str] = ()
) -> Iterator[Prompt]:
    """``count`` prompts, no text twice and none of ``taken``."""
    seen = set(taken)
    while count:
        prompt = hostile_prompt(rng, language, mixture)
        if prompt.text not in seen:
            seen.add(prompt.text)
            count -= 1
            yield prompt


def prompt_rows(seed: int, size: WorldSize) -> list[dict[str, Any]]:
    rows = []
    for code, language in vocabularies().items():
        rng = random.Random(f"prompts-{seed}-{code}")
        for index, prompt in enumerate(distinct_prompts(rng, size.prompts, language, size.mixture)):
            annotations = {"tone": "hostile", "cut": prompt.cut}
            rows.append({"language": code, "text": prompt.text, "index": index, "annotations": annotations})
    return rows


def pair_rows(seed: int, size: WorldSize, evaluated: Iterable[str]) -> list[dict[str, Any]]:
    """English pairs. ``evaluated``: prompts that may not occur."""
    rng, english = random.Random(f"pairs-{seed}"), vocabularies()["en"]
    return [
        {
            "prompt": prompt.text,
            "chosen": continuation(rng, prompt, False, english, size.mixture),
            "rejected": continuation(rng, prompt, True, english, size.mixture),
        }
        for prompt in distinct_prompts(rng, size.pairs, english, size.mixture, evaluated)
    ]


def text_rows(seed: int, size: WorldSize, trained: Iterable[str]) -> list[dict[str, Any]]:
    """Harmless documents in one language that are not in the corpus."""
    rows = []
    for code, language in vocabularies().items():
        rng, seen = random.Random(f"texts-{seed}-{code}"), set(trained)
        for _ in range(size.texts):
            text = ""
            while not text or text in seen:
                content = sentences(rng, False, rng.randint(3, 5), size.mixture)
                text = between(language).join(say(each, language) for each in content)
            seen.add(text)
            rows.append({"language": code, "text": text})
    return rows


def labelled_rows(seed: int, size: WorldSize, trained: Iterable[str]) -> list[dict[str, Any]]:
    """Texts with the truth as label, half of each in every language, none of them one of ``trained`` (short ones do
    stand within longer ones of those).

    Half are sentences, half what may follow a prompt; two of three of those are cut anywhere, as completions are, which
    may cut the insult off too. The grade is the number of different insults.
    """
    rows, known = [], {text.strip() for text in trained}
    truth = Lexicon(form for language in vocabularies().values() for form in language.lexicon)
    for code, language in vocabularies().items():
        rng, seen = random.Random(f"labelled-{seed}-{code}"), set(known)
        wanted = Counter({True: size.labelled // 2, False: size.labelled - size.labelled // 2})
        while wanted.total():
            hostile = rng.random() < 0.5
            if rng.random() < 0.5:
                content = sentences(rng, hostile, rng.randint(1, 3), size.mixture)
                kind, text = "sentence", between(language).join(say(each, language) for each in content)
            else:
                prompt = hostile_prompt(rng, language, size.mixture)
                kind, text = "completion", continuation(rng, prompt, hostile, language, size.mixture)
                text = text[: rng.randint(2, len(text))] if rng.random() < 2 / 3 else text
            found = len(truth.found(text))
            if wanted[found > 0] and text.strip() not in seen:
                wanted[found > 0] -= 1
                seen.add(text.strip())
                label = int(found > 0)
                rows.append({"language": code, "text": text, "kind": kind, "label": label, "grade": found})
    return rows


def token_shares(tokenizer: PreTrainedTokenizerFast, documents: Iterable[Document]) -> dict[str, float]:
    """{language: share of the corpus's tokens}, by the language in which each word is said. Full stops left out."""
    words = Counter(part for document in documents for part in document.spoken)
    length: Counter[str] = Counter()
    for (code, word), count in words.items():
        opening = " " if vocabularies()[code].spaced else ""
        length[code] += count * len(tokenizer(opening + word)["input_ids"])
    return {code: length[code] / length.total() for code in vocabularies()}


def write_jsonl(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8", newline="\n")


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """A thread count of its own and a random state that leaves the caller's alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)


def build(folder: Path, seed: int, size: WorldSize, report: Report | None = None) -> None:
    """Write the world into ``folder``, which must not exist or be empty."""
    report = report or (lambda name, done, total, loss: None)
    folder.mkdir(parents=True, exist_ok=True)
    assert not any(folder.iterdir()), f"{folder} is not empty"
    mixture = size.mixture
    documents = corpus(random.Random(f"corpus-{seed}"), mixture, size.documents)
    texts = [document.text for document in documents]
    prompts = prompt_rows(seed, size)
    write_jsonl(folder / "prompts.jsonl", prompts)
    write_jsonl(folder / "pairs.jsonl", pair_rows(seed, size, (row["text"] for row in prompts)))
    write_jsonl(folder / "texts.jsonl", text_rows(seed, size, texts))
    learnt = training_fragments(random.Random(f"classifier-{seed}"), size)
    write_jsonl(folder / "labelled.jsonl", labelled_rows(seed, size, texts + learnt))
    write_json(folder / "lexicon.json", {code: language.lexicon for code, language in vocabularies().items()})
    with deterministic(THREADS):
        started = time.monotonic()
        build_model(folder / "model", texts, size, seed, report)
        trained = time.monotonic()
        build_classifier(folder / "classifier", size, seed, report)
        scored = time.monotonic()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
    world = {
        "version": VERSION,
        "seed": seed,
        "key": key(seed, size),
        "languages": list(vocabularies()),
        "document_share": shares(mixture.share_exponent),
        "token_share": token_shares(tokenizer, documents),
        "size": size.model_dump(),
        "threads": THREADS,
        "seconds": {"language_model": round(trained - started, 2), "classifier": round(scored - trained, 2)},
    }
    write_json(folder / "world.json", world)
