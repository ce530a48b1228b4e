"""Scores made elsewhere: what is found, what is not, and what is wrong with a file."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detox_ray.data.rows import DataError
from detox_ray.score import resolve
from detox_ray.score.scorers import Failure
from detox_ray.score.stored_scores import StoredScorer, check, read
from detox_ray.score.variants.stored import StoredConfig
from detox_ray.storage import Store

NOT_STORED = Failure("no stored score")


def answer(**scores: Any) -> dict[str, Any]:
    """As the API gives it, and googleapiclient the papers' script."""
    return {
        "attributeScores": {
            name: {"spanScores": [], "summaryScore": {"value": value, "type": "PROBABILITY"}}
            for name, value in scores.items()
        },
        "languages": ["fr"],
        "detectedLanguages": ["fr"],
    }


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def line(query: Any, response: Any) -> dict[str, Any]:
    return {"query": query, "response": response, "prompt": "a prompt"}


def flaws(path: Path, format: Any) -> list[str]:
    return [str(problem) for problem in check(path, format)]


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder as the papers' script writes it, with every kind of line."""
    lines(
        tmp_path / "scores/perspective_api_eval-output-rtp_lx_fr.json",
        [
            line("sot", answer(TOXICITY=0.75, INSULT=0.5)),
            line("", answer(TOXICITY=0.0625, INSULT=0)),
            line("ligne\u2028coupée", answer(TOXICITY=0.25, INSULT=0.125)),
            line("sot", answer(TOXICITY=0.75, INSULT=0.5)),  # a model said it twice
            line("perdu", None),
            line("trop long", {"error": {"code": 400, "message": "Comment text too long."}}),
            line("retrouvé", None),
            line("retrouvé", answer(TOXICITY=0.5, INSULT=0.5)),
        ],
    )
    lines(
        tmp_path / "scores/perspective_api_eval-output-rtp_lx_zh-hans.json",
        [line("sot", answer(TOXICITY=0.1, INSULT=0.2))],
    )
    (tmp_path / "scores/notes.txt").write_text("not for us")
    return tmp_path / "scores"


def test_the_papers_files_are_looked_up_by_language_and_text(papers: Path) -> None:
    scorer = StoredScorer("perspective", papers, "perspective")
    assert scorer.attributes == ("toxicity", "insult")
    assert scorer.score(["sot", "ligne\u2028coupée", "retrouvé", "inconnu"], "fr") == [
        {"toxicity": 0.75, "insult": 0.5},
        {"toxicity": 0.25, "insult": 0.125},
        {"toxicity": 0.5, "insult": 0.5},
        NOT_STORED,
    ]
    assert scorer.score(["sot"], "zh") == [{"toxicity": 0.1, "insult": 0.2}]
    assert scorer.score(["sot"], "de") == [NOT_STORED]
    assert read(papers, "perspective").languages == ("fr", "zh")


def test_what_perspective_did_not_score_is_a_failure_that_says_why(papers: Path) -> None:
    lost, refused = StoredScorer("perspective", papers, "perspective").score(["perdu", "trop long"], "fr")
    assert lost == Failure("stored without a score: no response")
    assert refused == Failure("stored without a score: Comment text too long.")


def test_the_score_of_an_empty_completion_is_found_as_the_blank_that_was_sent(papers: Path) -> None:
    scorer = StoredScorer("perspective", papers, "perspective")
    assert scorer.score(["", " ", "  "], "fr") == [{"toxicity": 0.0625, "insult": 0.0}] * 2 + [NOT_STORED]
    assert scorer.score([" "], "zh") == [NOT_STORED]


def test_a_single_file_is_enough(papers: Path) -> None:
    one = papers / "perspective_api_eval-output-rtp_lx_zh-hans.json"
    assert StoredScorer("perspective", one, "perspective").score(["sot"], "zh") == [{"toxicity": 0.1, "insult": 0.2}]


ROWS = [
    {"text": "you idiot,\nyou \"fool\"", "language": "en", "toxicity": 0.9, "insult": 0.8, "id": 7},
    {"text": "bonjour", "language": "fr", "toxicity": 0.0, "insult": 0.0, "id": 8},
    {"text": "bonjour", "language": "en", "toxicity": 0.25, "insult": 1.0, "id": 9},
    {"text": "unknown", "language": "en", "toxicity": None, "insult": 0.5, "id": 10},
]  # fmt: skip


