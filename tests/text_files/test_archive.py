"""Archiving what a Perspective server says: each text once, whatever happens on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.dataset as pads
import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError
from perspective_server import Answer, Hang, Reply, Server, error, scores, serve
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.cluster.progress import Progress
from detox_ray.config import ConfigError, ScoreConfig
from detox_ray.score import load, resolve
from detox_ray.score.perspective_requests import GOOGLE, LANGUAGES, MOST_IN_FLIGHT
from detox_ray.score.rate_limiter import Pace
from detox_ray.score.scorers import Failure, ServiceDown
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.serve.perspective import discovery as discovery_document
from detox_ray.storage import Store
from detox_ray.text_files import archive
from detox_ray.text_files.archive_folder import ArchiveFolder, Row, text_id
from detox_ray.text_files.finish_time import end_warning, finish_time, in_words
from detox_ray.text_files.inventory import ArchiveRequest

ATTRIBUTES = ["toxicity", "insult"]
ARRIVED_S = 1.0  # an answer that left the server so long before a kill has arrived, on a loaded machine, too


def value_of(text: str) -> float:
    """Return the score that the server gives a text."""
    return (sum(text.encode()) % 1000) / 1000


def scored(body: dict[str, Any]) -> Answer:
    names = body["requestedAttributes"]
    value = value_of(body["comment"]["text"])
    answer = {name: {"summaryScore": {"value": value, "type": "PROBABILITY"}} for name in names}
    found = {"attributeScores": answer, "languages": body.get("languages", ["en"]), "detectedLanguages": ["en"]}
    return Answer(200, json.dumps(found).encode())


def unsupported(language: str) -> Answer:
    details = [{"errorType": "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"}]
    return error(400, f"Attribute INSULT does not support request languages: {language}", details=details)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def request(server: Server, out: Path, *files: Path, **changes: Any) -> ArchiveRequest:
    more = {name: changes.pop(name) for name in ("retry_failed", "span_annotations") if name in changes}
    config = {"name": "archive", "type": "perspective", "url": server.url, "attributes": ATTRIBUTES, "retries": 2}
    service = PerspectiveConfig.model_validate({**config, "queries_per_second": 500.0, **changes})
    return ArchiveRequest(files, str(out), service, **more)


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pads.dataset(out / "answers").to_table().to_pylist()
    return rows


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["archive", *map(str, arguments)])


def test_every_text_is_asked_once_and_has_a_status(tmp_path: Path) -> None:
    first = [{"text": "good", "language": "en"}, {"text": "gut", "language": "de-AT"}, {"text": "good"}]
    second = [
        {"text": "good", "language": "en"},
        {"text": " ", "language": "en"},
        {"text": "x" * 300, "language": "en"},
        {"text": "vibaya", "language": "sw"},
        {"text": "rude", "language": "en"},
        {"text": 7},
    ]
    script: dict[str, list[Reply]] = {
        "vibaya": [unsupported("sw")],
        "rude": [error(500, "no"), error(429, "slow down", {"Retry-After": "0"}), scores("TOXICITY", "INSULT")],
    }
    files = write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second)
    with serve(script, scored) as server:
        outcome = archive.run(request(server, tmp_path / "out", *files, max_bytes=200), Progress())
        asked = {body["comment"]["text"]: server.times(body["comment"]["text"]) for body in server.requests}
        again = archive.run(request(server, tmp_path / "out", *files, max_bytes=200), Progress())
    assert asked == {"good": 2, "gut": 1, "vibaya": 1, "rude": 3}  # "good" in English, and in any language
    assert again.asked == 0 and len(server.requests) == 7
    assert outcome.counts == again.counts == {"ok": 4, "empty": 1, "failed": 1, "unsupported_language": 1}
    assert outcome.inventory.unreadable == [f"{files[1]}:6: text must be text, not a number"]
    rows = {(row["language"], row["text"]): row for row in rows_of(tmp_path / "out")}
    assert len(rows) == 7 and {key[0] for key in rows} == {None, "en", "de", "sw"}
    good = rows["en", "good"]
    assert (good["status"], good["toxicity"]) == ("ok", value_of("good"))
    assert json.loads(good["response"])["languages"] == ["en"] and good["detected_languages"] == ["en"]
    assert json.loads(good["request"])["requestedAttributes"] == {"TOXICITY": {}, "INSULT": {}}
    assert good["asked_at"].date() == datetime.now(UTC).date()
    assert rows["sw", "vibaya"]["status"] == "unsupported_language" and rows["sw", "vibaya"]["toxicity"] is None
    assert rows["en", "x" * 300]["reason"] == "is 300 bytes long; max_bytes is 200"


def test_the_folder_is_a_stored_scorer(tmp_path: Path) -> None:
    texts = [{"text": "good", "language": "en"}, {"text": "bad", "language": "en"}, {"text": "gut", "language": "de"}]
    with serve({"bad": [error(400, "no")]}, scored) as server:
        archive.run(request(server, tmp_path / "out", write(tmp_path / "a.jsonl", texts)), Progress())
    entry = {"name": "frozen", "type": "stored", "format": "archive", "path": str(tmp_path / "out")}
    (definition,) = ScoreConfig.model_validate({"scorers": [entry]}).scorers
    store = Store.at(str(tmp_path / "run"))
    resolved = resolve(definition, None, store)
    scorer = load(resolved, store, 1024)
    assert resolved.languages == ("de", "en") and scorer.attributes == ("toxicity", "insult")
    assert scorer.score(["good", "bad", "never seen"], "en") == [
        {"toxicity": value_of("good"), "insult": value_of("good")},
        Failure("archived without a score: 400: no"),
        Failure("no stored score"),
    ]


def test_failed_texts_are_asked_again_on_demand_only_and_stand_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "a"}, {"text": "b"}])
    with serve({"b": [error(400, "no"), scores("TOXICITY", "INSULT")]}, scored) as server:
        archive.run(request(server, tmp_path / "out", file), Progress())
        assert archive.run(request(server, tmp_path / "out", file), Progress()).asked == 0
        outcome = archive.run(request(server, tmp_path / "out", file, retry_failed=True), Progress())
    assert outcome.counts == {"ok": 2, "failed": 0} and outcome.asked == 1
    assert sorted((row["text"], row["status"]) for row in rows_of(tmp_path / "out")) == [("a", "ok"), ("b", "ok")]


def test_a_text_without_an_answer_is_asked_by_the_next_run(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(20)])
    with serve({"7": [error(500, "no"), error(500, "no"), scores("TOXICITY", "INSULT")]}, scored) as server:
        first = archive.run(request(server, tmp_path / "out", file, retries=1), Progress())
        second = archive.run(request(server, tmp_path / "out", file, retries=1), Progress())
    assert (first.asked, first.unanswered) == (19, 1)
    assert (second.asked, second.unanswered, second.counts) == (1, 0, {"ok": 20})


def test_what_was_answered_before_the_service_went_down_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(100)])
    begun = {number: 0 for number in range(100)}

    def reply(body: dict[str, Any]) -> Reply:
        begun[int(body["comment"]["text"])] += 1
        return scored(body) if sum(map(bool, begun.values())) <= 40 else error(403, "key revoked")

    with serve(otherwise=reply) as server, pytest.raises(ServiceDown, match="key revoked"):
        archive.run(request(server, tmp_path / "out", file), Progress())
    with serve(otherwise=scored) as other, pytest.raises(ConfigError, match="was begun with"):
        archive.run(request(other, tmp_path / "out", file), Progress())
    assert len(rows_of(tmp_path / "out")) == 40


def test_rows_in_the_journal_of_a_killed_process_count_once(tmp_path: Path) -> None:
    settings = {"url": "http://x", "attributes": ["toxicity"], "span_annotations": False}
    store = Store.at(str(tmp_path / "out"))
    row = Row("a", None, "ok", None, {"toxicity": 0.5}, ["en"], "2026-11-30T10:00:00.000+00:00", {}, {"x": 1})
    killed = ArchiveFolder(store, settings)
    killed.add(row)
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    killed.close()
    (tmp_path / "out" / "journal.jsonl").write_bytes(journal + journal + b'{"text": "half a li')  # beside the part
    resumed = ArchiveFolder(store, settings)
    assert resumed.counts == {"ok": 1}
    resumed.close()
    assert [row["text"] for row in rows_of(tmp_path / "out")] == ["a"]


def test_a_disk_that_takes_a_part_of_a_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"url": "http://x", "attributes": ["toxicity"], "span_annotations": False}
    archive = ArchiveFolder(Store.at(str(tmp_path / "out")), settings)
    write_all = os.write
    full = False

    def write_some(descriptor: int, data: bytes) -> int:
        if full and len(data) < 100:
            raise OSError(28, "No space left on device")
        return write_all(descriptor, data[:100])

    def add(text: str) -> None:
        archive.add(Row(text, None, "ok", None, {"toxicity": 0.5}, ["en"], "2026-11-30T10:00:00.000+00:00", {}, None))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_some)
        add("a")
        full = True
        with pytest.raises(OSError, match="No space left"):
            add("b")
        full = False
        add("c")
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a", "c"]
    archive.close()


def test_wrong_options_are_said_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    missing = run(tmp_path / "none.jsonl", "--out", "s3://bucket/x", "--attribute", "insult")
    assert missing.exit_code == 2
    for part in ("must be an existing file", "on this machine", "toxicity must be", "key is not set"):
        assert part in missing.stderr
    file = write(tmp_path / "a.jsonl", [{"comment": "a"}])
    assert "no row has a 'text'" in run(file, "--out", tmp_path / "out", "--dry-run").stderr
    assert run(file, "--out", tmp_path / "out", "--language", "?!", "--dry-run").exit_code == 2


def test_a_dry_run_says_how_long_it_takes_and_that_the_service_ends_before(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": str(number)} for number in range(5000)] * 2)
    result = run(file, "--out", tmp_path / "out", "--dry-run", "--queries-per-second", "0.001")
    assert result.exit_code == 0, result.stderr
    assert "10,000 rows, 5,000 distinct texts" in result.stderr and "at 0.001 a second: 57 d 20 h" in result.stderr
    assert "the Perspective API ends on 31 December 2026" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_warning_is_of_googles_service_and_of_its_last_day() -> None:
    last = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    google = f"https://{GOOGLE}"
    assert end_warning(google, last) is None and end_warning("http://127.0.0.1", last + timedelta(days=9)) is None
    assert "31 December" in (end_warning(google, finish_time(3600, 1.0, last)) or "")
    assert [in_words(seconds) for seconds in (5, 3599, 3600, 86400, 90000)] == [
        *("1 min", "1 h 00 min", "1 h 00 min", "1 d 0 h", "1 d 1 h")
    ]


def test_the_rate_is_halved_once_for_requests_in_flight_and_rises_again() -> None:
    moment = 0.0
    pace = Pace(10.0, clock=lambda: moment)
    moment = 1.0
    for _ in range(5):
        pace.refused(sent=0.5)  # all were on their way
    assert pace.interval == pytest.approx(0.2)
    pace.refused(sent=1.5)
    assert pace.interval == pytest.approx(0.4)
    for _ in range(200):
        pace.answered()
    assert pace.interval == pytest.approx(0.1)


def start(file: Path, out: Path, url: str) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("archive_process.py")
    command = [sys.executable, str(program), str(file), str(out), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def stop_after(server: Server, requests: int, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    deadline = time.monotonic() + 120
    while len(server.requests) < requests:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.wait(60)


class Asked(NamedTuple):
    """What a server answered while archives of its answers were stopped and begun again."""

    answers: dict[str, list[float]]  # text -> when each answer to it was ready
    kills: list[float]  # when processes were stopped
    repeated: int  # requests that the last process says were sent twice
    in_notes: int  # requests that were on their way at a kill, by the journal

    @property
    def twice(self) -> list[str]:
        return [text for text, times in self.answers.items() if len(times) > 1]


def googles_client(url: str) -> Any:
    """Return Google's own client, for the server at ``url``."""
    return discovery.build_from_document(discovery_document.document(f"{url}/"), developerKey="none")


