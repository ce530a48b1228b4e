"""The identification stage: the language of each completion, and the rules on its lines and words.

The completion as a whole gets the identifier's most likely language, or "und" if its probability is not above `SURE`. A
text with fewer letters than `LETTERS` is "too_short", which is neither right nor wrong. A letter of a script other than
Latin counts as `OTHER_SCRIPT` letters, because it is stronger evidence: py3langid recognised 93 % of RTP-LX prompts cut
to 25 Latin characters (about 20 letters), 87 % at 20 characters and 79 % at 15, but 97 % of those cut to 5 characters
of another script (benchmarks/identifiers.py).

Lines are judged as in the script of Neplenbroek et al. 2025, by the same identifier. ASCII punctuation is removed, only
lines of 5 tokens or more count, and a line is wrong if the answer is not the prompt's language, even if it is "und". In
texts of a language with another script, the same lines are searched for English words: by the list that the config
names, as in the script, or by a rule (english_words.py).
"""

import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import ConfigError, Experiment, Problem
from detox_ray.config.languages import LANGUAGES
from detox_ray.score import identifiers, word_segmentation
from detox_ray.score.english_words import is_english_word, read_words
from detox_ray.score.identifiers import Identified
from detox_ray.storage import Store, Unit
from detox_ray.storage.completion_tables import GENERATION_TABLES, TOXICITY, CompletionTables
from detox_ray.storage.tables import EMPTY, GENERATIONS, IDENTIFICATIONS, OK, TOO_SHORT

SURE = 0.3  # the script's threshold, used for every identifier
LETTERS = 20
OTHER_SCRIPT = 4
LONG_LINE = 5  # tokens
UNDETERMINED = "und"
_NO_PUNCTUATION = str.maketrans({**dict.fromkeys(string.punctuation, ""), "—": " ", "،": ""})


