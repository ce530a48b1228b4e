"""The web pages: `/` compares models on a prompt, `/runs` lists runs and shows their reports.

Pages, script and style are fixed files and open to all; what they show comes as JSON from routes that need a key where
keys are on. A report brings its own script and style, so it is shown with a policy of its own and in a sandbox: it has
no origin, and cannot call the service.
"""

import mimetypes
from importlib import resources

import yaml
from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from detox_ray.config.languages import LANGUAGES
from detox_ray.serve.http.errors import Refused
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.pages.run_listing import Run, Runs
from detox_ray.serve.pages.signed_links import Tickets
from detox_ray.serve.spec import Served

STYLES = ("report/colours.css", "report/page.css", "serve/pages/static/page.css")  # one look with the reports
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


class Example(BaseModel):
    """A prompt that the page offers."""

    text: str
    veiled: bool  # a prompt of the run: it may be toxic, and is blurred until chosen


class Spoken(BaseModel):
    """A language and its examples."""

    code: str
    name: str
    direction: str  # "ltr" or "rtl"
    examples: list[Example]


class ModelName(BaseModel):
    name: str
    parent: str | None  # that it was tuned from, where that is served too


class Defaults(BaseModel):
    """What the form holds at first: the experiment's own sampling, but fewer samples."""

    samples: int
    temperature: float
    top_p: float
    max_tokens: int


class Most(BaseModel):
    """What a request may ask for."""

    samples: int
    max_tokens: int


class PageData(BaseModel):
    """All that the page at / is drawn from."""

    title: str
    models: list[ModelName]
    scorers: list[str]
    primary: str | None
    threshold: float  # of the primary scorer's value: from it on a completion counts as toxic
    languages: list[Spoken]
    defaults: Defaults
    most: Most


class LinkedRun(Run):
    report: str | None  # path of its page, for an hour; null where it has none


def routes(gateway: Gateway) -> APIRouter:
    """Pages, their files and their data."""
    router = APIRouter()
    served = gateway.served
    files, data = static_files(), page_data(served)
    runs = Runs(served.runs) if served.runs is not None else None
    tickets = Tickets(gateway.key_hashes)

    def static(name: str) -> Response:
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    @router.get("/", include_in_schema=False)
    async def compare_page() -> Response:
        return static("index.html")

    @router.get("/runs", include_in_schema=False)
    async def runs_page() -> Response:
        return static("runs.html")

    @router.get("/static/{name}", include_in_schema=False)
    async def static_file(name: str) -> Response:
        if name not in files:
            raise Refused(404, "no such file")
        return static(name)

    @router.get("/page.json", tags=["pages"])
    async def page() -> PageData:
        """What the page at / offers: models, languages with example prompts, sampling."""
        return data

    @router.get("/runs.json", tags=["pages"])
    def list_runs() -> list[LinkedRun]:
        """The runs beside the served one, the newest first."""
        return [
            LinkedRun(
                **run.model_dump(),
                report=f"/runs/{run.name}/{tickets.make(run.name)}/index.html" if run.finished else None,
            )
            for run in (runs.listed() if runs else [])
        ]

    @router.get("/runs/{run}", include_in_schema=False)
    async def run_page(run: str) -> Response:
        return RedirectResponse("/runs")

    @router.get("/runs/{run}/{ticket}/{file:path}", include_in_schema=False)
    def report_file(run: str, ticket: str, file: str) -> Response:
        if not tickets.allows(run, ticket):
            raise Refused(401, "this link has expired: open /runs again")
        content = runs.file(run, file) if runs else None
        if content is None:
            raise Refused(404, "no such file")
        return Response(content, media_type=mimetypes.guess_type(file)[0], headers=report_headers(file))

    return router


def static_files() -> dict[str, tuple[bytes, str]]:
    """Name -> content and type of what the pages are made of."""
    package = resources.files("detox_ray")
    files = {
        file.name: (file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream")
        for file in package.joinpath("serve/pages/static").iterdir()
        if file.name.endswith((".html", ".js"))
    }
    style = "\n".join(package.joinpath(name).read_text(encoding="utf-8") for name in STYLES)
    return files | {"page.css": (style.encode(), "text/css")}


def page_data(served: Served) -> PageData:
    """The run's own prompts are the examples of their languages; the other languages have built-in ones."""
    built_in = yaml.safe_load(
        resources.files("detox_ray.serve.pages").joinpath("examples.yaml").read_text(encoding="utf-8")
    )
    own = {code: [Example(text=p.text, veiled=True) for p in served.prompts if p.language == code] for code in built_in}
    limits, sampling = served.config.limits, served.generate
    return PageData(
        title=served.title,
        models=[ModelName(name=name, parent=served.parents.get(name)) for name in served.models],
        scorers=[scorer.name for scorer in served.scorers],
        primary=served.primary,
        threshold=served.threshold,
        languages=[
            Spoken(
                code=language.code,
                name=language.name,
                direction=language.direction,
                examples=own[language.code] or [Example(text=text, veiled=False) for text in built_in[language.code]],
            )
            for language in LANGUAGES.values()
        ],
        defaults=Defaults(
            samples=min(4, limits.n, sampling.samples),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=min(sampling.max_tokens, limits.max_tokens),
        ),
        most=Most(samples=limits.n, max_tokens=limits.max_tokens),
    )


def report_headers(file: str) -> dict[str, str]:
    """Of a report's page, or of one of its files: a browser saves tables and PDF rather than showing them."""
    headers = {
        "content-security-policy": REPORT_POLICY if file == "index.html" else FILE_POLICY,
        "cross-origin-opener-policy": "unsafe-none",  # with any other a browser refuses to show what is sandboxed
    }
    return headers | ({"content-disposition": "attachment"} if file.endswith((".csv", ".pdf")) else {})
