"""Compare what a unit costs in a large run with a run a hundredth of its size: no model, only what grows around it.

    python benchmarks/growth.py [--scale 1] [--only PART] [--ray]

At scale 1: 50,000 units, a million prompts, ten million scores in the cache, 10,000 runs. ``--only`` measures one
part. ``--ray`` makes that many units that do nothing but commit a row on a local Ray instead, and 500 of them by Ray
Data's ``map_batches``, too. Each line is a ratio that should not exceed its goal, whatever the machine.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table as Listing

from detox_ray.cluster.unit_jobs import Job, Product, Task, run_jobs
from detox_ray.data import source_key
from detox_ray.score.score_cache import FOLDER, HASH, ScoreCache, text_hash
from detox_ray.serve.pages.run_listing import RunsFolder
from detox_ray.storage import Store, Unit, marker_summary
from detox_ray.storage.tables import PROMPTS, TEXTS

UNITS, PROMPT_ROWS, CACHED, RUNS = 50_000, 1_000_000, 10_000_000, 10_000  # at scale 1
PARTS = ("units", "prompts", "key", "cache", "runs")
FEW = 500  # units for a rate
SMALLER = 100  # what the sizes are compared with: a hundredth
PROMPTS_PER_UNIT, TEXTS_PER_UNIT = 256, 6_400
PAGE = 1_000  # files that one list request of an object store returns
KEY = "k" * 16


class Line(NamedTuple):
    """A line of the table."""

    what: str
    large: str  # measured in the large run
    small: str  # measured in the small one
    ratio: float
    goal: float


class CountingStore(Store):
    """A run's folder that counts what would be requests to an object store."""

    requests = 0

    def files(self, relative: str) -> list[str]:
        files = super().files(relative)
        self.requests += 1 + len(files) // PAGE
        return files

    def read_bytes(self, relative: str) -> bytes:
        self.requests += 1
        return super().read_bytes(relative)

    def exists(self, relative: str) -> bool:
        self.requests += 1
        return super().exists(relative)

    def write_bytes(self, relative: str, content: bytes) -> None:
        self.requests += 1
        super().write_bytes(relative, content)


Measured = Callable[[int], Any]  # does the thing for the n-th time