def table(path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    return lines(path, rows)


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl", "scores.parquet"])
def test_every_kind_of_table_gives_the_same_scores(name: str, tmp_path: Path) -> None:
    path = table(tmp_path / name)
    assert check(path, "table") == []
    scorer = StoredScorer("mine", path, "table")
    assert scorer.attributes == ("toxicity", "insult"), "id is no attribute"
    assert scorer.score(["bonjour", "unknown", ROWS[0]["text"]], "en") == [
        {"toxicity": 0.25, "insult": 1.0},
        Failure("no stored score for toxicity"),
        {"toxicity": 0.9, "insult": 0.8},
    ]
    assert scorer.score(["bonjour"], "fr") == [{"toxicity": 0.0, "insult": 0.0}]
    assert read(path, "table").languages == ("en", "fr")


def test_rows_without_a_language_serve_every_language_and_one_with_it_goes_before(tmp_path: Path) -> None:
    rows = [
        {"text": "x", "language": None, "toxicity": 0.25},
        {"text": "x", "language": "fr", "toxicity": 0.5},
    ]
    scorer = StoredScorer("mine", table(tmp_path / "scores.jsonl", rows), "table")
    assert [scorer.score(["x"], language) for language in ("de", "fr")] == [[{"toxicity": 0.25}], [{"toxicity": 0.5}]]
    assert read(tmp_path / "scores.jsonl", "table").languages is None


def test_a_long_text_in_a_csv_is_read_and_the_modules_limit_left_as_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = table(tmp_path / "scores.csv", [{"text": "x" * 200_000, "toxicity": 0.5}])
    assert StoredScorer("mine", path, "table").score(["x" * 200_000], "en") == [{"toxicity": 0.5}]
    assert csv.field_size_limit() == before


def test_texts_that_repeat_must_agree(tmp_path: Path) -> None:
    rows = [{"text": "x", "toxicity": 0.5}, {"text": "y", "toxicity": 0.5}, {"text": "x", "toxicity": 0.5000000001}]
    assert check(table(tmp_path / "same.jsonl", rows), "table") == []
    path = table(tmp_path / "other.jsonl", [*rows, {"text": "x", "toxicity": 0.51}])
    (problem,) = flaws(path, "table")
    assert f"toxicity is 0.51, but the same text has 0.5 at {path}:1" in problem and f"{path}:4" in problem


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"text": "a", "toxicity": 1.5}, "toxicity must be in [0, 1], not 1.5 (is it in percent? Divide by 100)"),
        ({"text": "a", "toxicity": -0.1}, "toxicity must be in [0, 1]"),
        ({"text": "a", "toxicity": True}, "toxicity must be a number in [0, 1], not true/false"),
        ({"text": "a", "toxicity": "high"}, "toxicity must be a number in [0, 1], not 'high'"),
        ({"text": 3, "toxicity": 0.5}, "text must be text, not a number"),
        ({"toxicity": 0.5}, "has no field 'text'"),
        ({"text": "a"}, "has no field 'toxicity'"),
        ({"text": "a", "language": 3, "toxicity": 0.5}, "language must be a code"),
        ({"text": "a", "toxicity": 0.5, "insult": 0.5}, "has scores for insult, toxicity; rows before it for toxicity"),
        ('{"text": "a", "tox', "is not JSON"),
    ],
)
def test_a_bad_row_of_a_table_is_named_with_its_rule(row: Any, rule: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "scores.jsonl", [{"text": "fine", "toxicity": 0.5}, row, {"text": "b", "toxicity": 0}])
    (problem,) = flaws(path, "table")
    assert rule in problem and f"{path}:2" in problem
    with pytest.raises(DataError):
        StoredScorer("mine", path, "table")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (line(3, None), "query must be text"),
        (line("a", 3), "response must be the API's answer or null"),
        (line("a", {"languages": ["en"]}), "response must have attributeScores"),
        (line("a", answer(INSULT=0.5)), "response has no score for TOXICITY"),
        (line("a", answer(TOXICITY=2)), "toxicity must be in [0, 1], not 2"),
    ],
)
def test_a_bad_line_of_the_papers_files_is_named_with_its_rule(row: Any, rule: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "perspective_api_eval-x_en.json", [line("fine", answer(TOXICITY=0.5)), row])
    (problem,) = flaws(path, "perspective")
    assert rule in problem and f"{path}:2" in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,toxicity\na,0.5\nb\n", ":3: has 1 field, the header 2"),
        (b'text,toxicity\n"a"b,0.5\n', ":2: has mismatched quotes"),
        (b"text,toxicity\n\xe9,0.5\n", ":2: is not UTF-8 text (byte 0xE9)"),
        (b'text,toxicity\n"two\nlines",0.5\nb,0.5,\n', ":4: has 3 fields, the header 2"),
    ],
)
def test_a_damaged_csv_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path, "table")
    assert str(caught.value).startswith(f"{path}{said}")


def test_files_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    assert "existing file" in flaws(tmp_path / "none.csv", "table")[0]
    assert "CSV, JSON Lines or Parquet" in flaws(tmp_path / "scores.txt", "table")[0]
    assert "perspective_api_eval" in flaws(tmp_path, "perspective")[0]
    assert "holds no score" in flaws(lines(tmp_path / "empty.jsonl", []), "table")[0]


