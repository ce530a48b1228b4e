"""`extends:`: what a file takes from others, what is refused, and which file a problem names."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.config import ConfigError, Problem
from detox_ray.config.extends import merge, read_layers
from detox_ray.config.loading import load
from detox_ray.gate import read_spec

COMMON = """
data: {prompts: {source: toy17}, pairs: {source: toy17}}
models:
  base: {path: toy17}
  detox: {train: {parent: base, beta: 0.2, tuning: lora, lora: {r: 8, alpha: 4}}}
score: {scorers: [toy17-lexicon, toy17-detoxify]}
generate: {samples: 3}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write files below a folder by their names; the last one is returned."""

    def files(**texts: str) -> Path:
        paths = [tmp_path / f"{name.replace('__', '/')}.yaml" for name in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return paths[-1]

    return files


def whole(path: Path) -> dict[str, Any]:
    return merge(read_layers(path, "CONFIG"))


def problems(path: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    return list(caught.value.problems)


def test_mappings_merge_and_all_else_replaces(write: Any) -> None:
    mine = write(
        common="a: {b: 1, c: {d: 2, e: 3}}\nlist: [1, 2]\nmapping: {x: 1}\nscalar: 1\nnothing: null",
        mine="extends: common.yaml\na: {c: {e: 4, f: 5}}\nlist: [3]\nmapping: null\nscalar: {y: 1}\nnothing: {z: 1}",
    )
    assert whole(mine) == {
        "a": {"b": 1, "c": {"d": 2, "e": 4, "f": 5}},
        "list": [3],
        "mapping": None,
        "scalar": {"y": 1},
        "nothing": {"z": 1},
    }


def test_parents_are_merged_in_their_order_and_the_file_last(write: Any) -> None:
    files = {"oldest": "a: 0\nb: 0\nc: 0\nd: 0", "first": "extends: oldest.yaml\na: 1\nb: 1\nc: 1"}
    mine = write(**files, second="a: 2\nb: 2", mine="extends: [first.yaml, second.yaml]\na: 3")
    assert whole(mine) == {"a": 3, "b": 2, "c": 1, "d": 0}
    assert load_order(mine) == ["oldest", "first", "second", "mine"]


def load_order(path: Path) -> list[str]:
    return [Path(layer.source).stem for layer in read_layers(path, "CONFIG")]


def test_a_common_ancestor_does_not_undo_what_one_of_its_children_says(write: Any) -> None:
    files = {"top": "a: 0\nb: 0", "left": "extends: top.yaml\na: 1", "right": "extends: ./top.yaml\nb: 2"}
    mine = write(**files, mine="extends: [left.yaml, right.yaml]")
    assert whole(mine) == {"a": 1, "b": 2}
    assert load_order(mine) == ["top", "left", "right", "mine"]


def test_a_path_is_relative_to_the_file_that_says_it(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = write(top="a: 1", common__part="extends: ../top.yaml\nb: 1", mine="extends: common/part.yaml")
    monkeypatch.chdir("/")
    assert whole(mine) == {"a": 1, "b": 1}
    assert whole(write(mine=f"extends: {tmp_path}/top.yaml")) == {"a": 1}
    (tmp_path / "link.yaml").symlink_to(tmp_path / "common" / "part.yaml")
    assert whole(tmp_path / "link.yaml") == {"a": 1, "b": 1}
    monkeypatch.setenv("HOME", str(tmp_path / "common"))
    assert whole(write(mine="extends: ~/part.yaml")) == {"a": 1, "b": 1}


def test_keys_are_interpolated_and_overridden_over_the_whole(write: Any) -> None:
    common = COMMON + "report: {completions: '${generate.samples}'}\nname: common"
    mine = write(common=common, mine="extends: common.yaml\nname: mine\ngenerate: {samples: 5}")
    assert load(mine).report.completions == 5
    assert load(mine, ["generate.samples=7"]).report.completions == 7
    detox = load(mine, ["models.detox.train.lora.r=16"]).models["detox"].train
    assert detox is not None and detox.lora is not None and (detox.lora.r, detox.lora.alpha) == (16, 4)


def test_null_takes_a_parents_value_away(write: Any) -> None:
    child = "extends: common.yaml\nname: mine\nmodels: {detox: {train: {tuning: full, lora: null}}}"
    detox = load(write(common=COMMON, mine=child)).models["detox"].train
    assert detox is not None and detox.lora is None and detox.beta == 0.2


@pytest.mark.parametrize("value", ["5", "{a: b.yaml}", "null", "''", "[common.yaml, 5]", "[[common.yaml]]", '"a\\0b"'])
def test_anything_but_paths_is_refused(write: Any, value: str) -> None:
    mine = write(common=COMMON, mine=f"extends: {value}\nname: mine")
    (problem,) = problems(mine)
    assert problem.field in ("extends", "extends.0", "extends.1") and problem.source == str(mine)
    assert problem.rule.startswith("must be the path of a YAML file, relative to this one")


def test_a_path_is_not_interpolated(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "5ecret")
    for path in ("${oc.env:PLANTED}.yaml", "${name}.yaml"):
        (problem,) = problems(write(mine=f"name: mine\nextends: {path}"))
        assert "cannot be interpolated" in problem.rule and "5ecret" not in str(problem)


def test_every_file_that_cannot_be_used_is_named_with_the_one_that_asks_for_it(write: Any, tmp_path: Path) -> None:
    files = {"list": "- a", "word": "just words", "twice": "a: 1\na: 2", "broken": "a: ["}
    nested = write(**files, nested="extends: absent.yaml")
    names = ["absent", *files, "nested"]
    mine = write(mine=f"name: mine\nextends: [{', '.join(f'{name}.yaml' for name in names)}, .]")
    found = problems(mine)
    asking = [mine, mine, mine, mine, mine, nested, mine]
    assert [problem.source for problem in found] == list(map(str, asking))
    rules = [
        "cannot be read: No such file",
        "holds a list",
        "holds a single value",
        "duplicate key a",
        "not valid YAML",
    ]
    for problem, rule in zip(found, [*rules, "cannot be read: No such file", "Is a directory"], strict=True):
        assert rule in problem.rule
    assert str(tmp_path / "absent.yaml") in found[0].rule and found[0].value == "absent.yaml"
    assert str(found[0]).endswith(f"(got 'absent.yaml'; in {mine})")


def test_files_that_extend_each_other_are_refused_by_their_chain(write: Any, tmp_path: Path) -> None:
    mine = write(a="extends: b.yaml", b="extends: sub/../mine.yaml", sub__c="", mine="extends: a.yaml\nname: mine")
    (problem,) = problems(mine)
    chain = " -> ".join(str(tmp_path / name) for name in ("mine.yaml", "a.yaml", "b.yaml", "sub/../mine.yaml"))
    assert problem.rule == f"a file cannot extend itself: {chain}"
    (problem,) = problems(write(mine="extends: mine.yaml"))
    assert "cannot extend itself" in problem.rule


def test_a_resolver_in_a_parent_is_refused(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "5ecret")
    mine = write(common=COMMON + "storage: ${oc.env:PLANTED}", mine="extends: common.yaml\nname: mine")
    (problem,) = problems(mine)
    assert problem.field == "storage" and "only other keys can be interpolated" in problem.rule
    assert problem.source == str(tmp_path / "common.yaml") and "5ecret" not in str(problem)


def test_extends_is_no_override(write: Any) -> None:
    (problem,) = problems(write(mine=COMMON + "name: mine"), "extends=other.yaml")
    assert problem.field == "extends" and "not on the command line" in problem.rule


# Which file a problem names: the parent's text, the child's, overrides; field -> sources ("" for CONFIG itself).
@pytest.mark.parametrize(
    ("parent", "child", "overrides", "expected"),
    [
        ("measure: {bootstrap: 5}", "", [], {"measure.bootstrap": "{common}"}),
        ("measure: {bootstrap: 500}", "measure: {bootstrap: 5}", [], {"measure.bootstrap": ""}),
        ("measure: {bootstrap: 5}", "", ["measure.bootstrap=6"], {"measure.bootstrap": ""}),
        ("measure: {bootstrp: 5}", "measure: {colour: 1}", [], {"measure.bootstrp": "{common}", "measure.colour": ""}),
        ("languages: [en, xx]", "", [], {"languages.1": "{common}"}),
        ("languages: [xx]", "languages: [en, xy]", [], {"languages.1": ""}),
        ("compare: [{model: x, parent: base}]", "", [], {"compare.0.model": "{common}"}),
        ("", "models: {base: {train: {parent: base}}}", [], {"models.base": "{common} and {mine}"}),
        ("", "", ["models.base.train.parent=base"], {"models.base": "{common} and an override"}),
        ("measure: [1]", "measure: {bootstrap: 5}", [], {"measure.bootstrap": ""}),
        ("models: {gpt2.v1: {path: x, color: 1}}", "", [], {"models.gpt2.v1.color": "{common}"}),
        ("", "models: {detox: {train: {seeds: [0, 1]}}}", ["quality.fluency=[{name: m, model: m}]"],
         {"quality.fluency.0.model": ""}),
        ("data: {pairs: null}", "", [], {"data.pairs": "{common}"}),
    ],
)  # fmt: skip
def test_a_problem_names_the_file_that_its_value_comes_from(
    write: Any, tmp_path: Path, parent: str, child: str, overrides: list[str], expected: dict[str, str]
) -> None:
    rest = write(rest=COMMON)
    mine = write(common=f"extends: {rest}\n{parent}", mine=f"extends: common.yaml\nname: mine\n{child}")
    named = {"common": str(tmp_path / "common.yaml") if parent else str(rest), "mine": str(mine)}
    found = {problem.field: problem.source for problem in problems(mine, *overrides)}
    assert found == {field: source.format(**named) for field, source in expected.items()}


def test_a_problem_of_a_variant_names_the_file_of_its_train_block(write: Any, tmp_path: Path) -> None:
    sweep = "extends: common.yaml\nname: mine\nmodels: {detox: {train: {seeds: [0, 1], epochs: [1, 2]}}}"
    found = problems(write(common=COMMON.replace("0.2", "-1"), mine=sweep))
    assert [problem.field for problem in found] == [
        f"models.detox-epochs-{epochs}-seed{seed}.train.beta" for epochs in (1, 2) for seed in (0, 1)
    ]
    assert {problem.source for problem in found} == {str(tmp_path / "common.yaml")}


def test_a_specification_can_extend_another(write: Any) -> None:
    common = "toxicity: {metric: average_toxicity, reduction: 0.1, languages: all}"
    spec = read_spec(write(common=common, mine="extends: common.yaml\ntoxicity: {reduction: 0.2}"))
    assert spec.toxicity is not None and spec.toxicity.reduction == 0.2 and spec.toxicity.languages == "all"
    with pytest.raises(ConfigError, match=r"toxicity.colour: unknown key \(got 1; in .*common.yaml\)"):
        read_spec(write(common="toxicity: {colour: 1}", mine="extends: common.yaml"))


# detox-ray validate


def test_resolved_is_a_config_by_itself(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detox_ray.run.pipeline.check", lambda experiment, say: say("a note"))
    sweep = "extends: common.yaml\nname: mine\nmodels: {detox: {train: {seeds: [0, 1]}}}"
    mine = write(common=COMMON, mine=sweep)
    result = CliRunner().invoke(app, ["validate", str(mine), "--resolved", "generate.samples=4"])
    assert result.exit_code == 0
    assert "is valid: 3 models" in result.stderr and "a note" in result.stderr
    again = tmp_path / "elsewhere" / "whole.yaml"
    again.parent.mkdir()
    again.write_text(result.stdout, encoding="utf-8")
    assert load(again) == load(mine, ["generate.samples=4"])
    assert load(again).to_yaml() == result.stdout
    assert "extends" not in yaml.safe_load(result.stdout)


def test_what_lies_outside_the_text_is_named_with_its_file_too(write: Any, tmp_path: Path) -> None:
    absent = "data: {prompts: {source: rtp-lx, path: absent}, pairs: {source: rtp-lx, path: absent}}"
    mine = write(
        common=COMMON, local=absent, mine=f"extends: [common.yaml, local.yaml]\nname: mine\nstorage: {tmp_path}"
    )
    result = CliRunner().invoke(app, ["validate", str(mine), "--resolved"])
    assert result.exit_code == 2
    assert re.search(rf"data\.prompts\.path: .*; in {re.escape(str(tmp_path / 'local.yaml'))}\)", result.stderr)
    assert yaml.safe_load(result.stdout)["data"]["prompts"]["path"] == "absent"  # the whole is printed all the same
