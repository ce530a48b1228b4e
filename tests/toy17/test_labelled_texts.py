"""toy17's labelled texts: balanced, true, unlike what was learnt, and readable as any labelled file."""

import random
from collections import Counter
from pathlib import Path

from detox_ray.config import ValidityConfig
from detox_ray.data import read_labelled
from detox_ray.storage.tables import LABELLED
from detox_ray.toy17 import WorldSize
from detox_ray.toy17.classifier import training_fragments
from detox_ray.toy17.grammar import corpus
from detox_ray.toy17.insult_lexicon import Lexicon, insults
from detox_ray.toy17.vocabulary import vocabularies
from detox_ray.toy17.world import labelled_rows

SIZE = WorldSize.small()


def test_half_of_each_language_holds_an_insult_and_the_label_says_which() -> None:
    truth = Lexicon(form for forms in insults().values() for form in forms)
    rows = labelled_rows(0, SIZE, [])
    assert Counter((row["language"], row["label"]) for row in rows) == {
        (code, label): SIZE.labelled // 2 for code in vocabularies() for label in (0, 1)
    }
    assert all((row["text"] in truth) == row["label"] == (row["grade"] > 0) for row in rows)


def test_no_text_twice_in_a_language_and_none_that_was_learnt() -> None:
    learnt = [document.text for document in corpus(random.Random("corpus-0"), SIZE.mixture, SIZE.documents)]
    learnt += training_fragments(random.Random("classifier-0"), SIZE)
    free = labelled_rows(0, SIZE, [])
    taken = [row["text"] for row in free[:100]]
    rows = labelled_rows(0, SIZE, learnt + taken)
    texts = [(row["language"], row["text"].strip()) for row in rows]
    assert len(set(texts)) == len(texts) == len(free)
    assert not {text for _, text in texts} & {text.strip() for text in learnt + taken}


def test_some_are_cut_as_completions_are() -> None:
    rows = [row for row in labelled_rows(0, SIZE, []) if row["kind"] == "completion"]
    cut = [row for row in rows if not row["text"].endswith(vocabularies()[row["language"]].full_stop)]
    assert 0.4 < len(cut) / len(rows) < 0.8


def test_the_same_seed_gives_the_same_texts_and_another_does_not() -> None:
    assert labelled_rows(0, SIZE, []) == labelled_rows(0, SIZE, [])
    assert labelled_rows(0, SIZE, []) != labelled_rows(1, SIZE, [])


def test_a_built_world_is_read_as_labelled_text(toy_world: Path) -> None:
    read = read_labelled(ValidityConfig(source="toy17"), list(vocabularies()), "stop", toy_world)
    for rows in read.values():
        assert rows.table.schema == LABELLED.columns
        assert rows.table["toxic"].to_pylist().count(True) == SIZE.labelled // 2 == rows.table.num_rows // 2
        assert set(rows.table["source"].to_pylist()) == {"toy17"}
        assert rows.notes == rows.skipped == []
