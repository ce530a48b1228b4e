"""`detox-ray score-file` against the score stage: texts per second, on the same texts, scorers and machine.

    python benchmarks/score_file.py ../shared/data/rtp-lx         every text of RTP-LX's files, 17 languages
    python benchmarks/score_file.py --texts 50000                 made texts, 3 languages

The stage's side is what a run does with completions that are committed: each scorer is resolved and loaded, and every
unit is read, scored and committed, in one process. Our side is the whole command: the file is hashed and read, its
texts are cut into units, the same scorers score them, and the output is written. Both begin without a score cache.
Seconds are the process's CPU seconds, because others share the machine; wall seconds stand beside them. The two sides
take turns, ``--rounds`` times, and the least of each counts.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Task
from detox_ray.config import ScoreConfig
from detox_ray.score.scoring import ScoringWorker
from detox_ray.storage import Store, key_of
from detox_ray.storage.tables import GENERATIONS, SCORES
from detox_ray.text_files import score_file
from detox_ray.text_files.score_tables import ROWS_PER_UNIT
from detox_ray.text_files.scorer_options import resolve_all, scorer_config

Text = tuple[str, str]  # language, text


class Seconds(NamedTuple):
    """The time and memory that something took."""

    cpu: float
    wall: float


def timed(work: Callable[[], None]) -> Seconds:
    """Time one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def rtp_lx(folder: Path) -> list[Text]:
    """Return the prompts and completions of RTP-LX's files."""
    texts: list[Text] = []
    for path in sorted(folder.glob("RTP_LX_*.json")):
        language = path.stem.removeprefix("RTP_LX_").partition("-")[0].lower()
        for line in path.read_text(encoding="utf-8-sig").split("\n"):
            if line.strip():
                fields = json.loads(line)
                texts += [(language, fields[name]) for name in ("Prompt", "Completion") if fields.get(name)]
    return texts


def made(count: int) -> list[Text]:
    """Make short texts."""
    random.seed(0)
    words = ["friend", "idiot", "house", "river", "morning", "stone", "liar", "green", "quiet"]
    return [(("en", "de", "fr")[n % 3], " ".join([*random.choices(words, k=12), str(n)])) for n in range(count)]


def stage(folder: Path, texts: Sequence[Text], config: ScoreConfig) -> Callable[[], None]:
    """Commit the texts as a model's completions, and return the score stage's work on them."""
    store = Store.at(str(folder / "run"))
    by_language: dict[str, list[str]] = {}
    for language, text in texts:
        by_language.setdefault(language, []).append(text)
    sources = []
    for language, of_language in by_language.items():
        for shard, begin in enumerate(range(0, len(of_language), ROWS_PER_UNIT)):
            some = of_language[begin : begin + ROWS_PER_UNIT]
            rows = [(str(begin + n), 0, text, 0, "stop", 0) for n, text in enumerate(some)]
            columns = dict(zip(GENERATIONS.columns.names, map(list, zip(*rows, strict=True)), strict=True))
            unit = GENERATIONS.unit(model="base", language=language, shard=shard)
            store.commit(unit, "texts", pa.table(columns, schema=GENERATIONS.columns))
            sources.append(unit)

    def work() -> None:
        for scorer in resolve_all(config, store, Progress()):
            worker = ScoringWorker(scorer, config.batch_tokens, store)
            for source in sources:
                unit = SCORES.unit(scorer=scorer.name, model="base", language=source["language"], shard=source.shard)
                key = key_of(unit=unit.name, scorer=scorer.key)
                product = worker.make(Task(unit, key, ((source, "texts"),)))
                store.commit(unit, key, product.rows, {**product.info, "amount": product.amount})

    return work


def command(folder: Path, texts: Sequence[Text], config: ScoreConfig) -> Callable[[], None]:
    """Write the texts to a file, and return score-file's work on it."""
    file = folder / "texts.jsonl"
    rows = (json.dumps({"text": text, "language": language}, ensure_ascii=False) for language, text in texts)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    out = folder / "scores.parquet"
    request = score_file.ScoreFileRequest(file, out, "parquet", config, storage=str(folder / "work"))

    def work() -> None:
        outcome = score_file.run(request, Progress(), on_ray=False)
        assert outcome.rows == len(texts)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rtp_lx", nargs="?", type=Path, help="folder of RTP-LX's files; else texts are made")
    parser.add_argument("--texts", type=int, default=20_000, help="made texts, or RTP-LX's first ones at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scorer", nargs="+", default=["toy17-lexicon", "toy17-detoxify"])
    options = parser.parse_args()

    texts = made(options.texts) if options.rtp_lx is None else rtp_lx(options.rtp_lx)
    random.Random(0).shuffle(texts)
    texts = texts[: options.texts]
    config = scorer_config(options.scorer)
    print(f"{len(texts):,} texts in {len({code for code, _ in texts})} languages, {os.cpu_count()} CPUs")
    seconds: dict[str, list[Seconds]] = {"score stage": [], "score-file": []}
    for number in range(-1, options.rounds):
        for name, side in (("score stage", stage), ("score-file", command)):
            with tempfile.TemporaryDirectory() as scratch:
                spent = timed(side(Path(scratch), texts[:100] if number < 0 else texts, config))
            if number >= 0:  # the first round imports and warms up
                seconds[name].append(spent)
    least = {name: Seconds(*map(min, zip(*of, strict=True))) for name, of in seconds.items()}
    for name, spent in least.items():
        rates = f"{len(texts) / spent.cpu:10,.0f} texts/s of CPU {len(texts) / spent.wall:10,.0f} texts/s of wall"
        print(f"{name:12} {rates}", flush=True)
    ratio = least["score stage"].cpu / least["score-file"].cpu
    print(f"score-file does {ratio:.2f} of the stage's texts per second of CPU ({', '.join(config.names)})")


if __name__ == "__main__":
    main()
