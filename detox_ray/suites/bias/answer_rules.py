"""The prompts of MBBQ and the phrases that detect answers in words, read from the user's checkout of MBBQ.

They are literals in its file answer_detection.py. The file states no licence, so they are not shipped. The file is
parsed and never executed; anything but a literal is rejected.
"""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.data import DataError, Flaw
from detox_ray.suites.bias.files import text_of

FILE = "answer_detection.py"
PROMPTS = 5
PLACES = 5  # placeholders of a prompt: context, question and three answers
ENGLISH = "en"
LETTERS = ("a_list", "b_list", "c_list")  # spellings of the three letters, in the same order
PHRASES = ("before_ans", "after_ans", "unknown_ans")
EXTRA = "extra_ans_detect"  # language -> additional phrases of each kind
PROMPT_LIST, PROMPT_SETS = "prompts", "prompt_sets"  # the published file has used both names
PROMPT_TRANSLATIONS = "trans_prompt_dict"
NEEDED = (*LETTERS, *PHRASES, EXTRA, *(f"trans_{name}_dict" for name in PHRASES), PROMPT_TRANSLATIONS)
NAMES = (*NEEDED, PROMPT_LIST, PROMPT_SETS)


class AnswerRules(NamedTuple):
    """A language's prompts for questions, and the phrases that detect its answers."""

    prompts: tuple[str, ...]  # "{}" stands for the context, the question and each of the three answers, in this order
    letters: tuple[tuple[str, ...], ...]  # spellings of the three letters, in three columns
    before: tuple[str, ...]  # phrases before an answer
    after: tuple[str, ...]  # phrases after an answer
    unknown: tuple[str, ...]  # phrases that mean the unknown answer

    def asked(self, prompt: int, context: str, question: str, options: Sequence[str]) -> str:
        """Return the text of a question in one of the prompts."""
        pieces = self.prompts[prompt].split("{}")
        values = (context, question, *options, "")
        return "".join(piece + value for piece, value in zip(pieces, values, strict=True))


def read_rules(file: Path, languages: Sequence[str]) -> dict[str, AnswerRules]:
    """Return the rules of each language; languages that the file lacks are left out.

    Raises:
        DataError: The file cannot be read, or lacks content of MBBQ's file.
    """
    literals = _literals(file)
    try:
        return {
            language: _rules(literals, language)
            for language in languages
            if language == ENGLISH or language in literals[PROMPT_TRANSLATIONS]
        }
    except (KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DataError([Flaw(str(file), f"is not MBBQ's {FILE}: {what}")]) from None
    except ValueError as error:
        raise DataError([Flaw(str(file), str(error))]) from None


def _literals(file: Path) -> dict[str, Any]:
    """Return {name: value} of the literals in the file."""
    try:
        module = ast.parse(text_of(file))
    except (SyntaxError, ValueError) as error:
        raise DataError([Flaw(str(file), f"is not a Python file: {error}")]) from None
    literals: dict[str, Any] = {}
    for statement in module.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        name = statement.targets[0].id
        if name in NAMES:
            try:
                literals[name] = ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, RecursionError):
                where = f"{file}:{statement.lineno}"
                raise DataError([Flaw(where, f"{name} must be a literal: nothing of this file is executed")]) from None
    absent = [name for name in NEEDED if name not in literals]
    if PROMPT_LIST not in literals and PROMPT_SETS not in literals:
        absent.append(PROMPT_LIST)
    if absent:
        raise DataError([Flaw(str(file), f"is not MBBQ's {FILE}: it lacks {', '.join(absent)}")])
    return literals


def _rules(literals: dict[str, Any], language: str) -> AnswerRules:
    """Return a language's rules, in which English phrases count beside their translations."""
    published = literals[PROMPT_LIST] if PROMPT_LIST in literals else next(iter(literals[PROMPT_SETS].values()))
    english = [str(prompt) for prompt in published]
    prompts, phrases = english, []
    if language != ENGLISH:
        prompts = [str(literals[PROMPT_TRANSLATIONS][language][prompt]) for prompt in english]
    if len(prompts) != PROMPTS or any(prompt.count("{}") != PLACES for prompt in prompts):
        raise ValueError(f"needs {PROMPTS} prompts in {language}, each with {PLACES} placeholders {{}}")
    for kind in PHRASES:
        of_kind = [*literals[kind], *literals[EXTRA][ENGLISH][kind]]
        if language != ENGLISH:
            translations = literals[f"trans_{kind}_dict"][language]
            of_kind += [*(translations[phrase] for phrase in literals[kind]), *literals[EXTRA][language][kind]]
        phrases.append(tuple(dict.fromkeys(map(str, of_kind))))
    letters = tuple(zip(*(map(str, literals[name]) for name in LETTERS), strict=True))
    return AnswerRules(tuple(prompt.strip() for prompt in prompts), letters, *phrases)