def compared(
    what: str, prepared: Callable[[int], Measured], size: int, goal: float, times: int = 100, whole: bool = False
) -> Line:
    """Return the line of what ``prepared(size)`` returns, at the size and at a hundredth of it: medians, in turns.

    Args:
        what: The description.
        prepared: Prepares a run of a size, and returns what is measured.
        size: The large size.
        goal: The largest ratio.
        times: How often it is measured.
        whole: Whether it is done to the whole run at once, so that its time is shown and compared per item.
    """
    sizes = max(1, size // SMALLER), size
    both = tuple(map(prepared, sizes))
    seconds: tuple[list[float], list[float]] = [], []
    for number in range(times):
        for one, taken in zip(both, seconds, strict=True):
            begun = time.perf_counter()
            one(number)
            taken.append(time.perf_counter() - begun)
    small, large = (float(np.median(taken)) / (of if whole else 1) for taken, of in zip(seconds, sizes, strict=True))
    return Line(what, shown(large), shown(small), large / small, goal)


def shown(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms" if seconds >= 1e-4 else f"{1e6 * seconds:.2f} µs"


def shard(number: int) -> Unit:
    return TEXTS.unit(language="en", shard=number)


def rows() -> pa.Table:
    return pa.Table.from_pylist([{"text_id": "t", "text": "x", "source": "s"}], schema=TEXTS.columns)


def committed_run(store: Store, units: int) -> None:
    """Lay out the files of so many committed units, without the care of a real commit, which would take minutes."""
    unit, content = shard(0), b'{"rows": 1, "amount": 1, "seconds": 0.1}'
    store.commit(unit, KEY, rows())
    part = store.read_bytes(f"{unit.stem(KEY)}.parquet")
    for folder in (f"commits/{unit.folder}", unit.folder):
        os.makedirs(store.path(folder), exist_ok=True)
    for number in range(1, units):
        stem = shard(number).stem(KEY)
        Path(store.path(f"commits/{stem}.json")).write_bytes(content)
        Path(store.path(f"{stem}.parquet")).write_bytes(part)


def commits(folder: Path) -> Callable[[int], Measured]:
    def prepared(units: int) -> Measured:
        store = Store(str(folder / f"commit-{units}"))
        committed_run(store, units)
        one = rows()
        return lambda number: store.commit(shard(units + number), KEY, one, replaces=False)

    return prepared


def resumed(folder: Path, units: int) -> list[Line]:
    """Return the requests that reading a finished run takes: what is committed, and all markers."""
    lines = []
    store = CountingStore(str(folder / f"commit-{units}"))
    marker_summary.read(store, store.committed(TEXTS), keep=True)
    again = CountingStore(store.uri)
    begun = time.perf_counter()
    keys = again.committed(TEXTS)
    markers = marker_summary.read(again, keys, keep=False)
    seconds = time.perf_counter() - begun
    assert len(markers) == len(keys) >= units
    per_unit = again.requests / len(keys)
    what = "requests per unit to read what a finished run committed"
    lines.append(Line(what, f"{again.requests} for {len(keys):,} units ({seconds:.1f} s)", "", per_unit, 0.02))
    return lines


def run_lists(folder: Path) -> Callable[[int], Measured]:
    def prepared(runs: int) -> Measured:
        storage = folder / f"runs-{runs}"
        for number in range(runs):
            run = storage / f"run-{number}"
            run.mkdir(parents=True)
            (run / "manifest.json").write_text(json.dumps({"updated": f"{number:09d}", "models": {"base": {}}}))
        listing = RunsFolder(str(storage))
        assert len(listing.list_runs()) == runs  # reads the manifests, which later calls know
        return lambda _: listing.list_runs()

    return prepared


def prompt_rows(prompts: int) -> pa.Table:
    random = np.random.default_rng(0)
    texts = [random.bytes(60).hex() for _ in range(prompts)]
    fields = {field.name: pa.array(["x"] * prompts) for field in PROMPTS.columns if field.type == pa.string()}
    fields |= {field.name: pa.nulls(prompts, field.type) for field in PROMPTS.columns if field.nullable}
    fields |= {"prompt_id": pa.array([f"p{number}" for number in range(prompts)]), "text": pa.array(texts)}
    return pa.table(fields, schema=PROMPTS.columns)


def prompt_keys(prompts: int) -> Measured:
    table = prompt_rows(prompts)
    return lambda _: source_key(table)


def prompt_lines(folder: Path, count: int) -> list[Line]:
    def stored(prompts: int) -> tuple[Store, Unit, int]:
        store, unit = Store(str(folder / f"prompts-{prompts}")), PROMPTS.unit(language="en")
        if not store.exists(unit.folder):
            store.commit(unit, KEY, prompt_rows(prompts), group=PROMPTS_PER_UNIT)
        return store, unit, os.path.getsize(store.path(f"{unit.stem(KEY)}.parquet"))

    def prepared(prompts: int) -> Measured:
        store, unit, _ = stored(prompts)
        units = -(-prompts // PROMPTS_PER_UNIT)
        store.read_rows(unit, KEY, 0, 1)  # opens the file, which an actor does once
        starts = [number * 7919 % units * PROMPTS_PER_UNIT for number in range(100)]
        return lambda number: store.read_rows(unit, KEY, starts[number], PROMPTS_PER_UNIT)

    line = compared("reading a unit's prompts", prepared, count, 1.2)
    store, unit, size = stored(count)
    before = psutil.Process().io_counters().read_chars
    for start in range(0, count, PROMPTS_PER_UNIT):
        store.read_rows(unit, KEY, start, PROMPTS_PER_UNIT)
    read = psutil.Process().io_counters().read_chars - before
    what = "bytes that generate reads / bytes of its prompts"
    return [line, Line(what, f"{read / 1e6:.1f} MB", f"{size / 1e6:.1f} MB", read / size, 1.5)]


def lookups(folder: Path) -> Callable[[int], Measured]:
    def prepared(known: int) -> Measured:
        storage = folder / f"cached-{known}"
        texts = [f"text {number}" for number in range(TEXTS_PER_UNIT)]
        random, part = np.random.default_rng(0), 100_000
        schema = pa.schema([("text", HASH), ("toxicity", pa.float64())])
        (storage / FOLDER / "id" / "any").mkdir(parents=True)
        for begin in range(0, known, part):
            size = min(part, known - begin)
            hashes = pa.FixedSizeBinaryArray.from_buffers(HASH, size, [None, pa.py_buffer(random.bytes(16 * size))])
            table = pa.table([hashes, pa.array(random.random(size))], schema=schema)
            pq.write_table(table, storage / FOLDER / "id" / "any" / f"{begin}.parquet")
        half = [text_hash(text) for text in texts[: TEXTS_PER_UNIT // 2]]
        table = pa.table([pa.array(half, HASH), pa.array([0.5] * len(half))], schema=schema)
        pq.write_table(table, storage / FOLDER / "id" / "any" / "known.parquet")
        cache = ScoreCache(Store(str(storage / "run")), "id", ["toxicity"])
        assert len(cache.find(texts, "any")) == TEXTS_PER_UNIT // 2
        return lambda _: cache.find(texts, "any")

    return prepared


class BlockMaker:
    """Commits the rows of a block of units, for Ray Data."""

    def __init__(self, uri: str):
        self._store = Store(uri)

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        for number in block["item"]:
            self._store.commit(shard(int(number)), KEY, rows(), replaces=False)
        return {"item": block["item"]}


class Nothing:
    """Makes a row without work."""

    def make(self, task: Task) -> Product:
        return Product(rows(), {}, 1)


def ray_lines(folder: Path, units: int) -> list[Line]:
    from ray import cloudpickle

    from detox_ray.cluster import connect
    from detox_ray.cluster.progress import Progress

    cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])

    with connect(num_cpus=2) as cluster:

        def rate(count: int) -> float:
            tasks = [Task(shard(number), KEY, (), replaces=False) for number in range(count)]
            jobs = [Job("nothing", tasks, Nothing, {}, "rows", actors=2)]
            begun = time.perf_counter()
            store = Store(str(folder / f"ray-{count}"))
            run_jobs("nothing", jobs, store=store, cluster=cluster, progress=Progress(Console(quiet=True)))
            return count / (time.perf_counter() - begun)

        def data_rate(count: int, per_block: int) -> float:
            import ray

            ray.data.DataContext.get_current().enable_progress_bars = False
            uri = str(folder / f"data-{count}-{per_block}")
            begun = time.perf_counter()
            blocks = ray.data.from_items(list(range(count)), override_num_blocks=count // per_block)
            pool = ray.data.ActorPoolStrategy(size=2)
            blocks.map_batches(BlockMaker, fn_constructor_args=(uri,), batch_size=None, compute=pool).materialize()
            seconds = time.perf_counter() - begun
            assert len(Store(uri).committed(TEXTS)) == count
            return count / seconds

        rate(50)  # starts the processes that imported Python once
        small, large = rate(FEW), rate(units)
        print(f"unit_actors: {small:.0f} and {large:.0f} units a second", flush=True)
        data_rate(50, 1)
        by_data = {size: data_rate(FEW, size) for size in (1, 20)}
    lines = [Line("units a second: few / many", f"{large:.0f}/s", f"{small:.0f}/s", small / large, 1.25)]
    for size, each in by_data.items():
        what = f"units a second: Ray Data, blocks of {size} / unit_actors"
        lines.append(Line(what, f"{each:.0f}/s", f"{small:.0f}/s", each / small, 1))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    units, prompts, cached, runs = (int(size * given.scale) for size in (UNITS, PROMPT_ROWS, CACHED, RUNS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], list[Line]]] = {
            "units": lambda: [compared("committing a unit", commits(folder), units, 1.2), *resumed(folder, units)],
            "prompts": lambda: prompt_lines(folder, prompts),
            "key": lambda: [compared("the key of all prompts, per prompt", prompt_keys, prompts, 1.2, 5, whole=True)],
            "cache": lambda: [
                compared(f"looking {TEXTS_PER_UNIT:,} texts up in the cache", lookups(folder), cached, 1.2, 20)
            ],
            "runs": lambda: [compared("the service's list of runs, per run", run_lists(folder), runs, 1.2, 9, True)],
        }
        if given.ray:
            parts = {"ray": lambda: ray_lines(folder, units)}
        lines = [line for word, make in parts.items() if given.only in (None, word) for line in make()]
    table = Listing(
        "what",
        "large",
        "a hundredth",
        "ratio",
        "goal",
        title=f"{units:,} units, {prompts:,} prompts, {cached:,} scores, {runs:,} runs",
    )
    for line in lines:
        table.add_row(line.what, line.large, line.small, f"{line.ratio:.3g}", f"{line.goal:g}")
    console = Console(width=150)
    console.print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    console.print(f"peak memory of this process: {peak:.2f} GiB (goal: below 2)")
    missed = [line.what for line in lines if line.ratio > line.goal]
    if missed:
        raise SystemExit(f"above the goal: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