@pytest.mark.parametrize("name", ["scores.csv", "scores.jsonl", "scores.parquet"])
def test_language_tags_are_read_in_every_kind_of_table(name: str, tmp_path: Path) -> None:
    tags = {"EN": "en", "zh-Hans": "zh", "pt-BR": "pt", "pt_PT": "pt", "deu": "de", "fi": None}
    rows = [{"text": tag, "language": tag, "toxicity": place / 8} for place, tag in enumerate(tags)]
    path = table(tmp_path / name, rows)
    assert check(path, "table") == []
    scorer = StoredScorer("mine", path, "table")
    for place, (tag, code) in enumerate(tags.items()):
        if code is not None:
            assert scorer.score([tag], code) == [{"toxicity": place / 8}]
    stored = read(path, "table")
    assert stored.languages == ("de", "en", "pt", "zh")
    assert stored.notes == (
        f"{path}: language tags read: 'deu' (1) as de; 'EN' (1) as en; 'pt-BR' (1), 'pt_PT' (1) as pt; "
        "'zh-Hans' (1) as zh",
        f"{path}: scores in unknown languages left out ('fi': 1)",
    )


def test_two_tags_of_one_language_must_agree_on_a_text(tmp_path: Path) -> None:
    rows = [{"text": "x", "language": tag, "toxicity": score} for tag, score in (("pt-BR", 0.5), ("pt-PT", 0.75))]
    (problem,) = flaws(table(tmp_path / "scores.jsonl", rows), "table")
    assert "toxicity is 0.75, but the same text has 0.5" in problem


def test_a_language_that_nobody_could_mean_is_a_problem_that_names_it(tmp_path: Path) -> None:
    rows = [{"text": "x", "language": "xx", "toxicity": 0.5}, {"text": "y", "language": "hi-Latn", "toxicity": 0.5}]
    (problem,) = flaws(table(tmp_path / "scores.jsonl", rows), "table")
    assert "holds scores in unknown languages only ('xx': 1, 'hi-Latn': 1); known: ar ca cs" in problem
    rows = [{"text": "x", "language": "fr", "toxicity": 0.5}, {"text": "y", "language": "English", "toxicity": 0.5}]
    (problem,) = flaws(table(tmp_path / "scores.jsonl", rows), "table")
    assert "unknown language; known: ar" in problem and "(write en), not 'English'" in problem and ":2" in problem


@pytest.mark.parametrize(
    ("stem", "language"),
    [
        ("rtp_lx_zh-hans", "zh"),
        ("rtp_lx_pt_BR", "pt"),
        ("x_hi_IN", "hi"),
        ("x_in", "id"),
        ("x_PT-br", "pt"),
        ("fr", "fr"),
    ],
)
def test_the_papers_files_name_their_language_by_any_tag(stem: str, language: str, tmp_path: Path) -> None:
    path = lines(tmp_path / f"perspective_api_eval-{stem}.json", [line("a", answer(TOXICITY=0.5))])
    assert read(path, "perspective").languages == (language,)


def test_a_papers_file_whose_name_ends_in_no_language_is_said_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "perspective_api_eval-my_samples.json", [line("a", answer(TOXICITY=0.5))] * 3)
    (problem,) = flaws(path, "perspective")
    assert 'must have a name that ends in "_" and its language' in problem


def test_columns_that_are_there_instead_are_named_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "scores.jsonl", [{"text": "a", "lang": "en", "TOXICITY": 0.5}] * 3)
    (problem,) = flaws(path, "table")
    assert "no row has a 'toxicity'; every row needs text, toxicity (columns: text, lang, TOXICITY)" in problem


def test_a_column_that_may_be_meant_as_the_language_is_noted(tmp_path: Path) -> None:
    path = lines(tmp_path / "scores.jsonl", [{"text": "a", "lang": "en", "toxicity": 0.5}])
    assert "no column 'language'" in read(path, "table").notes[0]


def test_values_that_are_missing_are_no_scores_in_every_kind_of_table(tmp_path: Path) -> None:
    for missing in ("", "NA", "nan", " null "):
        path = table(tmp_path / "scores.csv", [{"text": "a", "toxicity": missing}, {"text": "b", "toxicity": "0.5"}])
        assert StoredScorer("mine", path, "table").score(["a", "b"], "en") == [NOT_STORED, {"toxicity": 0.5}]
    path = table(tmp_path / "x.parquet", [{"text": "a", "toxicity": float("nan")}, {"text": "b", "toxicity": 0.5}])
    assert StoredScorer("mine", path, "table").score(["a", "b"], "en") == [NOT_STORED, {"toxicity": 0.5}]


def test_the_identity_changes_with_what_is_read_only(papers: Path, store: Store) -> None:
    def identity() -> str:
        entry = StoredConfig(name="mine", type="stored", path=str(papers), format="perspective")
        return resolve(entry, None, store).identity

    before = identity()
    (papers / "notes.txt").write_text("still not for us")
    assert identity() == before
    lines(papers / "perspective_api_eval-output-rtp_lx_de.json", [line("x", answer(TOXICITY=0.5, INSULT=0))])
    assert identity() != before
