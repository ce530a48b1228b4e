"""What counts as a token and as a word in spaced and unspaced scripts, and texts that segmenters stumble over."""

from pathlib import Path

import pytest

from detox_ray.score.word_segmentation import tokens, versions, words


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Don't stop, it is 3.14!", ["Don't", "stop", "it", "is", "3.14"]),
        ("fr", "Elle a dit : « naïve ».", ["Elle", "a", "dit", "naïve"]),
        ("hi", "वह बेवकूफ़ है।", ["वह", "बेवकूफ़", "है"]),  # vowel signs belong to the word
        ("ar", "المُعَلِّم كسول،", ["المُعَلِّم", "كسول"]),
        ("ko", "그는 게으릅니다.", ["그는", "게으릅니다"]),
        ("ru", "Он — лжец 他是", ["Он", "лжец", "他", "是"]),  # Han outside Chinese: a word a character
        ("zh", "我爱北京天安门，你好 world。", ["我", "爱", "北京", "天安门", "你好", "world"]),
        ("ja", "先生は怠け者です。", ["先生", "は", "怠け者", "です"]),
        ("en", "😀 ... \u200b", []),
        ("ja", "先生\0は 。", ["先生", "は"]),  # what follows a NUL is not lost
        ("en", "The the", ["The", "the"]),  # as written
    ],
)
def test_words(language: str, text: str, expected: list[str]) -> None:
    assert words(text, language) == expected


def test_tokens_of_line_rules_split_on_whitespace_alone_where_there_is_any() -> None:
    assert tokens("Don't stop , now", "en") == ["Don't", "stop", ",", "now"]
    assert tokens("我爱北京，好", "zh") == ["我", "爱", "北京", "，", "好"]


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_hundred_kilobytes_without_a_space_stay_whole(language: str) -> None:
    assert "".join(words("a" * 100_000, language)) == "a" * 100_000


def test_versions_name_what_segments_the_language() -> None:
    assert list(versions("zh")) == ["jieba"]
    assert list(versions("ja")) == ["fugashi", "unidic-lite"]
    assert versions("fr") == versions("ar")


def test_segmenter_keeps_its_cache_out_of_the_shared_temporary_folder(tmp_path: Path) -> None:
    from detox_ray.score import word_segmentation as module

    module._jieba.cache_clear()
    words("你好", "zh")
    assert list((tmp_path / "jieba").iterdir())
    module._jieba.cache_clear()
