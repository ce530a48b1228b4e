"""Rules on completions, lines and words with an identifier that says what its text says."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from contexts import context, planned

from detox_ray.cluster.unit_jobs import Task
from detox_ray.config import InputError, QualityConfig
from detox_ray.score import identifiers
from detox_ray.score.english_words import is_english_word, read_words
from detox_ray.score.identifiers import Identified
from detox_ray.score.identify import (
    IdentificationStage,
    IdentificationWorker,
    IdentifiedText,
    enough_letters,
    long_lines,
)
from detox_ray.storage import Store, Unit
from detox_ray.storage.tables import EMPTY, GENERATIONS, IDENTIFICATIONS, OK, TOO_SHORT

Commit = Callable[..., tuple[Unit, str]]


class ByFirstWord:
    """The language is the text's first word, in lower case; "unsure" is Swedish at 0.3."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        self.asked += texts
        first = [(text.split() or [""])[0].lower() for text in texts]
        return [Identified("sv", 0.3) if word == "unsure" else Identified(word, 0.9) for word in first]


@pytest.fixture
def worker(store: Store, monkeypatch: pytest.MonkeyPatch) -> IdentificationWorker:
    monkeypatch.setattr(identifiers, "load", lambda *_: ByFirstWord())
    return IdentificationWorker("lingua", None, None, store)


def judged(worker: IdentificationWorker, text: str, language: str = "fr") -> IdentifiedText:
    (found,) = worker.judge([text], language)
    return found


LONG = "the bread of the old town is good"


@pytest.mark.parametrize(
    ("text", "status", "identified"),
    [
        (f"fr {LONG}", OK, "fr"),
        (f"en {LONG}", OK, "en"),
        (f"unsure {LONG}", OK, "und"),
        ("", EMPTY, None),
        (" \n\t\u3000", EMPTY, None),
        ("fr short text", TOO_SHORT, None),
        ("😀 😀 😀 😀 😀 😀", TOO_SHORT, None),
        ("\u200b\u200f\x00", TOO_SHORT, None),
        ("12 34 56 78 90 12 34 56 78 90", TOO_SHORT, None),
        ("ru он пришёл", OK, "ru"),  # a letter of another script says more
        ("ja 今朝", TOO_SHORT, None),
        ("ar \u202bذهبت إلى السوق\u202c", OK, "ar"),  # right to left, with marks that say so
    ],
)
def test_completion_as_a_whole(worker: IdentificationWorker, text: str, status: str, identified: str | None) -> None:
    found = judged(worker, text)
    assert (found.status, found.identified) == (status, identified)
    assert (found.confidence is None) == (status != OK)


def test_lines_are_judged_without_punctuation_and_short_ones_not_at_all(worker: IdentificationWorker) -> None:
    text = "fr, one two three four!\nen one two three\n(en) one two — three, four،\nunsure 1 2 3 4\nfr a b c"
    assert judged(worker, text)[2:4] == (3, 2)  # "en one two three" and "fr a b c" have four tokens


def test_text_after_a_next_question_is_not_judged(worker: IdentificationWorker) -> None:
    assert judged(worker, "fr one two three four\nQ: en one two three four\nen one two three four")[2:4] == (1, 0)


def test_hashes_dashes_and_arabic_commas_leave_the_line() -> None:
    (line,) = long_lines("  #a-b (c) d،e — f g_h i  ", "fr")
    assert line.text == "ab c de   f gh i"
    assert line.tokens == ["ab", "c", "de", "f", "gh", "i"]


def test_unspaced_lines_are_counted_in_segmented_tokens() -> None:
    assert len(long_lines("他在我爱的北京\n我爱北京", "zh")) == 1  # six and three tokens
    assert len(long_lines("先生は怠け者です\n先生は", "ja")) == 0
    assert len(long_lines("先生はとても怠け者です", "ja")) == 1
    assert len(long_lines("我爱北京天安门", "fr")) == 0


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("ru", "ru один два bread три четыре", True),
        ("ru", "ru один два bread, три четыре", True),  # punctuation goes first
        ("ru", "ru один два cat три четыре", False),  # three letters
        ("ru", "ru один два London три четыре", False),  # a name
        ("ru", "ru один два naïve три четыре", False),
        ("ru", "ru один bread", False),  # the line is too short to be judged
        ("ja", "私は昨日の朝に bread を買いました", True),
        ("fr", "fr one two bread three four", False),  # of the same script: it may be French
    ],
)
def test_english_word_in_a_text_of_another_script(
    worker: IdentificationWorker, language: str, text: str, expected: bool
) -> None:
    assert judged(worker, text, language).english_word is expected


