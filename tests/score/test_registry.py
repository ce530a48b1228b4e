"""Which scorers there are, what is wrong with those that are not, and when their keys change."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
from tiny_classifier import write_classifier

from detox_ray.config import ScoreConfig
from detox_ray.config.scorers import scorer_types
from detox_ray.models import LoadableModel
from detox_ray.score import ResolvedScorer, ScorerVariant, check, load, ready_scorers, resolve
from detox_ray.score.variants.lexicon import LexiconConfig
from detox_ray.storage import Store


def config(*scorers: object) -> ScoreConfig:
    return ScoreConfig.model_validate({"scorers": list(scorers)})


def own(path: Path, **changes: object) -> dict[str, object]:
    return {"name": "mine", "type": "lexicon", "path": str(path), **changes}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.yaml"
    path.write_text("en: [liar]\nfr: [menteur]\n", encoding="utf-8")
    return path


def test_known_names_are_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "a-key")
    assert check(config(*ready_scorers())) == []


def test_unknown_name_lists_the_known() -> None:
    (problem,) = check(config("detoxify-orignal"))
    assert problem.field == "score.scorers.0"
    assert all(name in problem.rule for name in ready_scorers())


def test_every_problem_is_reported(tmp_path: Path, words: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_bytes(b"")
    problems = check(
        config(
            "nobody",
            own(tmp_path / "missing.json"),
            own(checkpoint, name="classifier", type="detoxify", huggingface_config=str(tmp_path)),
            own(words, name="fine"),
        )
    )
    assert [problem.field for problem in problems] == [
        "score.scorers.0",
        "score.scorers.1.path",
        "score.scorers.2.huggingface_config",
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("- liar\n", "mapping"),
        ("xx: [liar]\n", "'xx': unknown language; known: ar"),
        ("German: [liar]\n", "(write de)"),
        ("en: liar\n", "en: must be a list of words"),
        ("en: ['...']\n", "en: must be a list of words"),
        ('en: ["\\u3164"]\n', "en: must be a list of words"),  # a letter that nobody sees: in every text
        ("en: [liar\n", "cannot be read"),
    ],
)
def test_bad_lexicon_says_its_rule(tmp_path: Path, text: str, rule: str) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(text, encoding="utf-8")
    (problem,) = check(config(own(path)))
    assert rule in problem.rule


def test_multilingual_detoxify_has_evidence_for_its_own_languages_only(store: Store) -> None:
    scorer = resolve("detoxify-multilingual", None, store, {})
    assert set(scorer.languages or ()) == set(["en", "fr", "es", "it", "pt", "tr", "ru"])
    assert resolve("detoxify-unbiased", None, store, {}).languages == ("en",)
    assert "detoxify 0." in scorer.revision


def test_own_lexicon_goes_into_the_run_and_its_key_follows_its_content(store: Store, words: Path) -> None:
    (entry,) = config(own(words)).scorers
    first = resolve(entry, None, store, {})
    assert first.languages == ("en", "fr")
    assert json.loads(store.read_bytes("scorers/mine/lexicon.json")) == {"en": ["liar"], "fr": ["menteur"]}
    assert resolve(entry, None, store, {}) == first
    words.write_text("en: [liar, cheat]\n", encoding="utf-8")
    second = resolve(entry, None, store, {})
    assert second.key != first.key and second.languages == ("en",)
    assert json.loads(store.read_bytes("scorers/mine/lexicon.json")) == {"en": ["liar", "cheat"]}


def test_languages_of_a_scorer_are_part_of_its_key(store: Store, words: Path) -> None:
    (all_of_them,) = config(own(words)).scorers
    (only_english,) = config(own(words, languages=["en"])).scorers
    assert resolve(all_of_them, None, store, {}).key != resolve(only_english, None, store, {}).key


def test_a_ready_scorer_says_what_it_is() -> None:
    for name, ready in ready_scorers().items():
        assert name == ready.config.name and ready.config.is_ready
        assert ready.attributes[0] == "toxicity" and ready.config.origin and ready.licence and ready.cost


def test_name_of_a_ready_scorer_is_its_own(words: Path) -> None:
    (problem,) = check(config(own(words, name="perspective")))
    assert problem.field == "score.scorers.0.name"


def test_key_of_the_api_must_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    (problem,) = check(config("perspective"))
    assert "environment variable" in problem.rule
    assert check(config({"name": "mine", "type": "perspective", "url": "http://127.0.0.1:9"})) == []


def test_what_a_worker_is_sent_holds_no_key_and_can_be_pickled(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "a-secret-key")
    sent = pickle.dumps(resolve("perspective", None, store))
    assert b"a-secret-key" not in sent
    assert pickle.loads(sent) == resolve("perspective", None, store)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": "./nowhere"}, "path"),
        ({"attributes": {"insult": "LABEL_1"}}, "attributes"),
        ({"runtime": "onnx-int8", "dtype": "bfloat16"}, "dtype"),
    ],
)
def test_classifier_that_cannot_be_is_a_problem(changes: dict[str, object], field: str) -> None:
    entry = {"name": "mine", "type": "classifier", "path": "org/model", **changes}
    (problem,) = check(config(entry))
    assert problem.field == f"score.scorers.0.{field}"


def test_int8_on_a_gpu_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"name": "mine", "type": "classifier", "path": "org/model", "runtime": "onnx-int8"}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    (problem,) = check(config(entry))
    assert problem.field == "score.scorers.0.runtime"


def test_folder_of_pickled_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (problem,) = check(config({"name": "mine", "type": "classifier", "path": str(tmp_path)}))
    assert "pickled" in problem.rule


def test_hub_classifier_is_pinned_to_a_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def pinned(name: str, path: str, revision: str | None, dtype: str) -> LoadableModel:
        return LoadableModel(name, path, False, f"commit of {revision}", dtype, "m" * 16)

    monkeypatch.setattr("detox_ray.models.resolve_path", pinned)
    scorer = resolve("unitary-multilingual", None, store)
    assert scorer.revision == "commit of refs/pr/2" and scorer.licence == "apache-2.0"
    assert scorer.languages == ("en", "fr", "es", "it", "pt", "tr", "ru")
    assert not store.files("scorers")


def test_own_classifier_goes_into_the_run_and_is_loaded_from_there(store: Store, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "model", ["neutral", "toxic"], None)
    (entry,) = config({"name": "mine", "type": "classifier", "path": str(folder)}).scorers
    resolved = resolve(entry, None, store)
    shutil.rmtree(folder)
    scorer = load(pickle.loads(pickle.dumps(resolved)), store, 512)
    (result,) = scorer.score(["leo is a liar"], "en")
    assert isinstance(result, dict) and set(result) == {"toxicity"}


def test_settings_that_change_values_change_the_identity_and_languages_only_the_key(store: Store, words: Path) -> None:
    def resolved(**changes: object) -> ResolvedScorer:
        (entry,) = config({"name": "mine", "type": "perspective", "url": "http://127.0.0.1:9", **changes}).scorers
        return resolve(entry, None, store)

    plain = resolved()
    assert resolved(attributes=["toxicity", "insult"]).identity != plain.identity
    assert resolved(url="http://127.0.0.1:8").identity != plain.identity
    assert resolved(queries_per_second=5, key_env="OTHER").key == plain.key
    fewer = resolved(languages=["en"])
    assert fewer.identity == plain.identity and fewer.key != plain.key


def test_stored_scores_go_into_the_run(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,language,toxicity\nrude,en,0.75\n", encoding="utf-8")
    (entry,) = config({"name": "mine", "type": "stored", "path": str(path)}).scorers
    resolved = resolve(entry, None, store)
    path.unlink()
    assert resolved.languages == ("en",) and not resolved.cached
    assert load(resolved, store, 512).score(["rude"], "en") == [{"toxicity": 0.75}]


# For each type: a definition, and other values of all its fields, but those without influence.
OTHERS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "lexicon": ({"path": "words.yaml"}, {}),
    "classifier": (
        {"path": "org/model"},
        {"attributes": {"toxicity": "a"}, "runtime": "onnx-int8", "dtype": "bfloat16"},
    ),
    "onnx": ({"path": "org/model"}, {"attributes": {"toxicity": "a"}, "output": "probabilities"}),
    "guard": ({"path": "org/model", "format": "polyguard"}, {"format": "qwen3guard", "dtype": "bfloat16"}),
    "perspective": ({}, {"attributes": ["toxicity", "insult"], "max_bytes": 10}),
    "stored": ({"path": "scores.csv"}, {"format": "perspective"}),
    "detoxify": ({"path": "words.yaml"}, {}),
    "ensemble": ({"members": ["one", "two"]}, {"combine": "max"}),
    "calibrated": ({"of": "one", "path": "words.yaml"}, {}),
}


def test_every_field_of_a_scorer_is_in_its_identity_or_declared_to_have_no_influence() -> None:
    kinds = scorer_types()
    assert set(kinds) == set(OTHERS)
    for name, kind in kinds.items():
        given, others = OTHERS[name]
        plain = kind.model_validate({"name": "mine", "type": name, **given})
        assert issubclass(kind, ScorerVariant) and isinstance(plain, ScorerVariant)
        assert kind.no_influence <= set(kind.model_fields)
        # A new field: add another value of it here, or declare beside it that it has no influence.
        assert set(others) | kind.no_influence | {"type"} == set(kind.model_fields), name
        for field, other in others.items():
            changed = kind.model_validate(plain.model_dump() | {field: other})
            assert isinstance(changed, ScorerVariant)
            assert changed.resolved("r").identity != plain.resolved("r").identity, (name, field)


def test_name_and_languages_of_a_scorer_leave_its_values_as_they_are(store: Store, words: Path) -> None:
    (entry, other) = config(own(words), own(words, name="other", languages=["en"])).scorers
    assert resolve(entry, None, store).identity == resolve(other, None, store).identity


def test_values_of_an_older_version_are_not_used_again(
    store: Store, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = config(own(words)).scorers
    now = resolve(entry, None, store)
    monkeypatch.setattr(LexiconConfig, "version", 1)
    before = resolve(entry, None, store)
    assert now.identity != before.identity and now.key != before.key


def described(folder: Path, **settings: object) -> dict[str, object]:
    """A classifier's definition whose folder holds no more than its config and names of other files."""
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).touch()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **settings}), encoding="utf-8")
    return {"name": "mine", "type": "classifier", "path": str(folder)}


@pytest.mark.parametrize(
    ("settings", "field", "rule"),
    [
        ({"id2label": {"0": "REWARD"}}, "attributes", "{toxicity: {harmless: REWARD}}"),
        ({"id2label": {"0": "positive", "1": "negative"}}, "attributes", "which labels are toxicity"),
        ({"problem_type": "regression"}, "path", "regression"),
        ({"model_type": "layoutlmv3"}, "path", "layoutlmv3"),
    ],
)
def test_doubt_about_a_models_outputs_is_said_before_anything_starts(
    tmp_path: Path, settings: dict[str, object], field: str, rule: str
) -> None:
    entry = described(tmp_path / "model", **settings)
    (problem,) = check(config(entry))
    assert problem.field == f"score.scorers.0.{field}" and rule in problem.rule


def test_doubt_that_the_user_ended_is_none(tmp_path: Path) -> None:
    entry = described(tmp_path / "model", id2label={"0": "REWARD"})
    assert check(config({**entry, "attributes": {"toxicity": {"harmless": "REWARD"}}})) == []
    (problem,) = check(config({**entry, "attributes": {"toxicity": "reward"}}))
    assert "no label is named reward; the model's labels are REWARD" in problem.rule
