"""The web pages: their data, their files, the list of runs, and links to reports."""

import json
import re
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from page_backend import Backend, answering, serve_spec, write_runs

from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.pages.page_data import page_data
from detox_ray.serve.pages.routes import static_files
from detox_ray.serve.pages.run_listing import ListedRun, RunsFolder
from detox_ray.serve.pages.signed_links import SignedLinks


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_runs(tmp_path_factory.mktemp("storage"))
    (folder / "done/report/figures/stolen.svg").symlink_to(folder / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def client(storage: Path) -> Iterator[httpx.Client]:
    with answering(Backend(storage)) as backend, httpx.Client(base_url=backend.url) as client:
        yield client


def test_every_language_has_examples_the_runs_own_where_it_has_some() -> None:
    data = page_data(serve_spec())
    assert [spoken.code for spoken in data.languages] == list(LANGUAGES)
    assert all(len(spoken.examples) >= 2 for spoken in data.languages if spoken.code not in ("en", "fr", "sv"))
    arabic = next(spoken for spoken in data.languages if spoken.code == "ar")
    assert arabic.direction == "rtl"
    assert [(example.text, example.veiled) for example in arabic.examples] == [("المعلم", True), ("الطبيب", True)]
    german = next(spoken for spoken in data.languages if spoken.code == "de")
    assert not any(example.veiled for example in german.examples)


def test_form_starts_with_the_experiments_sampling_within_the_limits(client: httpx.Client) -> None:
    data = client.get("/page.json").json()
    assert data["defaults"] == {"samples": 5, "temperature": 0.9, "top_p": 0.8, "max_tokens": 20}
    assert data["most"] == {"samples": 32, "max_tokens": 512}
    assert data["models"] == [
        {"name": "detox", "parent": "base", "verdict": "pass. Average toxicity falls."},
        {"name": "base", "parent": None, "verdict": None},
    ]


class _Strict(HTMLParser):
    """Collects everything that a strict content security policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.found += [name for name in given if name == "style" or name.startswith("on")]
        self.found += ["inline"] if tag == "style" or (tag == "script" and "src" not in given) else []
        for name in ("src", "href"):
            if not re.match(r"/(?!/)|#|data:,", given.get(name) or "/"):
                self.found.append(str(given[name]))


@pytest.mark.parametrize("page", ["/", "/scorers", "/runs"])
def test_pages_hold_no_inline_code_and_nothing_from_outside(client: httpx.Client, page: str) -> None:
    answer = client.get(page)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "'unsafe" not in answer.headers["content-security-policy"]
    parser = _Strict()
    parser.feed(answer.text)
    assert parser.found == [] and len(set(parser.ids)) == len(parser.ids)
    for asset in re.findall(r'"(/static/[^"]+)"', answer.text):
        assert client.get(asset).status_code == 200, asset


def test_scripts_write_text_only_and_import_only_what_is_there() -> None:
    files = static_files()
    for name, (content, kind) in files.items():
        text = content.decode()
        if name.endswith(".js"):
            assert kind == "text/javascript"
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(", text)
            assert all(imported in files for imported in re.findall(r'from "\./([^"]+)"', text))
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name


@pytest.mark.parametrize("name", ["missing.js", "..%2fpages.py", "%2e%2e/pages.py", "page.css%00", "__init__.py"])
def test_only_known_files_are_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_runs_are_listed_newest_first_with_their_headline(client: httpx.Client) -> None:
    done, going, broken = client.get("/runs.json").json()
    assert (done["name"], done["finished"], done["models"]) == ("done", True, ["base", "detox"])
    assert done["headline"] == [
        "average toxicity over 17 languages (classifier): base 0.800, detox 0.200 (-75%); "
        "difference -0.600 [-0.700, -0.500]"
    ]
    assert client.get(done["report"]).status_code == 200
    assert (going["name"], going["finished"], going["report"]) == ("going", False, None)
    assert (broken["name"], broken["headline"], broken["note"]) == ("broken", [], "its results cannot be read")


def test_several_runs_are_looked_up_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    together = threading.Barrier(3, timeout=60)

    def waiting(self: RunsFolder, name: str) -> ListedRun:
        together.wait()  # fails unless three runs are looked up
        return ListedRun(name=name, updated=None, finished=False, models=[], headline=[])

    monkeypatch.setattr(RunsFolder, "_run", waiting)
    assert [run.name for run in RunsFolder(str(tmp_path)).list_runs()] == ["c", "b", "a"]


def test_list_of_runs_follows_what_happens_in_the_storage(tmp_path: Path) -> None:
    runs = RunsFolder(str(write_runs(tmp_path)))
    assert [run.finished for run in runs.list_runs() if run.name == "done"] == [True]
    (tmp_path / "done/report/results.json").unlink()
    manifest = json.loads((tmp_path / "going/manifest.json").read_text())
    (tmp_path / "going/manifest.json").write_text(json.dumps(manifest | {"updated": "2027-01-01T00:00:00+00:00"}))
    assert [(run.name, run.finished) for run in runs.list_runs()][:2] == [("going", False), ("done", False)]


@pytest.mark.parametrize(
    ("file", "kind", "policy"),
    [
        ("index.html", "text/html; charset=utf-8", "sandbox allow-scripts allow-downloads"),
        ("results.json", "application/json", "sandbox"),
        ("figures/forest.svg", "image/svg+xml", "sandbox"),
        ("tables/metrics.csv", "text/csv; charset=utf-8", "sandbox"),
    ],
)
def test_files_of_a_report_are_served_in_a_sandbox(client: httpx.Client, file: str, kind: str, policy: str) -> None:
    answer = client.get(f"/runs/done/report/{file}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["content-security-policy"].endswith(f"; {policy}")
    assert ("attachment" in answer.headers.get("content-disposition", "")) == file.endswith(".csv")


@pytest.mark.parametrize(
    "path",
    [
        "done/report/../manifest.json",
        "done/report/%2e%2e/manifest.json",
        "done/report/figures/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.txt",
        "done/report/figures/stolen.svg",  # a link out of the report
        "done/report/figures",
        "done/report/index.html%00.svg",
        "..%2fdone/report/index.html",
        "./report/index.html",
        "going/report/index.html",
        "done/other/index.html",
    ],
)
def test_no_trick_with_paths_reads_another_file(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/runs/{path}", follow_redirects=True)
    assert answer.status_code in (401, 404) and "secret" not in answer.text


def test_signed_link_holds_for_one_run_and_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    links = SignedLinks(["a" * 64, "b" * 64])
    signature = links.sign("done")
    assert links.is_valid("done", signature) and SignedLinks(["b" * 64, "a" * 64]).is_valid("done", signature)
    assert not links.is_valid("other", signature)
    assert not SignedLinks(["a" * 64]).is_valid("done", signature)  # another set of keys
    until, _, digest = signature.partition("-")
    for forged in ("report", "", "-", f"{int(until) + 1}-{digest}", f"٣-{digest}", f"{until}-é", "9" * 5000):
        assert not links.is_valid("done", forged)
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert not links.is_valid("done", signature)


def test_where_keys_are_on_data_needs_one_and_reports_a_link_from_the_list(storage: Path) -> None:
    with answering(Backend(storage, keyed=True)) as backend, httpx.Client(base_url=backend.url) as client:
        assert [client.get(path).status_code for path in ("/", "/runs", "/static/page.css")] == [200] * 3
        assert [client.get(path).status_code for path in ("/page.json", "/runs.json")] == [401] * 2
        assert client.get("/runs/done/report/index.html").status_code == 401
        listed = client.get("/runs.json", headers={"authorization": f"Bearer {backend.key}"}).json()
        link = listed[0]["report"]
        assert client.get(link).status_code == 200
        assert client.get(link.replace("index.html", "figures/forest.svg")).status_code == 200
        assert client.get(link.replace("/done/", "/going/")).status_code == 401
