"""The page in a real browser: blur and click, keyboard, dark mode, a phone, no network, no errors."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from small_experiment import content

from detox_ray.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    for name, data in render(content()).items():
        file: Path = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    return folder.joinpath("index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, report: str) -> Iterator[Page]:
    """The open report; afterwards, that it asked for nothing and complained about nothing."""
    page = browser.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report)
    yield page
    assert complaints == []
    assert [url for url in requests if url != report and not url.startswith("data:")] == []
    page.close()


def test_hostile_text_did_not_run(page: Page) -> None:
    assert page.title() == "toy17 <b>demo</b>: detox_ray report"


def test_text_is_blurred_until_clicked_and_again_after(page: Page) -> None:
    veil = page.locator("button.veil").first
    inner = veil.locator("span")
    assert "blur" in inner.evaluate("e => getComputedStyle(e).filter")
    assert veil.get_attribute("aria-label") == "Blurred prompt: activate to show"
    veil.click()
    assert inner.evaluate("e => getComputedStyle(e).filter") == "none"
    assert veil.get_attribute("aria-label") is None  # now a screen reader reads the text
    veil.click()
    assert "blur" in inner.evaluate("e => getComputedStyle(e).filter")


def test_keyboard_shows_one_text_or_all_of_a_language(page: Page) -> None:
    veil = page.locator("button.veil").nth(1)
    veil.press("Enter")
    assert veil.get_attribute("aria-pressed") == "true"
    group = page.locator("details", has=page.locator("button.show-all")).first
    group.locator("button.show-all").press("Space")
    assert group.locator("button.veil[aria-pressed=false]").count() == 0
    assert page.locator("button.veil[aria-pressed=false]").count() > 0  # other languages stay blurred


def test_arabic_runs_from_right_to_left(page: Page) -> None:
    span = page.locator("span[lang=ar]").first
    assert span.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert span.evaluate("e => getComputedStyle(e).unicodeBidi") in ("isolate", "plaintext")


def test_page_and_figure_follow_the_dark_mode(page: Page) -> None:
    def luminance(selector: str, style: str) -> float:
        colour = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{style}")
        return sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 765

    page.emulate_media(color_scheme="light")
    assert luminance("body", "backgroundColor") > 0.9 and luminance("svg.figure text", "fill") < 0.3
    page.emulate_media(color_scheme="dark")
    assert luminance("body", "backgroundColor") < 0.2 and luminance("svg.figure text", "fill") > 0.7


def test_phone_shows_everything_without_sideways_scrolling_of_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    page.evaluate("for (const b of document.querySelectorAll('button.veil')) b.click()")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    figure = page.locator("svg.figure").first.bounding_box()
    assert figure is not None and figure["x"] >= 0 and figure["x"] + figure["width"] <= 390
    name = page.locator("svg.figure .row text").first.bounding_box()
    assert name is not None and name["height"] >= 9  # still legible
    assert page.locator(".scroll table").first.evaluate("e => e.scrollWidth > e.parentElement.clientWidth")