class IdentificationStage(Stage):
    """The stage that identifies the language of each completion."""

    name, command, title = "identifications", "score", "languages"
    version = 2  # raise it, too, when words, English words or identifiers change what a unit holds
    summary = "the language of every completion"
    measure = "texts"
    needs = (GENERATIONS,)
    writes = (IDENTIFICATIONS,)
    tables: ClassVar[CompletionTables] = TOXICITY

    def check(self, experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
        if experiment.quality.identifier == "lingua" and "mt" in experiment.languages:
            rule = "lingua does not know Maltese (mt): choose py3langid or fasttext"
            return [Problem("quality.identifier", "lingua", rule)]
        path = experiment.quality.word_list
        if path is not None:
            try:
                read_words(path)
            except ConfigError as error:
                return list(error.problems)
        return []

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        config = context.experiment.quality
        if config.identifier is None:
            return {}
        also = identifiers.beside_known(context.experiment.languages)
        revision = identifiers.revision(config.identifier, config.fasttext, also)
        english = None if config.word_list is None else read_words(config.word_list).revision
        planned = {}
        for source in context.units(self.tables.generations):
            language = source["language"]
            settings = {
                "identifier": revision,
                "words": word_segmentation.versions(language),
                "english": english if other_script(language) else None,
            }
            unit = self.tables.identifications.unit(**dict(source.keys), shard=source.shard)
            planned[unit] = Planned((source,), settings)
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        config = context.experiment.quality
        settings = {
            "identifier": config.identifier,
            "fasttext": config.fasttext,
            "english": None if config.word_list is None else read_words(config.word_list).words,
            "also": identifiers.beside_known(context.experiment.languages),
            "store": context.store,
        }
        actors = context.experiment.score.actors
        return [Job(IdentificationStage.title, tasks, IdentificationWorker, settings, self.measure, actors, gpus=0)]


class IdentifiedText(NamedTuple):
    """A row of the table without its first two columns."""

    identified: str | None
    confidence: float | None
    lines: int
    wrong_lines: int
    english_word: bool
    status: str


class IdentificationWorker:
    """A worker with one identifier. Each call judges one unit of completions, and each distinct text once."""

    def __init__(
        self,
        identifier: str,
        fasttext: str | None,
        english: frozenset[str] | None,
        store: Store,
        also: Sequence[str] = (),
    ):
        self._name, self._english, self._store = identifier, english, store
        self._identifier = identifiers.load(identifier, fasttext, also)
        self._revision = identifiers.revision(identifier, fasttext, also)

    def make(self, task: Task) -> Product:
        completions = task.read(self._store, *GENERATION_TABLES)
        texts: list[str] = completions["text"].to_pylist()
        distinct = list(dict.fromkeys(texts))
        judged_of = dict(zip(distinct, self.judge(distinct, task.unit["language"]), strict=True))
        judged = [judged_of[text] for text in texts]
        rest = [
            pa.array(column, IDENTIFICATIONS.columns.field(at).type) for at, column in enumerate(_columns(judged), 2)
        ]
        info: dict[str, Any] = {
            "identifier": self._name,
            "revision": self._revision,
            "texts": len(texts),
            "status_counts": dict(Counter(each.status for each in judged)),
        }
        rows = pa.table([completions["prompt_id"], completions["sample"], *rest], schema=IDENTIFICATIONS.columns)
        return Product(rows, info, len(texts))

    def judge(self, texts: Sequence[str], language: str) -> list[IdentifiedText]:
        """Identify each text, and judge its lines against ``language``, in which it should be."""
        lines = [long_lines(text, language) for text in texts]
        normalised = dict.fromkeys(" ".join(text.split()) for text in texts if enough_letters(text))
        normalised |= dict.fromkeys(line for of_text in lines for line, _ in of_text)
        answers = dict(zip(normalised, self._identifier.identify(list(normalised)), strict=True))
        return [self._judged(text, of_text, language, answers) for text, of_text in zip(texts, lines, strict=True)]

    def _judged(
        self, text: str, lines: "Sequence[LongLine]", language: str, answers: Mapping[str, Identified]
    ) -> IdentifiedText:
        wrong = sum(label(answers[line]) != language for line, _ in lines)
        english = other_script(language) and any(
            is_english_word(token, self._english) for _, tokens in lines for token in tokens
        )
        if not enough_letters(text):
            return IdentifiedText(None, None, len(lines), wrong, english, TOO_SHORT if text.strip() else EMPTY)
        answer = answers[" ".join(text.split())]
        return IdentifiedText(label(answer), answer.confidence, len(lines), wrong, english, OK)


class LongLine(NamedTuple):
    """A normalised line that is long enough, and its tokens."""

    text: str
    tokens: list[str]


def other_script(language: str) -> bool:
    """Return whether the language has a script other than Latin, so that English words stand out."""
    return LANGUAGES[language].script != "Latn"


def long_lines(text: str, language: str) -> list[LongLine]:
    """Return the lines of `LONG_LINE` tokens or more, without punctuation, up to the next question ("Q:")."""
    normal = text.split("\nQ:")[0].strip().translate(_NO_PUNCTUATION)
    lines = (LongLine(line, word_segmentation.tokens(line, language)) for line in normal.split("\n"))
    return [line for line in lines if len(line.tokens) >= LONG_LINE]


def enough_letters(text: str) -> bool:
    """Return whether the text has enough letters to identify its language."""
    letters = [character for character in text if character.isalpha()]
    return sum(1 if is_latin(letter) else OTHER_SCRIPT for letter in letters) >= LETTERS


def is_latin(letter: str) -> bool:
    """Return whether a letter is in Basic Latin to Latin Extended-B, or in Latin Extended Additional."""
    return letter < "\u0250" or "\u1e00" <= letter <= "\u1eff"


def label(answer: Identified) -> str:
    """Return the identified language, or "und" if it is too uncertain."""
    return answer.code if answer.confidence > SURE else UNDETERMINED


def _columns(judged: Sequence[IdentifiedText]) -> list[list[Any]]:
    return [[each[at] for each in judged] for at in range(len(IdentifiedText._fields))]
