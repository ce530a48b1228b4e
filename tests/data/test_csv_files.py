"""CSV as Excel, pandas, R and people write it: the records, their line numbers, and reading on after a bad one."""

import csv
from pathlib import Path
from typing import Any

import pytest

from detox_ray.data.fields import RowError
from detox_ray.data.record_files import format_note, records
from detox_ray.data.rows import DataError


def read(path: Path, content: bytes) -> list[tuple[int, Any]]:
    """Return the line of each record, and its values or what is wrong with it."""
    path.write_bytes(content)
    found: list[tuple[int, Any]] = []
    for record in records(path):
        try:
            found.append((record.line, tuple(record.fields().values())))
        except RowError as error:
            found.append((record.line, str(error)))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


@pytest.mark.parametrize("length", [131_072, 131_073, 3_000_000])
def test_a_field_may_have_any_length(file: Path, length: int) -> None:
    before = csv.field_size_limit()
    quoted = b'"' + b"x\n" * (length // 2) + b'"'
    content = b"text,label\na,1\n" + b"y" * length + b",0\n" + quoted + b",1\nb,0\n"
    found = read(file, content)
    assert [line for line, _ in found] == [2, 3, 4, 5 + length // 2]
    assert [len(values[0]) for _, values in found] == [1, length, length // 2 * 2, 1]
    assert csv.field_size_limit() == before


def test_a_long_text_after_an_unclosed_quote_is_read(file: Path) -> None:
    found = read(file, b'text,label\n"a,1\n' + b"y" * 200_000 + b",0\n")
    assert [line for line, _ in found] == [2, 3]
    assert found[0][1] == "opens a quote that is never closed"
    assert len(found[1][1][0]) == 200_000


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_record_has_the_number_of_its_first_line(file: Path, end: bytes) -> None:
    rows = [b"text,label", b'"one', b"", b'two",1', b"", b'"three', b'four" x,1', b"five,0", b"six"]
    found = read(file, end.join(rows) + end)
    assert found == [
        (2, ("one" + 2 * end.decode() + "two", "1")),
        (6, "opens a quote that is not closed before another one on line 7"),
        (7, "is not a complete record, and follows one with mismatched quotes"),
        (8, ("five", "0")),
        (9, "has 1 field, the header 2 (between fields: ','): is the row cut off, or does a text have "
            "a line break outside quotes?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'"b" they said,1', 'has mismatched quotes: inside a quoted field, write each quote twice ("")'),
        (b'"b,1', "opens a quote that is never closed"),
        (b'b,"1', "opens a quote that is never closed"),
        (b"b\rc,1", "has a carriage return outside quotes: put the whole text into quotes"),
    ],
)
def test_a_bad_record_spoils_no_other(file: Path, bad: bytes, reason: str) -> None:
    found = read(file, b"text,label\na,1\n" + bad + b"\nc,0\nd,1\n")
    assert found == [(2, ("a", "1")), (3, reason), (4, ("c", "0")), (5, ("d", "1"))]


def test_an_unclosed_quote_swallows_no_record_up_to_the_next_quote(file: Path) -> None:
    found = read(file, b'a,b,c\n1,"2,3\n4,5,6\n"\n7",8,9\n10,11,12\n')
    assert found == [
        (2, "opens a quote that is not closed before another one on line 4"),
        (3, ("4", "5", "6")),
        (4, ("\n7", "8", "9")),
        (6, ("10", "11", "12")),
    ]


def test_a_quote_in_an_unquoted_field_is_a_character(file: Path) -> None:
    assert read(file, b'text,label\na 5" pipe,1\n "b",0\n') == [(2, ('a 5" pipe', "1")), (3, (' "b"', "0"))]


def test_blank_lines_and_empty_rows_are_skipped(file: Path) -> None:
    content = b'\n\r\ntext,label\n\na,1\n,\n"",""\n  \nb,0'
    assert read(file, content) == [(5, ("a", "1")), (9, ("b", "0"))]
    assert [record.row for record in records(file)] == [0, 1]
    assert read(file, b"") == read(file, b"\n\n") == read(file, b"text,label\n") == []


def test_an_empty_text_alone_in_its_row_is_a_record(file: Path) -> None:
    assert read(file, b'text\na\n""\n\nb\n') == [(2, ("a",)), (3, ("",)), (5, ("b",))]


def test_an_unnamed_column_of_row_numbers_is_left_out(file: Path) -> None:
    """As pandas' to_csv and R's write.csv put them first."""
    assert read(file, b",text,label\n0,a,True\n1,b,False\n") == [(2, ("a", "True")), (3, ("b", "False"))]
    assert read(file, b'"","text"\n"1","a"\n') == [(2, ("a",))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            b'"1","a","en",1',
            "has 4 fields, the header 3 (between fields: ','): are these row names? Write the file without",
        ),
        (b"a,en,1,", "has 4 fields, the header 3 (between fields: ','); the last is empty: remove the ',' at the end"),
        (b"a,en,1,,", "has 5 fields, the header 3 (between fields: ','); the last is empty"),
        (
            b"a, b, c,en,1",
            "has 5 fields, the header 3 (between fields: ','): does a text have a ',' outside quotes?",
        ),
        (b"a,en", "has 2 fields, the header 3 (between fields: ','): is the row cut off"),
    ],
)
def test_a_row_with_more_or_fewer_fields_than_the_header_is_explained(file: Path, row: bytes, reason: str) -> None:
    (_, said), (line, _) = read(file, b"text,language,label\n" + row + b"\nb,en,0\n")
    assert said.startswith(reason) and line == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_and_encoding_are_detected(file: Path, encoding: str, delimiter: str) -> None:
    text = f'text{delimiter} label \r\n"a{delimiter}é,;"{delimiter}1\r\n'
    for first, line in (("", 2), (f"sep={delimiter}\r\n", 3), (f'"SEP={delimiter}"\r\n', 3)):
        assert read(file, (first + text).encode(encoding)) == [(line, (f"a{delimiter}é,;", "1"))]
        assert [list(record.fields()) for record in records(file)] == [["text", "label"]]
    note = format_note(file) or ""
    assert (encoding.upper() in note) == (encoding in ("utf-16", "utf-32"))
    assert ("between fields" in note) == (delimiter != ",")


def test_a_comma_in_the_header_wins_over_a_semicolon_in_a_name(file: Path) -> None:
    assert read(file, b"text,a;b\nx,1\n") == [(2, ("x", "1"))]
    assert read(file, b"text\nx; y\n") == [(2, ("x; y",))]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "text,label\na,1\n".encode("utf-16-le"),
            ": looks like UTF-16 text without a byte order mark: save it as UTF-8",
        ),
        ("text,label\na,1\n".encode("utf-16-be"), ": looks like UTF-16 text"),
        ("text,label\na,1\n".encode("utf-32-le"), ": looks like UTF-32 text"),
        ("text,label\na,1\n".encode("utf-16")[:-1], ": is damaged UTF-16"),
        (b"text,text,label\na,b,1\n", ":1: the header names 'text' more than once"),
        (b'\n"te"xt,label\na,1\n', ":2: has mismatched quotes"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(file: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read(file, content)
    assert str(caught.value).startswith(f"{file}{reason}")


def test_bytes_that_are_not_utf8_make_only_their_record_bad(file: Path) -> None:
    found = read(file, 'text,label\na,1\n"caf\né",1\nc,0\n'.encode("cp1252"))
    said = (
        "is not UTF-8 text (byte 0xE9); in Windows-1252, as Excel writes plain CSV, it is 'é': save the file as UTF-8"
    )
    assert found == [(2, ("a", "1")), (3, said), (5, ("c", "0"))]


def test_carriage_returns_alone_end_lines(file: Path) -> None:
    assert read(file, b'text,label\ra,1\r"b\rc",0\rd\r')[:2] == [(2, ("a", "1")), (3, ("b\rc", "0"))]
    assert [line for line, _ in read(file, b"text,label\ra,1\rb\r")] == [2, 3]


def test_a_null_character_stays(file: Path) -> None:
    assert read(file, b"text,label\na\0b,1\n") == [(2, ("a\0b", "1"))]


def test_the_header_may_have_any_length(file: Path) -> None:
    found = read(file, b"text," + b"y" * 200_000 + b"\na,1\n")
    assert found == [(2, ("a", "1"))]
