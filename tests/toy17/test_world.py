"""A built world: same bytes twice, cached whole or not at all, loadable by what will load it."""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from detox_ray import toy17
from detox_ray.toy17 import WorldSize
from detox_ray.toy17.world import pair_rows, prompt_rows

TINY = WorldSize.small().model_copy(update={"documents": 300, "steps": 3, "classifier_steps": 3, "prompts": 3})


def digests(folder: Path) -> dict[str, str]:
    """Of every file but world.json, which holds timings, and the checkpoint, which holds its folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ("world.json", "detoxify.ckpt")
    }


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, detox_ray.toy17; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_key_depends_on_seed_and_size() -> None:
    assert toy17.key(0, TINY) == toy17.key(0, TINY.model_copy())
    assert len({toy17.key(0, TINY), toy17.key(1, TINY), toy17.key(0)}) == 3


def test_the_shipped_world_is_the_one_that_the_code_describes() -> None:
    world = json.loads((toy17.SHIPPED / "world.json").read_text(encoding="utf-8"))
    assert world["key"] == toy17.key(), "build it again: detox-ray toy17 build FOLDER"
    assert toy17.ensure() == toy17.local() == toy17.SHIPPED
    prompts = prompt_rows(0, toy17.DEFAULT)
    rows = {"prompts": prompts, "pairs": pair_rows(0, toy17.DEFAULT, (row["text"] for row in prompts))}
    for name, expected in rows.items():
        lines = (toy17.SHIPPED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == expected


def test_the_shipped_world_is_package_data_of_at_most_5_megabytes() -> None:
    root = Path(toy17.__file__).parents[1]
    patterns = tomllib.loads((root.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {file for pattern in patterns["detox_ray"] for file in root.glob(pattern)}
    files = {file for file in toy17.SHIPPED.rglob("*") if file.is_file()}
    assert len(files) == 15 and files <= packaged
    assert sum(file.stat().st_size for file in files) <= 5_000_000


def test_same_seed_builds_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    import torch

    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        toy17.build(tmp_path / name, seed, TINY)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert {name for name in one if one[name] != other[name]} >= {"prompts.jsonl", "model/model.safetensors"}
    weights = [
        torch.load(tmp_path / name / "classifier/detoxify.ckpt", weights_only=True)["state_dict"]
        for name in ("one", "two")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_continued_world_takes_the_plain_ones_classifier_and_trains_its_model_further(tmp_path: Path) -> None:
    size = toy17.WORLDS["stereotype"].model_copy(update={"documents": 200, "steps": 2, "batch": 2, "prompts": 2})
    toy17.build(tmp_path / "world", 0, size)
    plain, built = digests(toy17.SHIPPED), digests(tmp_path / "world")
    assert {name for name in built if name.startswith("classifier/")} == {
        name for name in plain if name.startswith("classifier/") and built[name] == plain[name]
    }
    assert built["model/tokenizer.json"] == plain["model/tokenizer.json"]
    assert built["model/model.safetensors"] != plain["model/model.safetensors"]
    world = json.loads((tmp_path / "world" / "world.json").read_text(encoding="utf-8"))
    assert world["size"]["mixture"]["stereotype"] == 0.97 and world["size"]["continued"]


def test_building_leaves_the_callers_random_state_and_threads_alone(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    toy17.build(tmp_path / "world", 0, TINY)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_ensure_builds_once_and_reports_progress(tmp_path: Path) -> None:
    reports: list[tuple[str, int, int, float]] = []
    world = toy17.ensure(tmp_path, 0, TINY, lambda *report: reports.append(report))
    assert {(name, done, total) for name, done, total, _ in reports} >= {("language model", 3, 3), ("classifier", 3, 3)}
    reports.clear()
    assert toy17.ensure(tmp_path, 0, TINY, lambda *report: reports.append(report)) == world
    assert reports == []
    assert [entry.name for entry in (tmp_path / "toy17").iterdir()] == [toy17.key(0, TINY)]


def test_an_interrupted_build_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    def interrupt(name: str, done: int, total: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy17.ensure(tmp_path, 0, TINY, interrupt)
    assert list((tmp_path / "toy17").iterdir()) == []


def test_of_two_builds_at_once_the_first_one_is_kept(tmp_path: Path) -> None:
    winner = tmp_path / "toy17" / toy17.key(0, TINY)

    def other_process_finishes(name: str, done: int, total: int, loss: float) -> None:
        winner.mkdir(exist_ok=True)
        (winner / "world.json").write_text("the other's")

    assert toy17.ensure(tmp_path, 0, TINY, other_process_finishes) == winner
    assert (winner / "world.json").read_text() == "the other's"
    assert [entry.name for entry in (tmp_path / "toy17").iterdir()] == [winner.name]


def test_world_json_describes_the_world(toy_world: Path) -> None:
    world = json.loads((toy_world / "world.json").read_text(encoding="utf-8"))
    assert world["key"] == toy_world.name == toy17.key(0, WorldSize.small())
    assert world["version"] == toy17.VERSION
    assert set(world["token_share"]) == set(world["document_share"]) == set(world["languages"])
    assert sum(world["token_share"].values()) == pytest.approx(1)
    assert sum(world["document_share"].values()) == pytest.approx(1)


def test_jsonl_is_utf8_as_it_is_read_by_people(toy_world: Path) -> None:
    for name in ("prompts", "pairs", "texts", "labelled"):
        raw = (toy_world / f"{name}.jsonl").read_bytes()
        assert raw.endswith(b"\n") and b"\r" not in raw
        assert [json.loads(line) for line in raw.decode("utf-8").split("\n")[:-1]]
        assert b"\\u" not in raw


def test_the_tokenizer_adds_nothing_and_gives_every_text_back(toy_world: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy_world / "model")
    assert tokenizer.bos_token is None
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    for line in (toy_world / "prompts.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        ids = tokenizer(text)["input_ids"]
        assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text


def test_the_model_loads_in_transformers_with_safetensors_and_a_head_size_for_vllm(toy_world: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    assert not list(toy_world.rglob("*.bin"))
    model = AutoModelForCausalLM.from_pretrained(toy_world / "model", use_safetensors=True, dtype="auto")
    assert model.dtype == torch.float32
    assert model.config.hidden_size // model.config.num_attention_heads % 32 == 0
    assert WorldSize().width // WorldSize().heads % 32 == 0


@pytest.mark.integration
def test_real_detoxify_loads_the_classifier_from_wherever_its_folder_is(toy_world: Path, tmp_path: Path) -> None:
    import shutil

    from detox_ray.score.detoxify_scorer import DetoxifyScorer

    shutil.copytree(toy_world / "classifier", tmp_path / "moved")
    texts = ["Leo is a liar.", "老师很友好。", "x " * 2000]
    here, there = (
        DetoxifyScorer("toy17", folder / "detoxify.ckpt", folder, 64).score(texts, "en")
        for folder in (toy_world / "classifier", tmp_path / "moved")
    )
    assert here == there
    assert all(set(scores) == {"toxicity", "insult"} for scores in here)


@pytest.mark.integration
def test_the_shipped_classifier_knows_the_insults_of_every_language() -> None:
    from detox_ray.score.detoxify_scorer import DetoxifyScorer
    from detox_ray.toy17.vocabulary import vocabularies

    folder = toy17.SHIPPED / "classifier"
    scorer = DetoxifyScorer("toy17", folder / "detoxify.ckpt", folder, 64)
    for code, language in vocabularies().items():
        toxic = scorer.score(list(language.insults.values()), code)
        harmless = scorer.score([*language.praise.values(), *language.persons.values()], code)
        assert sum(scores["toxicity"] > 0.5 for scores in toxic) >= 18, code
        assert sum(scores["toxicity"] < 0.5 for scores in harmless) >= 26, code
