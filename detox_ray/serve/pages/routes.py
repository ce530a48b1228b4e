"""The routes of the web pages: `/` compares models on a prompt, `/scorers` shows a card per scorer, `/runs` lists runs
and shows their reports. Without a model, `/` redirects to `/scorers`.

Pages, scripts and styles are static files and need no key. Their data is JSON from routes that need a key if keys are
on. A report contains scripts and styles, so it has its own content security policy and is in a sandbox: it has no
origin and cannot call the service.
"""

import mimetypes
from importlib import resources

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from detox_ray.score.cards import LanguageValidity, card_of, validity_rows
from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.pages.page_data import PageData, page_data
from detox_ray.serve.pages.run_listing import ListedRun, RunsFolder
from detox_ray.serve.pages.signed_links import SignedLinks

STYLES = ("report/colours.css", "report/page.css", "serve/pages/static/page.css")  # those of reports, and additions
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


class LinkedRun(ListedRun):
    report: str | None  # path of its page, valid for an hour; null if it has none


class ServedScorer(BaseModel):
    """The card of a served scorer."""

    name: str
    type: str
    origin: str
    revision: str
    licence: str
    languages: list[str] | None  # languages for which it has evidence; null: it scores all
    attributes: dict[str, str]  # attribute -> meaning of its value
    trained_on: str
    members: list[str]  # scorers from which it is derived
    needs: str
    validity: list[LanguageValidity]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of the pages, their files and their data."""
    router = APIRouter()
    files, data = static_files(), page_data(gateway.spec)
    runs_folder = RunsFolder(gateway.spec.runs) if gateway.spec.runs is not None else None
    links = SignedLinks(gateway.key_hashes)

    def static_response(name: str) -> Response:
        content, media_type = files[name]
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    @router.get("/", include_in_schema=False)
    async def compare_page() -> Response:
        return static_response("index.html") if gateway.spec.engines else RedirectResponse("/scorers")

    @router.get("/scorers", include_in_schema=False)
    async def scorers_page() -> Response:
        return static_response("scorers.html")

    @router.get("/scorers.json", tags=["pages"])
    async def scorer_cards() -> list[ServedScorer]:
        """Return a card for each scorer: revision, licence, languages, attributes, training data, validity."""
        served = {card.name: card for card in await gateway.ask(gateway.scoring.cards)}
        rows = gateway.spec.validity
        return [
            ServedScorer(**card_of(scorer, served[scorer.name].attributes, validity_rows(rows, scorer.name))._asdict())
            for scorer in gateway.spec.scorers
            if scorer.name in served
        ]

    @router.get("/runs", include_in_schema=False)
    async def runs_page() -> Response:
        return static_response("runs.html")

    @router.get("/static/{name}", include_in_schema=False)
    async def static_file(name: str) -> Response:
        if name not in files:
            raise RequestError(404, "no such file")
        return static_response(name)

    @router.get("/page.json", tags=["pages"])
    async def page() -> PageData:
        """Return the data of the page at /: models, languages with example prompts, sampling."""
        return data

    @router.get("/runs.json", tags=["pages"])
    def list_runs() -> list[LinkedRun]:
        """List the runs in the storage of the served run, the latest first."""
        linked_runs = []
        for run in runs_folder.list_runs() if runs_folder else []:
            report = f"/runs/{run.name}/{links.sign(run.name)}/index.html" if run.finished else None
            linked_runs.append(LinkedRun(**run.model_dump(), report=report))
        return linked_runs

    @router.get("/runs/{run}", include_in_schema=False)
    async def run_page(run: str) -> Response:
        return RedirectResponse("/runs")

    @router.get("/runs/{run}/{signature}/{file:path}", include_in_schema=False)
    def report_file(run: str, signature: str, file: str) -> Response:
        if not links.is_valid(run, signature):
            raise RequestError(401, "this link has expired: open /runs again")
        content = runs_folder.report_file(run, file) if runs_folder else None
        if content is None:
            raise RequestError(404, "no such file")
        return Response(content, media_type=mimetypes.guess_type(file)[0], headers=report_headers(file))

    return router


def static_files() -> dict[str, tuple[bytes, str]]:
    """Return the content and the media type of each file of the pages, by name."""
    package = resources.files("detox_ray")
    files = {
        file.name: (file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        for file in package.joinpath("serve/pages/static").iterdir()
        if file.name.endswith((".html", ".js"))
    }
    style = "\n".join(package.joinpath(path).read_text(encoding="utf-8") for path in STYLES)
    return files | {"page.css": (style.encode(), "text/css")}


def report_headers(file: str) -> dict[str, str]:
    """Return the headers of a report's page or file. Browsers save tables and PDFs, and show other files."""
    headers = {
        "content-security-policy": REPORT_POLICY if file == "index.html" else FILE_POLICY,
        "cross-origin-opener-policy": "unsafe-none",  # under any other value, browsers do not show sandboxed documents
    }
    return headers | ({"content-disposition": "attachment"} if file.endswith((".csv", ".pdf")) else {})
