"""Ten thousand texts that break careless code go through scoring, measuring and the report."""

import csv
import json
import random
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from detox_ray.cluster.progress import Progress
from detox_ray.config.loading import validate
from detox_ray.run import pipeline
from detox_ray.run.plan import prepare
from detox_ray.run.stages import commands
from detox_ray.storage import Store, tables
from detox_ray.storage.tables import GENERATIONS, STATUSES

pytestmark = pytest.mark.integration

LANGUAGES = ("en", "ar")
PROMPTS, SAMPLES = 250, 10  # by two languages and two models: 10,000 completions
PIECES = [
    *("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!--", "]]>", "&lt;b&gt;", "javascript:"),
    *("\x00\x01\x02", "\x1b[31m", "\r\n\t\v\f", "\u2028\u2029", "\x7f\x85", "\ufeff", "\ufffe\uffff", "\u200b\u200d"),
    *("\u202eevil\u202c", "\u2066\u2069", "=cmd|' /C calc'!A0", "{{ 7*7 }}", "${x}", "{% raw %}", "'; DROP TABLE x;--"),
    *("👩‍👩‍👧‍👦", "🇪🇺", "Z͑ͫ̓ͪ̂a̴̵̞͕lgo", "ﷺ", "𝕋𝕠𝕩𝕚𝕔", "ß", "İ", "Ω", "ʼn"),
    *("أنت كاذب", "שקרן", "แย่มาก", "你是骗子", "うそつき", "거짓말", "झूठा", "liar", "idiot", " ", "", "\n\n"),
]


class Tags(HTMLParser):
    """Counts elements, and attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.dangerous: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        for name, value in attrs:
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                self.dangerous.append(f"{tag} {name}={value}")


def text(rng: random.Random, number: int) -> str:
    if number % 1000 == 0:
        return rng.choice(["a", "ا", "字", "<b>", "\u200b"]) * 100_000
    return rng.choice(["", " "]).join(rng.choices(PIECES, k=rng.randint(0, 6)))


def test_ten_thousand_adversarial_texts_reach_a_report_that_nothing_escapes_from(
    toy_world: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    lines = [
        json.dumps({"text": f"{row} {text(rng, row + 1)}", "language": code})
        for code in LANGUAGES
        for row in range(250)
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    classifier = {
        "path": str(toy_world / "classifier/detoxify.ckpt"),
        "huggingface_config": str(toy_world / "classifier"),
    }
    experiment = validate(
        {
            "name": "adversarial",
            "storage": str(tmp_path / "runs"),
            "languages": list(LANGUAGES),
            "data": {"prompts": {"source": "file", "path": str(tmp_path / "prompts.jsonl")}},
            "models": {name: {"path": str(toy_world / "model")} for name in ("base", "other")},
            "compare": [{"model": "other", "parent": "base"}],
            "generate": {"samples": SAMPLES},
            "score": {
                "scorers": [
                    {"name": "classifier", "type": "detoxify", **classifier},
                    {"name": "insults", "type": "lexicon", "path": str(toy_world / "lexicon.json")},
                ]
            },
            "measure": {"bootstrap": 100},
        }
    )
    store = Store.at(experiment.folder)
    context = prepare(experiment, store, Progress())
    made = 0
    for unit, key in context.units(GENERATIONS).items():
        asked = tables.PROMPTS.unit(language=unit["language"])
        prompts = store.read(asked, context.keys[asked])
        rows = []
        for prompt_id in prompts["prompt_id"].to_pylist():
            for sample in range(SAMPLES):
                made += 1
                row = {"prompt_id": prompt_id, "sample": sample, "text": text(rng, made), "tokens": 5}
                rows.append({**row, "finish_reason": "length", "seed": sample})
        store.commit(unit, key, pa.Table.from_pylist(rows, schema=GENERATIONS.columns), {"tokens": 1})
    assert made == 10_000

    for stage in commands(context.stages)["score"]:
        pending = context.pending([stage])
        for job in stage.jobs(context, context.tasks(pending)) if pending else ():  # as the actors do, in this process
            worker = job.worker(**job.settings)
            for task in job.tasks:
                product = worker.make(task)
                store.commit(task.unit, task.key, product.rows, product.info)
    for unit, key in context.units(tables.SCORES).items():
        table = store.read(unit, key)
        valued = [status in ("ok", "empty") for status in table["status"].to_pylist()]  # a blank has its own score
        assert {*table["status"].to_pylist()} <= {*STATUSES}
        assert [value is not None for value in table["value"].to_pylist()] == valued

    for command in ("measure", "report"):
        pipeline.run(experiment, command, Progress())
    folder = Path(experiment.folder) / "report"
    page = (folder / "index.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert tags.elements["script"] == 2 and tags.elements["img"] == 0  # the explorer's code and its data
    assert tags.dangerous == [] and "<script>alert" not in page
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    counted = Counter[str]()
    for row in results["counts"]:
        counted[row["scorer"]] += row["n"]
    assert counted["classifier"] == counted["insults"] == 10_000
    for file in (folder / "tables").glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as stream:
            assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(stream) for cell in row)
