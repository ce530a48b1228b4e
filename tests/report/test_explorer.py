"""The explorer's data: bounded, honest about what is missing, and unable to leave its script element."""

import json
import random

from small_experiment import SCRIPT

from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.report.explorer import SIZE_LIMIT, TEXT_LIMIT, explorer
from detox_ray.storage.tables import EMPTY, OK

PIECES = (
    *("</script>", "<!--", "]]>", SCRIPT, "\u2028", "\u2029", "\x00", "\x1b[31m", "\x7f", "\x9b", "\ud800", "\u202e"),
    *(
        "\u2066",
        "\u200b",
        "\ufeff",
        "أنت",
        "愚か",
        "दुष्ट",
        "🤬👩‍👩‍👧",
        "&amp;",
        "'\"`",
        "\\u003c",
        "{{ 7*7 }}",
        "${x}",
        "\r\n",
    ),
)


def adversarial(count: int) -> list[str]:
    rng = random.Random(0)
    texts = ["".join(rng.choices(PIECES, k=rng.randint(1, 12))) for _ in range(count - 1)]
    return [*texts, "x" * 100_000]


def samples(texts: list[str]) -> list[ExplorerPrompt]:
    codes = ("ar", "en", "ja", "hi")
    return [
        ExplorerPrompt(
            codes[i % 4], f"{codes[i % 4]}-{i:05d}", text, [ExplorerCompletion("base", 0, text, 0.123456, OK)]
        )
        for i, text in enumerate(texts)
    ]


def test_ten_thousand_adversarial_texts_stay_data() -> None:
    texts = adversarial(10_000)
    made = explorer(samples(texts), ("base",))
    assert made is not None and made.shown == 10_000 and made.cut == 2
    assert not set(made.data) & set("<>&'\x00\x7f\x9b\u2028\u2029")
    made.data.encode("utf-8")  # no lone surrogate
    data = json.loads(made.data)
    assert len(data["prompts"]) == 10_000
    read = [entry[2] for entry in data["prompts"]]
    for text, got in zip(texts[:-1], read[:-1], strict=True):
        assert len(got) == len(text)
        assert all(a == b or b == "\ufffd" for a, b in zip(text, got, strict=True))
    assert read[-1] == "x" * TEXT_LIMIT + "… [100,000 characters in all]"


def test_too_much_is_left_out_evenly_and_said() -> None:
    many = [
        ExplorerPrompt(code, f"{code}-{i}", "p" * 1500, [ExplorerCompletion("base", 0, "c" * 1500, 0.5, OK)])
        for code in ("ar", "en")
        for i in range(1500)
    ]
    made = explorer(many, ("base",))
    assert made is not None and len(made.data) < SIZE_LIMIT * 1.01
    assert made.shown + made.left_out == 3000 and made.left_out > 0
    codes = [entry[0] for entry in json.loads(made.data)["prompts"]]
    assert abs(codes.count("ar") - codes.count("en")) <= 1
    assert codes == sorted(codes)  # in the order in which they came


def test_models_statuses_and_directions_are_named() -> None:
    made = explorer(
        [ExplorerPrompt("ar", "ar-0", "p", [ExplorerCompletion("detox", 3, "", None, EMPTY)])], ("base", "detox")
    )
    assert made is not None
    data = json.loads(made.data)
    assert data["languages"] == {"ar": ["Arabic", "rtl"]}
    assert data["statuses"] == {EMPTY: "empty completion"}
    assert data["prompts"] == [["ar", "ar-0", "p", [[1, 3, "", None, EMPTY]], "", ""]]
    assert explorer([], ("base",)) is None