def test_english_words_are_lower_case_ascii_of_four_letters_or_more() -> None:
    assert is_english_word("word ", None)
    assert not any(is_english_word(word, None) for word in ("the", "Word", "w0rd", "wörd", "ｗｏｒｄ", ""))


def test_english_words_of_a_list_are_its_lower_case_ones_of_four_letters_or_more(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "words"
    path.write_bytes("\ufeffbread\r\ncat\r\nLondon\r\nnaïve\n  town  \n\n".encode())
    words = read_words(str(path)).words
    assert words == {"bread", "naïve", "town"}
    monkeypatch.setattr(identifiers, "load", lambda *_: ByFirstWord())
    listed = IdentificationWorker("lingua", None, words, store)
    for word, expected in (("bread", True), ("town", True), ("roti", False), ("London", False), ("cat", False)):
        assert judged(listed, f"ru один два {word} три четыре", "ru").english_word is expected
    assert not judged(listed, "fr bread bread bread bread", "fr").english_word


def plan(generations: dict[Unit, str], config: QualityConfig) -> dict[Unit, str]:
    return planned(IdentificationStage(), context(generations, quality=config.model_dump()))


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"", b"cat\nLondon\n"])
def test_word_list_that_cannot_be_used_is_refused_with_its_field(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "words"
    if content is not None:
        path.write_bytes(content)
    config = QualityConfig(word_list=str(path))
    with pytest.raises(InputError, match=r"quality\.word_list: must .*words"):
        plan({GENERATIONS.unit(model="base", language="ru"): "g"}, config)
    problems = IdentificationStage().check(context({}, quality=config.model_dump()).experiment, lambda note: None)
    assert [problem.field for problem in problems] == ["quality.word_list"]


def test_word_list_without_an_identifier_is_refused() -> None:
    with pytest.raises(ValueError, match="word_list: needs an identifier"):
        QualityConfig(identifier=None, word_list="words")


def test_content_of_the_word_list_is_in_the_key_of_languages_that_it_judges(tmp_path: Path) -> None:
    generations = {GENERATIONS.unit(model="base", language=language): "g" for language in ("fr", "ru")}
    path, config = tmp_path / "words", QualityConfig(word_list=str(tmp_path / "words"))
    plans = [plan(generations, QualityConfig())]
    for content in ("bread\n", "bread\ntown\n"):
        path.write_text(content)
        plans.append(plan(generations, config))
    french, russian = (
        {each[IDENTIFICATIONS.unit(model="base", language=code)] for each in plans} for code in ("fr", "ru")
    )
    assert (len(french), len(russian)) == (1, 3)


def test_letters_of_other_scripts_count_for_four() -> None:
    assert enough_letters("ü" * 20) and not enough_letters("ü" * 19)
    assert enough_letters("хлебы") and not enough_letters("хлеб")
    assert enough_letters("хлеб" + "abcd") and not enough_letters("хлеб" + "abc")


def test_unit_has_a_row_per_completion_and_asks_for_each_text_once(
    worker: IdentificationWorker, commit: Commit, store: Store
) -> None:
    texts = [f"fr {LONG}", "", f"en {LONG}", f"fr {LONG}", "a" * 100_000, "\x00\x1b[31m <script>\u2028"]
    source = commit("fr", *texts)
    product = worker.make(Task(IDENTIFICATIONS.unit(model="base", language="fr"), "k", (source,)))
    assert product.rows.schema == IDENTIFICATIONS.columns
    rows = product.rows.to_pylist()
    assert [row["sample"] for row in rows] == list(range(6))
    assert [row["status"] for row in rows] == [OK, EMPTY, OK, OK, OK, TOO_SHORT]
    assert [row["wrong_lines"] for row in rows] == [0, 0, 1, 0, 0, 0]
    assert product.info["status_counts"] == {OK: 4, EMPTY: 1, TOO_SHORT: 1}
    identifier = worker._identifier
    assert isinstance(identifier, ByFirstWord)
    assert len(identifier.asked) == len(set(identifier.asked)) == 3


def test_plan_has_a_unit_for_each_of_the_generations_and_its_key_follows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generations = {GENERATIONS.unit(model="base", language="fr", shard=shard): f"key{shard}" for shard in (0, 1)}
    config = QualityConfig(identifier="lingua")
    first = plan(generations, config)
    assert list(first) == [IDENTIFICATIONS.unit(model="base", language="fr", shard=shard) for shard in (0, 1)]
    assert len(set(first.values())) == 2
    assert first == plan(generations, config)
    assert not set(first.values()) & set(plan(generations, QualityConfig(identifier="py3langid")).values())
    assert plan(generations, QualityConfig(identifier=None)) == {}
    monkeypatch.setattr("detox_ray.score.identifiers.metadata.version", lambda _: "9")
    assert not set(first.values()) & set(plan(generations, config).values())
