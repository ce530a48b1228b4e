"""Ready tasks: their lm_eval templates and the format of their published questions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detox_ray.config.languages import GROUPS, LANGUAGES

# Languages that detox_ray supports.
GLOBAL_MMLU = tuple(code for code in LANGUAGES if code not in ("ca", "mt"))
OKAPI = tuple(code for code in LANGUAGES if code not in ("cs", "en", "ja", "ko", "mt", "pl", "tr"))
TOY17_CLOZE = "toy17-cloze"


@dataclass(frozen=True, kw_only=True)
class ReadyTask:
    """A task that an experiment can select by name."""

    name: str
    title: str
    languages: tuple[str, ...]  # languages in which it is published
    questions: int  # number of published questions per language
    licence: str  # as stated by the publisher
    source: str  # hub id, or another origin
    asked: str  # split of the questions to ask
    examples: str  # split of the few-shot examples
    shots: int  # default number of few-shot examples
    columns: tuple[str, ...]  # columns that every question has
    identity: str | None = None  # column with the id of a question, which is the same in all languages
    part: str | None = None  # column of a question's subject
    groups: Mapping[str, str] = field(default_factory=dict)  # column of a larger part -> prefix of its value
    same_part_examples: bool = False  # whether the examples share the subject of the question
    tokens: float = 80.0  # tokens of a question with its options, assumed by `detox-ray plan`
    options: float = 4.0  # forward passes per question; 1 if each option is one token
    template: str | None = None  # lm_eval's file, relative to its folder of tasks
    config: Mapping[str, Any] = field(default_factory=dict)  # settings of lm_eval that override the template


READY = {
    task.name: task
    for task in (
        ReadyTask(
            name="global-mmlu",
            title="Global-MMLU",
            languages=GLOBAL_MMLU,
            questions=14_042,
            licence="Apache-2.0",
            source="CohereForAI/Global-MMLU",
            asked="test",
            examples="dev",
            shots=5,
            columns=("subject", "question", "option_a", "option_b", "option_c", "option_d", "answer"),
            identity="sample_id",
            part="subject",
            groups={"subject_category": "", "cultural_sensitivity_label": "culturally "},
            same_part_examples=True,
            tokens=110.0,
            options=1.0,
            template="global_mmlu/full/en/_en_template_yaml",  # the templates of all languages are equal
        ),
        ReadyTask(
            name="arc",
            title="ARC, challenge (Okapi)",
            languages=OKAPI,
            questions=1_172,
            licence="CC-BY-NC-4.0",
            source="alexandrainst/m_arc",
            asked="test",
            examples="train",
            shots=25,
            columns=("id", "instruction", "option_a", "option_b", "option_c", "option_d", "answer"),
            identity="id",
            tokens=40.0,
            template="okapi/arc_multilingual/_arc_yaml",
            config={"validation_split": None},
        ),
        ReadyTask(
            name="hellaswag",
            title="HellaSwag (Okapi)",
            languages=OKAPI,
            questions=9_500,
            licence="CC-BY-NC-4.0",
            source="alexandrainst/m_hellaswag",
            asked="validation",
            examples="validation",
            shots=10,
            columns=("ctx_a", "ctx_b", "activity_label", "endings", "label"),
            identity="ind",
            tokens=90.0,
            template="okapi/hellaswag_multilingual/_hellaswag_yaml",
        ),
        ReadyTask(
            name=TOY17_CLOZE,
            title="Cloze of toy17",
            languages=GROUPS["rtp-lx-17"],
            questions=48,
            licence="Apache-2.0",
            source="built in",
            asked="test",
            examples="test",
            shots=0,
            columns=("id", "query", "choices", "gold"),
            identity="id",
            tokens=8.0,
            config={
                "output_type": "multiple_choice",
                "test_split": "test",
                "doc_to_text": "query",
                "doc_to_choice": "choices",
                "doc_to_target": "gold",
                "target_delimiter": "",
                "metric_list": [
                    {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
                ],
            },
        ),
    )
}
