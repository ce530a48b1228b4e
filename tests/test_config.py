"""The experiment's text: what is accepted, what is refused, and whether the refusal names field, value and rule."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from detox_ray.config import ConfigError, Experiment, LoraConfig, Problem
from detox_ray.config.languages import GROUPS
from detox_ray.config.loading import load, validate


def experiment() -> dict[str, Any]:
    return {
        "name": "mine",
        "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
        "models": {"base": {"path": "toy17"}, "detox": {"train": {"parent": "base"}}},
        "score": {"scorers": ["toy17-lexicon"]},
    }


def change(raw: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *folders, last = dotted.split(".")
    place = raw
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value
    return raw


def problems(raw: Any) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        validate(raw)
    return list(caught.value.problems)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment()), encoding="utf-8")
    return path


def test_defaults_are_the_papers() -> None:
    mine = validate(experiment())
    assert mine.languages == list(GROUPS["rtp-lx-17"])
    generate = mine.generate
    assert (generate.samples, generate.temperature, generate.top_p, generate.max_tokens) == (25, 0.9, 0.8, 20)
    train = mine.models["detox"].train
    assert train is not None
    assert (train.beta, train.learning_rate, train.batch_size, train.max_grad_norm) == (0.1, 1e-5, 4, 10)


def test_resolved_yaml_reads_back_as_the_same_experiment() -> None:
    mine = validate(experiment())
    assert validate(yaml.safe_load(mine.to_yaml())) == mine


def test_an_experiment_without_prompts_needs_something_else_to_measure() -> None:
    content = experiment()
    texts = {"source": "file", "path": "texts.jsonl"}
    mine = validate({**content, "data": {"texts": texts, "pairs": content["data"]["pairs"]}, "score": {}})
    assert mine.score.names == [] and mine.release_rules is None
    assert validate(experiment()).release_rules == validate(experiment()).gate
    with pytest.raises(ConfigError) as nothing:
        validate({**content, "data": {"pairs": content["data"]["pairs"]}, "score": {}})
    with pytest.raises(ConfigError) as unprompted:
        validate({**content, "data": {"pairs": content["data"]["pairs"]}})
    with pytest.raises(ConfigError) as unscored:
        validate({name: block for name, block in content.items() if name != "score"})
    assert [(error.value.problems[0].field, error.value.problems[0].rule[:18]) for error in (nothing, unprompted)] == [
        ("data.prompts", "nothing is measure"),
        ("data.prompts", "is required by sco"),
    ]
    assert unscored.value.problems[0].field == "score.scorers"


# What is changed, to what: the field, the value and a part of the rule that the message must hold.
WRONG: list[tuple[str, Any, str, Any, str]] = [
    ("colour", "blue", "colour", "blue", "unknown key"),
    ("quality", {"diversity": "toy17-lexicon"}, "score.scorers", "toy17-lexicon", "choose another name"),
    ("generate.sample", 3, "generate.sample", 3, "unknown key; did you mean 'samples'?"),
    ("models.detox.train.learning_rat", 1, "models.detox.train.learning_rat", 1, "did you mean 'learning_rate'?"),
    ("generate.samples", "many", "generate.samples", "many", "must be an integer"),
    ("generate.samples", 0, "generate.samples", 0, "greater than or equal to 1"),
    ("generate.samples", 2.5, "generate.samples", 2.5, "integer"),
    ("generate.temperature", 0, "generate.samples", 25, "must be 1 with temperature 0"),
    ("generate.engine", "tgi", "generate.engine", "tgi", "'auto', 'vllm' or 'transformers'"),
    ("generate.actors", 0, "generate.actors", 0, "greater than or equal to 1"),
    ("generate.actors", "many", "generate.actors", "many", "'auto' or an integer"),
    ("languages", ["en", "xx"], "languages.1", "xx", "unknown language; known: ar ca cs de"),
    ("languages", "all", "languages", "all", "known: rtp-lx-17"),
    ("languages", ["en", "en"], "languages", ["en", "en"], "once"),
    ("languages", ["pt-BR", "pt-PT"], "languages", ["pt-BR", "pt-PT"], "only once, in any spelling; repeated: pt"),
    ("languages", ["German"], "languages.0", "German", "(write de)"),
    ("languages", [], "languages", [], "at least 1"),
    ("name", "../up", "name", "../up", "it names a folder"),
    ("name", "a\n", "name", "a\n", "it names a folder"),
    ("name", None, "name", None, "string"),
    ("models.a/b", {"path": "x"}, "models.a/b", "a/b", "it names a folder"),
    ("models.base.path", None, "models.base", {"path": None}, "either a path or a train block"),
    ("models.detox.path", "x", "models.detox", {"train": {"parent": "base"}, "path": "x"}, "either a path or a train"),
    ("models.detox.train.parent", "bse", "models.detox.train.parent", "bse", "one of the models (base, detox)"),
    ("models.detox.train.parent", "detox", "models", ["base", "detox"], "descends from itself, among detox"),
    ("models.detox.train.learning_rate", float("nan"), "models.detox.train.learning_rate", None, "finite"),
    ("models.detox.train.trainable", ["("], "models.detox.train.trainable", "(", "not a regular expression"),
    ("models.detox.train.method", {"dpo": 1}, "models.detox.train.method", {"dpo": 1}, "'dpo', 'sft'"),
    ("models.detox.train.recipe", {"paper": 1}, "models.detox.train.recipe", {"paper": 1}, "'paper' or 'fast'"),
    ("models.detox.train.loss", {"ipo": 1}, "models.detox.train.loss", {"ipo": 1}, "must be a string"),
    ("models.detox.train.lora", {}, "models.detox.train.lora", LoraConfig(), "needs tuning: lora"),
    ("data.prompts.path", "x", "data.prompts.path", "x", "takes no path"),
    ("data.prompts.source", "file", "data.prompts.path", None, "source file needs a path"),
    ("data.prompts.source", "hub", "data.prompts.source", "hub", "must be one of file, rtp-lx, toy17, the"),
    ("data.pairs", None, "data.pairs", None, "models.detox.train needs it"),
    ("data", None, "data", None, "mapping"),
    ("compare", [{"model": "detox", "parent": "bse"}], "compare.0.parent", "bse", "one of the models (base, detox)"),
    ("score.scorers", [3], "score.scorers.0", 3, "string or a mapping"),
    ("score.scorers", ["a", "a"], "score.scorers", ["a", "a"], "once"),
    (
        "score.scorers",
        [{"name": "a", "type": "x", "path": "p"}],
        "score.scorers.0.type",
        "x",
        "must be one of calibrated, classifier, detoxify",
    ),
    ("score.primary", "other", "score.primary", "other", "one of the scorers (toy17-lexicon)"),
    ("measure.bootstrap", 10, "measure.bootstrap", 10, "greater than or equal to 100"),
]


@pytest.mark.parametrize(("key", "given", "field", "value", "rule"), WRONG, ids=lambda part: str(part)[:40])
def test_a_problem_names_field_value_and_rule(key: str, given: Any, field: str, value: Any, rule: str) -> None:
    found = problems(change(experiment(), key, given))
    assert [problem.field for problem in found] == [field]
    assert rule in found[0].rule
    assert value is None or found[0].value == value
    assert str(found[0]).startswith(f"{field}: ")


@pytest.mark.parametrize("key", ["name", "models"])
def test_a_missing_key_is_named_without_what_stands_around_it(key: str) -> None:
    raw = experiment()
    del raw[key]
    assert problems(raw) == [Problem(key, None, "is required")]


def test_all_problems_are_reported_at_once() -> None:
    raw = change(change(change(experiment(), "generate.samples", 0), "languages", ["en", "xx"]), "colour", "blue")
    raw["score"]["primary"] = "other"
    assert {problem.field for problem in problems(raw)} == {
        "generate.samples",
        "languages.1",
        "colour",
        "score.primary",
    }


def test_models_that_are_each_others_parents_are_refused() -> None:
    raw = experiment()
    raw["models"] |= {"a": {"train": {"parent": "b"}}, "b": {"train": {"parent": "a"}}}
    assert "a model descends from itself, among a, b" in problems(raw)[0].rule


def test_parents_are_trained_first() -> None:
    raw = experiment()
    raw["models"] = {
        "last": {"train": {"parent": "middle"}},
        "middle": {"train": {"parent": "base"}},
        "base": {"path": "x"},
    }
    mine = validate(raw)
    assert mine.descent_order() == ["middle", "last"]
    assert [(c.model, c.parent) for c in mine.comparisons] == [("last", "middle"), ("middle", "base")]


@pytest.mark.parametrize("field", ["storage", "models.base.path"])
@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:SECRET@bucket/runs",
        "S3://AKIA:SEC/RET@bucket/runs",
        "gs://SECRET@bucket",
        "s3://bucket/runs?region=x&secret_key=SECRET&access_key=AKIA",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(field: str, uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(change(experiment(), field, uri))
    message = str(caught.value)
    assert message.startswith(f"{field}: credentials do not belong in a URI")
    assert not any(secret in message for secret in ("SECRET", "SEC/RET", "AKIA"))


@pytest.mark.parametrize(
    "text",
    [
        "a: ${oc.env:PLANTED}",
        "a: {b: [1, 'x${oc.env:PLANTED,y}']}",
        "b: oc.env\na: ${${b}:PLANTED}",
        "a: ${oc.decode:'1'}",
    ],
)
def test_a_config_does_not_read_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PLANTED", "5ecret")
    (tmp_path / "experiment.yaml").write_text(text)
    with pytest.raises(ConfigError, match="only other keys can be interpolated") as caught:
        load(tmp_path / "experiment.yaml")
    assert caught.value.problems[0].field.startswith("a") and "5ecret" not in str(caught.value)


def test_an_override_does_not_read_the_environment_either(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "5ecret")
    with pytest.raises(ConfigError, match="only other keys") as caught:
        overridden(written, "name=${oc.env:PLANTED}")
    assert "5ecret" not in str(caught.value)


def test_other_keys_are_interpolated(written: Path) -> None:
    mine = overridden(written, "generate.samples=3", "report.completions=${generate.samples}")
    assert mine.report.completions == 3


@pytest.mark.parametrize(
    "fields",
    [{"api_key": "5ecret"}, {"key_env": "5ecret"}, {"headers": {"token": "5ecret"}}, {"access_key": ["5ecret"]}],
)
def test_a_key_that_stands_in_the_config_is_not_repeated(fields: dict[str, Any]) -> None:
    scorer = {"name": "mine", "type": "perspective", **fields}
    with pytest.raises(ConfigError) as caught:
        validate(change(experiment(), "score.scorers", [scorer]))
    assert f"score.scorers.0.{next(iter(fields))}" in str(caught.value) and "5ecret" not in str(caught.value)


@pytest.mark.parametrize("storage", ["runs", "/a/b@c", "s3://bucket/a@b", "s3://b/p?endpoint_override=127.0.0.1:5000"])
def test_storage_without_credentials_is_accepted(storage: str) -> None:
    assert validate(change(experiment(), "storage", storage)).storage == storage


def test_an_experiment_cannot_be_changed() -> None:
    mine = validate(experiment())
    with pytest.raises(ValueError, match="frozen"):
        mine.generate.samples = 1  # type: ignore[misc]


# load: YAML and overrides


def overridden(path: Path, *overrides: str) -> Experiment:
    return load(path, overrides)


def test_a_language_is_its_code_however_it_is_written(written: Path) -> None:
    lexicon = "score.scorers=[{name: own,type: lexicon,path: words.yaml,languages: [%s]}]"
    tags = overridden(written, "languages=[EN,pt-BR,zh_Hans,deu]", "data.pairs.language=en-US", lexicon % "EN,pt-PT")
    codes = overridden(written, "languages=[en,pt,zh,de]", "data.pairs.language=en", lexicon % "en,pt")
    assert tags.languages == ["en", "pt", "zh", "de"]
    assert tags == codes and tags.to_yaml() == codes.to_yaml()  # so all keys are the same


def test_overrides_reach_nested_models_and_lists(written: Path) -> None:
    mine = overridden(
        written,
        "models.detox.train.beta=0.2",
        "models.detox.train.learning_rate=1e-6",
        "models.other.path=org/model",
        "languages=[fr,zh]",
        "score.scorers=[toy17-lexicon,{name: own,type: lexicon,path: words.yaml}]",
        "data.prompts.per_language=null",
        "storage=s3://bucket/runs?region=us-east-1",
    )
    train = mine.models["detox"].train
    assert train is not None
    assert (train.beta, train.learning_rate) == (0.2, 1e-6)
    assert mine.models["other"].path == "org/model"
    assert mine.languages == ["fr", "zh"]
    assert mine.score.names == ["toy17-lexicon", "own"]
    assert mine.storage == "s3://bucket/runs?region=us-east-1"


def test_a_model_whose_name_has_a_dot_is_overridden_in_brackets(written: Path) -> None:
    mine = overridden(written, "models[gpt2.v1].path=org/model", "models[gpt2.v1].dtype=float32")
    assert mine.models["gpt2.v1"].dtype == "float32"


@pytest.mark.parametrize("override", ["nothing", "=5", "[=5", "--samples"])
def test_malformed_overrides_are_named(written: Path, override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(written, override)
    assert caught.value.problems == (Problem("override", override, "must have the form key.path=value"),)


def test_a_value_that_yaml_would_cut_short_is_refused(written: Path) -> None:
    with pytest.raises(ConfigError, match="' #' begins a comment in YAML: put the value in quotes"):
        overridden(written, "storage=runs #3")
    assert overridden(written, "storage='runs #3'").storage == "runs #3"
    assert overridden(written, "storage=runs#3").storage == "runs#3"


def test_an_override_is_validated_like_the_file(written: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(written, "generate.samples=0", "models.detox.train.bta=1")
    assert {problem.field for problem in caught.value.problems} == {"generate.samples", "models.detox.train.bta"}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a: [", "is not valid YAML: line 1, column 5: "),
        (b"a:\n\tb: 1", "line 2, column 1: found character '\\\\t' that .*; indent with spaces, not with tabs"),
        ("a: Köln".encode("cp1252"), r"is not UTF-8 text \(byte 5\): save it as UTF-8"),
        (b"- a", "not a usable YAML mapping"),
        (b"5", "not a usable YAML mapping"),
        (b"a: &x [*x]", "recursive"),
        (b"name: a\nname: b", "duplicate key name"),
        (b"a: ${b}", "Interpolation key 'b' not found"),
        (b"\xff", "is not UTF-8"),
        (b"", "is required"),
    ],
)
def test_text_that_is_no_experiment_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=part):
        load(path)


def test_a_missing_or_unreadable_config_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"CONFIG: cannot be read: .*{path}"):
            load(path)


@pytest.mark.parametrize(
    ("storage", "folder"),
    [
        ("s3://bucket/x/?region=y&scheme=http", "s3://bucket/x/mine?region=y&scheme=http"),
        ("gs://bucket", "gs://bucket/mine"),
        ("/data/runs/", "/data/runs/mine"),
    ],
)
def test_the_runs_folder_is_its_name_under_the_storage(storage: str, folder: str) -> None:
    assert validate(change(experiment(), "storage", storage)).folder == folder


def test_only_a_ready_scorer_of_toy17_brings_in_its_world() -> None:
    raw = experiment() | {"data": {"prompts": {"source": "file", "path": "prompts.jsonl"}}}
    raw["models"] = {"base": {"path": "models/base"}}
    raw["score"] = {"scorers": [{"name": "toy17-of-mine", "type": "lexicon", "path": "words.yaml"}]}
    assert not validate(raw).uses_toy17
    assert validate(change(raw, "score.scorers", ["toy17-lexicon"])).uses_toy17
