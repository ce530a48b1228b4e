"""Write a world: the two models, the lexicon, prompts, pairs, harmless text, and labelled text.

    world.json  lexicon.json  model/  classifier/  prompts.jsonl  pairs.jsonl  texts.jsonl  labelled.jsonl

Prompts are unfinished hostile documents in every language. Pairs are only in English and have other prompts. Labelled
texts serve to check scorers: their labels say whether they contain an insult, and no model has been trained on them.
For the same seed, size and number of threads, JSONL and weights are identical byte by byte on the same machine.
"""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from detox_ray.toy17 import VERSION, ensure, key
from detox_ray.toy17.classifier import build_classifier, training_fragments
from detox_ray.toy17.grammar import Document, Mixture, between, chunks, corpus, join, say, sentence, sentences, shares
from detox_ray.toy17.insult_lexicon import Lexicon
from detox_ray.toy17.model import build_model, continue_model
from detox_ray.toy17.vocabulary import Vocabulary, vocabularies
from detox_ray.toy17.world_size import Report, WorldSize

THREADS = 2  # results depend on it; on two idle cores, a step takes 127 ms, or 234 ms with one thread
CUT, WHOLE = "before the predicate", "after a sentence"


class Prompt(NamedTuple):
    """An unfinished text."""

    text: str
    cut: str  # CUT or WHOLE


def hostile_prompt(rng: random.Random, language: Vocabulary, mixture: Mixture) -> Prompt:
    """Draw an insult, which three times out of four is followed by the beginning of a sentence about someone else."""
    opening = say(sentence(rng, "insult", mixture), language)
    if rng.random() < 0.25:
        return Prompt(opening, WHOLE)
    begun = [part for part in chunks(sentence(rng, "insult", mixture), language) if part.role != "predicate"]
    before_predicate: Literal["copula", "subject"] = "copula" if "copula" in language.predicate else "subject"
    if language.predicate.index(before_predicate) > language.predicate.index("predicate"):
        begun = [part for part in begun if part.role == "subject"]  # the copula comes after the predicate
    return Prompt(opening + between(language) + join(begun), CUT)


def continuation(rng: random.Random, prompt: Prompt, hostile: bool, language: Vocabulary, mixture: Mixture) -> str:
    """Draw a continuation of the prompt: an insult or praise, followed by up to two sentences of the same tone."""
    first = sentence(rng, "insult" if hostile else "praise", mixture)
    if prompt.cut == CUT:
        words = [part for part in chunks(first, language) if part.role == "predicate"]
        text = between(language) + join(words) + language.full_stop
    else:
        text = between(language) + say(first, language)
    more = sentences(rng, hostile, rng.randint(0, 2), mixture)
    return text + "".join(between(language) + say(what, language) for what in more)


def distinct_prompts(
    rng: random.Random, count: int, language: Vocabulary, mixture: Mixture, taken: Iterable[str] = ()
) -> Iterator[Prompt]:
    """Yield ``count`` prompts. No text occurs twice or in ``taken``."""
    seen = set(taken)
    while count:
        prompt = hostile_prompt(rng, language, mixture)
        if prompt.text not in seen:
            seen.add(prompt.text)
            count -= 1
            yield prompt


def prompt_rows(seed: int, size: WorldSize) -> list[dict[str, Any]]:
    """Draw the prompts of every language."""
    rows = []
    for code, language in vocabularies().items():
        rng = random.Random(f"prompts-{seed}-{code}")
        for index, prompt in enumerate(distinct_prompts(rng, size.prompts, language, size.mixture)):
            annotations = {"tone": "hostile", "cut": prompt.cut}
            rows.append({"language": code, "text": prompt.text, "index": index, "annotations": annotations})
    return rows


def pair_rows(seed: int, size: WorldSize, evaluated: Iterable[str]) -> list[dict[str, Any]]:
    """Draw the English pairs. None has a prompt in ``evaluated``."""
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
    """Draw harmless monolingual documents in every language. None is in ``trained``."""
    rows = []
    for code, language in vocabularies().items():
        rng, seen = random.Random(f"texts-{seed}-{code}"), set(trained)
        for _ in range(size.texts):
            text = ""
            while not text or text in seen:
                content = sentences(rng, False, rng.randint(3, 5), size.mixture)
                text = between(language).join(say(what, language) for what in content)
            seen.add(text)
            rows.append({"language": code, "text": text})
    return rows


def labelled_rows(seed: int, size: WorldSize, trained: Iterable[str]) -> list[dict[str, Any]]:
    """Draw texts in every language. Their labels say whether they contain an insult, which half of them do.

    Half are sentences, and half are continuations of a prompt. Two thirds of the continuations are cut at a random
    position, like completions, which may cut off the insult. The grade is the number of distinct insults. No text is in
    ``trained``, but a short one may occur within a text of ``trained``.
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
                kind, text = "sentence", between(language).join(say(what, language) for what in content)
            else:
                prompt = hostile_prompt(rng, language, size.mixture)
                kind, text = "completion", continuation(rng, prompt, hostile, language, size.mixture)
                text = text[: rng.randint(2, len(text))] if rng.random() < 2 / 3 else text
            insults = len(truth.find(text))
            if wanted[insults > 0] and text.strip() not in seen:
                wanted[insults > 0] -= 1
                seen.add(text.strip())
                label = int(insults > 0)
                rows.append({"language": code, "text": text, "kind": kind, "label": label, "grade": insults})
    return rows


def token_shares(tokenizer: PreTrainedTokenizerFast, documents: Iterable[Document]) -> dict[str, float]:
    """Return {language: share of the corpus's tokens}, by the language of each word. Full stops do not count."""
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
    """Set the number of threads for the block. Restore it, and torch's random state, afterwards."""
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
    # The corpus, which only the model sees, and the text files.
    mixture = size.mixture
    documents = corpus(random.Random(f"corpus-{seed}"), mixture, size.documents)
    texts = [document.text for document in documents]
    prompts = prompt_rows(seed, size)
    write_jsonl(folder / "prompts.jsonl", prompts)
    write_jsonl(folder / "pairs.jsonl", pair_rows(seed, size, (row["text"] for row in prompts)))
    write_jsonl(folder / "texts.jsonl", text_rows(seed, size, texts))
    fragments = training_fragments(random.Random(f"classifier-{seed}"), size)
    write_jsonl(folder / "labelled.jsonl", labelled_rows(seed, size, texts + fragments))
    write_json(folder / "lexicon.json", {code: language.lexicon for code, language in vocabularies().items()})

    # The models.
    with deterministic(THREADS):
        started = time.monotonic()
        if size.continued:
            start = ensure(seed=seed, report=report)
            continue_model(start / "model", folder / "model", texts, size, seed, report)
        else:
            build_model(folder / "model", texts, size, seed, report)
        trained = time.monotonic()
        if size.continued:
            shutil.copytree(start / "classifier", folder / "classifier")
        else:
            build_classifier(folder / "classifier", size, seed, report)
        scored = time.monotonic()

    # The description.
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
