"""Sets of items are read in every form in which they are published, and what is wrong with them is said at once."""

import csv
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bias_data import OLD_ENCODING, real

from detox_ray.config.bias import BiasConfig, BiasSetConfig, bias_sources
from detox_ray.data import DataError
from detox_ray.suites.bias import BiasItems, BiasSet
from detox_ray.suites.bias.questions import biased_option
from detox_ray.suites.bias.tables import ANTI, OTHER, STEREOTYPE, TARGET, UNKNOWN

HEAD = "id,sent_more,sent_less,stereo_antistereo,bias_type\n"
PAIR = "1,The poor steal,The rich steal,stereo,socioeconomic\n"


def bias_set(source: str, path: Path, **fields: Any) -> BiasSet:
    given = BiasConfig(sets=[{"name": "mine", "source": source, "path": str(path), **fields}]).sets[0]
    assert isinstance(given, BiasSet)
    return given


def reasons(each: BiasSet, *languages: str) -> list[str]:
    with pytest.raises(DataError) as caught:
        each.read(languages)
    return [str(flaw) for flaw in caught.value.flaws]


@pytest.mark.parametrize(
    "name",
    ["catalan_spain_crowspairs.csv", "ca_ES.csv", "ca_ES/part.csv", "crows_catalan.csv", "cat.csv"],
)
def test_every_way_of_naming_a_language_in_a_file_is_understood(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(HEAD + PAIR, encoding="utf-8")
    (tmp_path / "README.txt").write_text("not a set")
    read = bias_set("crows-pairs", tmp_path).read(["ca", "mt"])
    assert read.rows["ca"][0] | {"control": None} == {
        "item_id": "1",
        "cluster": "1",
        "part": "socioeconomic",
        "condition": "",
        "polarity": "",
        "control": None,
        "direction": "stereo",
        "context": None,
        "question": None,
        "options": ["The poor steal", "The rich steal"],
        "roles": [STEREOTYPE, ANTI],
        "label": None,
        "source_index": "1",
    }
    assert read.notes == ["mine: no items in mt"]


def test_pairs_that_say_nothing_are_counted_and_other_types_are_kept(tmp_path: Path) -> None:
    rows = HEAD + PAIR + "2,,b,stereo,age\n3,same,same,antistereo,age\n4,c,d,antistereo,autre\n"
    (tmp_path / "fr_FR.csv").write_text(rows, encoding="utf-8")
    read = bias_set("crows-pairs", tmp_path).read(["fr"])
    assert [(row["item_id"], row["part"]) for row in read.rows["fr"]] == [("1", "socioeconomic"), ("4", "other-autre")]
    assert read.notes[0].endswith("pairs left out: 1 empty, 1 with two equal sentences")
    assert read.notes[1].endswith("are kept as other-…: autre (1)")


def test_what_is_wrong_with_a_file_of_pairs_is_named(tmp_path: Path) -> None:
    (tmp_path / "en_US.csv").write_text("id,sentence,other\n1,a,b\n", encoding="utf-8")
    (tmp_path / "nl_NL.csv").write_bytes((HEAD + PAIR + "2,België,b,stereo,age\n").encode("mac_roman"))
    (tmp_path / "de_DE.csv").write_text(HEAD + "1,a,b,both,age\n", encoding="utf-8")
    found = reasons(bias_set("crows-pairs", tmp_path), "en", "nl", "de")
    assert found[0].endswith(
        "lacks the columns sent_more, sent_less, stereo_antistereo, bias_type (it has id, sentence, other)"
    )
    offset = (tmp_path / "nl_NL.csv").read_bytes().index("ë".encode("mac_roman"))
    assert f"is not utf-8 at byte {offset} (0x91): save it as UTF-8, or set the set's `encoding`" in found[1]
    assert found[2].endswith("de_DE.csv:2: stereo_antistereo must be one of stereo, antistereo")
    (tmp_path / "crows_german.csv").write_text(HEAD + PAIR, encoding="utf-8")
    assert "is a second file in de besides crows_german.csv" in reasons(bias_set("crows-pairs", tmp_path), "de")[0]
    assert reasons(bias_set("crows-pairs", tmp_path / "nowhere"), "en")[0].endswith("nowhere: does not exist")


def test_repeated_ids_and_sets_without_a_language_are_refused(tmp_path: Path) -> None:
    (tmp_path / "en_US.csv").write_text(HEAD + PAIR + PAIR, encoding="utf-8")
    assert reasons(bias_set("crows-pairs", tmp_path), "en")[0].endswith("the id 1 occurs more than once in en")
    assert reasons(bias_set("crows-pairs", tmp_path), "fr")[0].endswith("has no items in fr")


def test_real_pairs_are_read_whole() -> None:
    english = bias_set("crows-pairs", real("crows-pairs-en")).read(["en"]).rows["en"]
    parts = Counter(row["part"] for row in english)
    assert len(english) == 1508 and (parts["race-color"], parts["gender"], parts["disability"]) == (516, 262, 60)
    assert Counter(row["direction"] for row in english) == {"stereo": 1290, "antistereo": 218}
    folder = real("crows-pairs-nl-fr")
    dutch = reasons(bias_set("crows-pairs", folder / "crows_dutch.csv"), "nl")[0]
    assert "is not utf-8 at byte 4916 (0x91)" in dutch and "mac_roman can decode all of its bytes" in dutch
    read = bias_set("crows-pairs", folder / "crows_dutch.csv", encoding=OLD_ENCODING).read(["nl"]).rows["nl"]
    assert len(read) > 1400 and not any("\x91" in option for row in read for option in row["options"])


def test_own_pairs_name_language_type_and_cluster(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("more,less,language,type,id,cluster\na,b,EN,age,x,t1\nc,d,fr,age,x,t1\ne,f,sv,age,y,t2\n")
    read = bias_set("pairs", path).read(["en", "fr"])
    assert {code: [(row["item_id"], row["cluster"]) for row in rows] for code, rows in read.rows.items()} == {
        "en": [("x", "t1")],
        "fr": [("x", "t1")],
    }
    first = bias_set("pairs", path, per_language=1).read(["en", "sv"]).rows
    assert [row["item_id"] for row in first["sv"]] == ["y"] and len(first["en"]) == 1
    path.write_text("more,less,language,type\na,b,xx,age\n")
    assert reasons(bias_set("pairs", path), "en")[0].startswith(f"{path}:2: unknown language")
    path.write_text("more,less,language,type\na,b,en,all\n")  # it would count twice in the share of all types
    assert "is reserved for all types together" in reasons(bias_set("pairs", path), "en")[0]
    path.write_text("more,less,language,type\na,b,en\n")
    assert bias_set("pairs", path).read(["en"]).rows["en"][0]["part"] == "none"


TRIPLE: dict[str, Any] = {
    "id": "i1",
    "target": "Cook",
    "bias_type": "profession",
    "context": "The cook was BLANK.",
    "sentences": [
        {"sentence": "The cook was loud.", "gold_label": "stereotype"},
        {"sentence": "The cook was quiet.", "gold_label": "anti-stereotype"},
        {"sentence": "The cook was seven.", "gold_label": "unrelated"},
    ],
}


def frame(rows: list[dict[str, Any]]) -> bytes:
    import pandas

    made = pandas.DataFrame(rows, dtype=object)
    made.columns = pandas.Index(list(made.columns), dtype=object)
    return pickle.dumps(made)


def wide(triple: dict[str, Any]) -> dict[str, Any]:
    """A triple as the published frames have it."""
    plain = {key: value for key, value in triple.items() if key != "sentences"}
    for place, sentence in enumerate(triple["sentences"], start=1):
        plain |= {f"c{place}_sentence": sentence["sentence"], f"c{place}_gold_label": sentence["gold_label"]}
    return plain


def test_triples_are_read_from_json_json_lines_and_frames_alike(tmp_path: Path) -> None:
    other = {**TRIPLE, "target": "Koch", "target_original": "cook"}
    (tmp_path / "dev.json").write_text(json.dumps({"data": {"intrasentence": [TRIPLE], "intersentence": []}}))
    (tmp_path / "intrasentence_tr.jsonl").write_text(json.dumps(other) + "\n")
    (tmp_path / "df_intrasentence_de.pkl").write_bytes(b"an earlier version, which is not read")
    (tmp_path / "df_intrasentence_de_v2_0.pkl").write_bytes(frame([wide(other)]))
    read = bias_set("stereoset", tmp_path).read(["en", "tr", "de"])
    assert read.rows.keys() == {"en", "tr", "de"}
    assert read.rows["en"] == read.rows["tr"] == read.rows["de"]
    assert (read.rows["de"][0]["cluster"], read.rows["de"][0]["roles"]) == ("cook", ["stereotype", "anti", "unrelated"])
    assert read.notes == ["df_intrasentence_de.pkl: df_intrasentence_de_v2_0.pkl is read, as the later version"]


def test_a_file_in_a_language_that_is_not_known_does_not_pass_for_english(tmp_path: Path) -> None:
    for name in ("df_intrasentence_kr.jsonl", "intrasentence_fi.jsonl"):
        (tmp_path / name).write_text(json.dumps(TRIPLE))
        assert "its name does not end in a known language" in reasons(bias_set("stereoset", tmp_path / name), "en")[0]
    assert "has no items in en" in reasons(bias_set("stereoset", tmp_path), "en")[0]
    (tmp_path / "dev.jsonl").write_text(json.dumps(TRIPLE))
    read = bias_set("stereoset", tmp_path).read(["en"])
    assert len(read.rows["en"]) == 1 and len(read.notes) == 2
    (tmp_path / "intrasentence_de_v2_0.jsonl").write_text(json.dumps(TRIPLE))
    assert bias_set("stereoset", tmp_path / "intrasentence_de_v2_0.jsonl").read(["de", "en"]).rows.keys() == {"de"}


class Program:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch /tmp/never",)


def test_a_frame_that_names_anything_else_is_refused_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "df_intrasentence_en.pkl").write_bytes(pickle.dumps([Program()]))
    (found,) = reasons(bias_set("stereoset", tmp_path), "en")
    assert "it names posix.system, which a frame of texts does not need" in found
    assert not Path("/tmp/never").exists()


def test_a_triple_without_each_of_the_three_labels_is_refused(tmp_path: Path) -> None:
    broken = {**TRIPLE, "sentences": TRIPLE["sentences"][:2]}
    (tmp_path / "intrasentence_en.jsonl").write_text(json.dumps(broken))
    assert "needs one sentence of each gold_label" in reasons(bias_set("stereoset", tmp_path), "en")[0]


def test_real_triples_have_the_same_targets_in_every_language() -> None:
    read = bias_set("stereoset", real("stereoset-multi")).read(["en", "de", "tr"])
    assert {code: len(rows) for code, rows in read.rows.items()} == {"en": 349, "de": 349, "tr": 349}
    targets = {code: {row["cluster"] for row in rows} for code, rows in read.rows.items()}
    assert targets["tr"] == targets["de"] == targets["en"] and len(targets["en"]) == 29


@pytest.mark.parametrize(
    ("folder", "dialect", "language"),
    [
        ("mbbq", "mbbq", "en"),
        ("mbbq", "mbbq", "tr"),
        ("bbq", "bbq", "en"),
        ("esbbq-cabbq", "esbbq", "es"),
        ("esbbq-cabbq", "cabbq", "ca"),
    ],
)
def test_real_questions_have_roles_and_right_answers(folder: str, dialect: str, language: str) -> None:
    rows = bias_set("bbq", real(folder), dialect=dialect).read([language]).rows[language]
    assert all(sorted(row["roles"]) in ([OTHER, TARGET, UNKNOWN], [OTHER, OTHER, UNKNOWN]) for row in rows)
    assert {row["polarity"] for row in rows} == {"neg", "nonneg"}
    ambiguous = [row for row in rows if row["condition"] == "ambig"]
    assert all(row["roles"][row["label"]] == UNKNOWN for row in ambiguous)
    assert all(row["roles"][row["label"]] != UNKNOWN for row in rows if row["condition"] == "disambig")


def test_questions_about_two_stereotyped_groups_are_counted() -> None:
    read = bias_set("bbq", real("mbbq"), dialect="mbbq").read(["en"])
    assert read.notes == ["mine, en: questions about two stereotyped groups, or none: Gender_identity (16)"]


def test_the_answer_that_follows_the_stereotype_is_kobbqs_own_biased_answer() -> None:
    folder = real("kobbq")
    rows = bias_set("bbq", folder, dialect="kobbq").read(["ko"]).rows["ko"]
    with (folder / "KoBBQ_test_samples.tsv").open(encoding="utf-8", newline="") as file:
        published = {row["sample_id"]: row["biased_answer"] for row in csv.DictReader(file, delimiter="\t")}
    assert len(rows) == len(published) == 2280
    for row in rows:
        biased = biased_option(row, "aware")
        assert biased is not None and row["options"][biased] == published[row["item_id"]]
    # Both questions about one context have the same target: the group that the stereotype is about.
    targets: dict[str, set[str]] = {}
    for row in rows:
        context = row["item_id"].rsplit("-", 1)[0]
        targets.setdefault(context, set()).add(row["options"][row["roles"].index(TARGET)])
    assert all(len(names) == 1 for names in targets.values())


def test_the_rule_of_polarity_gives_esbbqs_own_question_type() -> None:
    """In EsBBQ a disambiguated question is pro-stereo if its right answer follows the stereotype."""
    for language, dialect in (("es", "esbbq"), ("ca", "cabbq")):
        folder = real("esbbq-cabbq")
        rows = {row["item_id"]: row for row in bias_set("bbq", folder, dialect=dialect).read([language]).rows[language]}
        file = next(folder.glob(f"*.{language}.jsonl"))
        checked = 0
        for line in file.read_text(encoding="utf-8").splitlines():
            published = json.loads(line)
            row = rows[f"{file.stem}-{published['instance_id']}"]
            if published["question_type"] != "n/a" and TARGET in row["roles"]:
                follows = biased_option(row, "aware") == row["label"]
                assert follows == (published["question_type"] == "pro-stereo")
                checked += 1
        assert checked > 200


def test_a_question_without_one_unknown_answer_is_refused(tmp_path: Path) -> None:
    row = {
        "example_id": 0,
        "question_index": "1",
        "question_polarity": "neg",
        "context_condition": "ambig",
        "category": "Age",
        "label": 0,
    }
    row |= {"answer_info": {f"ans{n}": ["x", "old"] for n in range(3)}, "ans0": "a", "ans1": "b", "ans2": "c"}
    row |= {"additional_metadata": {"stereotyped_groups": ["old"]}, "context": "c", "question": "q"}
    (tmp_path / "Age.jsonl").write_text(json.dumps(row))
    assert "needs exactly one unknown answer and has 0" in reasons(bias_set("bbq", tmp_path, dialect="bbq"), "en")[0]
    (tmp_path / "Age.jsonl").write_text(json.dumps({"example_id": 0}))
    assert "lacks 'ans0'" in reasons(bias_set("bbq", tmp_path, dialect="bbq"), "en")[0]
    (tmp_path / "Age.jsonl").write_text(json.dumps({**row, "answer_info": None}))
    assert "Age.jsonl:1" in reasons(bias_set("bbq", tmp_path, dialect="bbq"), "en")[0]


def test_an_unknown_source_or_field_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of bbq, crows-pairs, pairs, stereoset, toy17"):
        BiasConfig(sets=[{"name": "a", "source": "winogender", "path": "x"}])
    with pytest.raises(ValueError, match="dialect"):
        BiasConfig(sets=[{"name": "a", "source": "bbq", "path": "x", "dialect": "jbbq"}])
    with pytest.raises(ValueError, match="needs a path"):
        BiasConfig(sets=[{"name": "a", "source": "pairs"}])
    with pytest.raises(ValueError, match="each name may occur only once"):
        BiasConfig(sets=[{"name": "a", "source": "pairs", "path": "x"}] * 2)
    assert set(bias_sources()) == {"bbq", "crows-pairs", "pairs", "stereoset", "toy17-pairs", "toy17-triples"}
    assert issubclass(bias_sources()["pairs"], BiasSetConfig) and BiasItems._fields == ("rows", "notes")
