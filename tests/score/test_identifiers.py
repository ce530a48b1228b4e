"""The identifiers recognise the 17 languages, say how sure they are, and fastText is used as it should be."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from detox_ray.config import InputError
from detox_ray.config.languages import GROUPS
from detox_ray.score.identifiers import Identified, Identifier, load, revision

SENTENCES = {
    "ar": "ذهبت إلى السوق صباح اليوم واشتريت خبزا وفاكهة",
    "cs": "Dnes ráno jsem šla na trh a koupila čerstvý chléb",
    "de": "Heute Morgen bin ich auf den Markt gegangen und habe Brot gekauft",
    "en": "This morning I went to the market and bought some fresh bread",
    "es": "Esta mañana fui al mercado y compré pan fresco para mi abuela",
    "fr": "Ce matin je suis allée au marché et j'ai acheté du pain frais",
    "hi": "आज सुबह मैं बाज़ार गया और ताज़ी रोटी खरीदी",
    "id": "Pagi ini saya pergi ke pasar dan membeli roti untuk nenek",
    "it": "Questa mattina sono andata al mercato e ho comprato del pane",
    "ja": "今朝、市場へ行って新しいパンを買いました",
    "ko": "오늘 아침에 시장에 가서 신선한 빵을 샀어요",
    "nl": "Vanmorgen ging ik naar de markt en kocht ik vers brood",
    "pl": "Dziś rano poszłam na targ i kupiłam świeży chleb",
    "pt": "Esta manhã fui à feira e comprei pão fresco para a minha avó",
    "ru": "Сегодня утром я пошла на рынок и купила свежий хлеб",
    "sv": "I morse gick jag till torget och köpte färskt bröd",
    "zh": "今天早上我去市场买了新鲜的面包",
}


@pytest.fixture(scope="module", params=["py3langid", "lingua"])
def identifier(request: pytest.FixtureRequest) -> Identifier:
    return load(request.param, None)


def test_a_sentence_of_each_language_is_recognised(identifier: Identifier) -> None:
    assert set(SENTENCES) == set(GROUPS["rtp-lx-17"])
    found = identifier.identify(list(SENTENCES.values()))
    assert [each.code for each in found] == list(SENTENCES)
    assert all(0.3 < each.confidence <= 1 for each in found)


def test_language_of_another_script_is_not_taken_for_one_of_ours(identifier: Identifier) -> None:
    found = identifier.identify(["Σήμερα το πρωί πήγα στην αγορά", "เมื่อเช้านี้ฉันไปตลาดมา"])
    assert [each.code for each in found] == ["el", "th"]


@pytest.mark.parametrize("text", ["", "12345 !!!", "😀😀😀", "\x00\x07\x1b"])
def test_text_without_letters_leaves_an_identifier_unsure(identifier: Identifier, text: str) -> None:
    ((_, confidence),) = identifier.identify([text])
    assert confidence <= 0.3


def test_huge_and_mixed_texts_get_an_answer(identifier: Identifier) -> None:
    texts = ["bread and butter " * 6000, "x" * 100_000, " ".join(SENTENCES.values()), "<b>a</b>" * 50]
    found = identifier.identify(texts)
    assert found[0].code == "en"
    assert all(0 <= each.confidence <= 1 for each in found)


def test_no_texts_no_answers(identifier: Identifier) -> None:
    assert identifier.identify([]) == []


class StandIn:
    """Answers as the package does to a list: labels and scores, a list each."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, texts: list[str]) -> tuple[list[list[str]], list[list[float]]]:
        assert isinstance(texts, list) and not any("\n" in text for text in texts)
        self.asked += texts
        known = {"hello there": ("__label__en", 1.00003), "": None}
        answers = [known.get(text, ("__label__arz", 0.4)) for text in texts]
        return [[a[0]] if a else [] for a in answers], [[a[1]] if a else [] for a in answers]


def package(model: Any) -> SimpleNamespace:
    def load_model(path: str) -> Any:
        if not path.endswith(".ftz"):
            raise ValueError(f"{path} has wrong file format!")
        return model

    return SimpleNamespace(load_model=load_model)


def test_fasttext_answers_with_all_its_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    model = StandIn()
    monkeypatch.setitem(sys.modules, "fasttext", package(model))
    found = load("fasttext", "lid.176.ftz").identify(["hello\nthere", "x", ""])
    assert found == [Identified("en", 1.0), Identified("arz", 0.4), Identified("und", 0.0)]
    assert model.asked == ["hello there", "x", ""]


def test_file_that_is_no_fasttext_model_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", package(StandIn()))
    with pytest.raises(InputError, match=r"quality\.fasttext: must be a fastText model .*'lid\.txt'"):
        load("fasttext", "lid.txt")


def test_missing_fasttext_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fasttext", None)
    with pytest.raises(InputError, match=r"quality\.identifier: .* not installed: .* lingua or py3langid"):
        load("fasttext", "lid.176.ftz")


def test_revision_follows_the_package_and_the_models_bytes(tmp_path: Any) -> None:
    assert revision("lingua", None).split()[0] == "lingua" != revision("py3langid", None).split()[0]
    file = tmp_path / "lid.ftz"
    file.write_bytes(b"one")
    first = revision("fasttext", str(file))
    file.write_bytes(b"two")
    assert first != revision("fasttext", str(file))
    with pytest.raises(InputError, match=r"quality\.fasttext: cannot be read: No such file"):
        revision("fasttext", str(tmp_path / "none.bin"))