def carry_out(tmp_path: Path, texts: int, kills: list[tuple[int, signal.Signals]]) -> Asked:
    """Archive texts while processes are stopped once so many requests have arrived."""
    answers: dict[str, list[float]] = defaultdict(list)
    stops: list[float] = []
    notes = 0
    rows = [{"text": f"text {n % texts}", "language": LANGUAGES[n % texts % 17]} for n in range(texts + texts // 10)]
    file = write(tmp_path / "texts.jsonl", rows)
    picks = random.Random(0)

    def reply(body: dict[str, Any]) -> Reply:
        chance = picks.random()
        if chance < 0.01:
            return error(429, "slow down", {"Retry-After": "0"})
        if chance < 0.02:
            return error(500, "no", {"Retry-After": "0"})
        time.sleep(0.05 if chance > 0.99 else 0)
        answers[body["comment"]["text"]].append(time.monotonic())
        return unsupported("sv") if body["languages"] == ["sv"] else scored(body)

    with serve(otherwise=reply) as server:
        for requests, number in kills:
            process = start(file, tmp_path / "out", server.url)
            stop_after(server, requests, process, number)
            stops.append(time.monotonic())
            journal = tmp_path / "out" / "journal.jsonl"
            notes += len(on_their_way(journal.read_bytes())) if journal.exists() else 0
        process = start(file, tmp_path / "out", server.url)
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0
        asked = Asked({text: list(times) for text, times in answers.items()}, stops, int(output), notes)
        kept = rows_of(tmp_path / "out")
        check_by_googles_client(server.url, kept)
    assert sorted(row["text"] for row in kept) == sorted(f"text {number}" for number in range(texts))
    for row in kept:
        if row["language"] == "sv":
            assert (row["status"], row["toxicity"]) == ("unsupported_language", None)
        else:
            assert (row["status"], row["toxicity"]) == ("ok", value_of(row["text"]))
    return asked


def check_by_googles_client(url: str, kept: list[dict[str, Any]]) -> None:
    """Ask for some of the texts by Google's own client: its answers are those that the archive holds."""
    client = googles_client(url)
    for row in kept[:: len(kept) // 40]:
        attributes: dict[str, Any] = {name.upper(): {} for name in ATTRIBUTES}
        body = {"comment": {"text": row["text"]}, "languages": [row["language"]], "requestedAttributes": attributes}
        request = client.comments().analyze(body=body)
        if row["status"] == "unsupported_language":
            with pytest.raises(HttpError, match="does not support request languages"):
                request.execute(num_retries=5)
            continue
        answer = request.execute(num_retries=5)
        assert answer["attributeScores"] == json.loads(row["response"])["attributeScores"]
        assert answer["attributeScores"]["INSULT"]["summaryScore"]["value"] == row["insult"]


def on_their_way(journal: bytes) -> set[str]:
    """Return the requests of a journal that have neither an answer nor an end."""
    sent: set[str] = set()
    for line in journal.split(b"\n")[:-1]:
        content = json.loads(line)
        if "sent" in content:
            sent.add(content["sent"])
        elif "given_up" in content:
            sent.discard(content["given_up"])
        else:
            sent.discard(text_id(content["text"], content["language"]).hex())
    return sent


def test_interrupted_archive_asks_nothing_twice(tmp_path: Path) -> None:
    asked = carry_out(tmp_path, 200, [(60, signal.SIGTERM)])
    assert len(asked.answers) == 200 and asked.twice == [] and asked.repeated == asked.in_notes == 0


def test_a_request_that_a_kill_cut_off_is_sent_again_and_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": text} for text in ("a", "b", "c")])
    script: dict[str, list[Reply]] = {"b": [Hang(), scores("TOXICITY", "INSULT")]}
    with serve(script, scored) as server:
        process = start(file, tmp_path / "out", server.url)
        stop_after(server, 3, process, signal.SIGKILL)
        inventory = archive.dry_run(request(server, tmp_path / "out", file, queries_per_second=400.0))
        outcome = archive.run(request(server, tmp_path / "out", file, queries_per_second=400.0), Progress())
        again = archive.run(request(server, tmp_path / "out", file, queries_per_second=400.0), Progress())
        assert server.times("b") == 2
    assert 1 <= inventory.interrupted == inventory.pending == outcome.repeated <= 3
    assert outcome.counts == {"ok": 3} and (again.repeated, again.inventory.interrupted) == (0, 0)


@pytest.mark.slow
def test_killed_five_times_loses_nothing_and_asks_nothing_again_that_had_its_answer(tmp_path: Path) -> None:
    kills = [(number, signal.SIGKILL) for number in sorted(random.Random(1).sample(range(500, 9500), 5))]
    asked = carry_out(tmp_path, 10_000, kills)
    print(f"asked twice: {len(asked.twice)}; by the notes: {asked.in_notes}")
    assert len(asked.answers) == 10_000 and len(asked.twice) <= asked.in_notes <= 5 * MOST_IN_FLIGHT
    for text in asked.twice:
        first, *_, last = asked.answers[text]
        cut_off = min(stop for stop in asked.kills if stop > first)
        assert cut_off - first < ARRIVED_S and last > cut_off, f"{text} had its answer, and was asked for again"
