"""The tables of completions and of their measurements, for each kind of prompts."""

from typing import NamedTuple, Protocol

from detox_ray.storage.tables import DIVERSITIES, FLUENCIES, GENERATIONS, IDENTIFICATIONS, PROMPTS
from detox_ray.storage.units import Table, define


class PromptTables(Protocol):
    """Prompts of one kind, and what models answer to them."""

    @property
    def prompts(self) -> Table: ...

    @property
    def generations(self) -> Table: ...


class CompletionTables(NamedTuple):
    """The tables of one kind of prompts."""

    prompts: Table
    generations: Table
    identifications: Table
    diversities: Table
    fluencies: Table


TOXICITY = CompletionTables(PROMPTS, GENERATIONS, IDENTIFICATIONS, DIVERSITIES, FLUENCIES)
# Harmless prompts, whose completions show how well a model still speaks.
ABILITY = CompletionTables(*(define(f"ability_{table.name}", table.keys, table.columns) for table in TOXICITY))


class QuestionTables(NamedTuple):
    """The tables of questions that are answered in words."""

    prompts: Table
    generations: Table


BIAS_QUESTIONS = QuestionTables(
    define("bias_prompts", ("set", "language"), PROMPTS.columns),
    define("bias_answers", ("set", "model", "language"), GENERATIONS.columns),
)
PROMPT_TABLES = (TOXICITY.prompts, ABILITY.prompts, BIAS_QUESTIONS.prompts)
GENERATION_TABLES = (TOXICITY.generations, ABILITY.generations)
