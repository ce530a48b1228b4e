"""The page at /runs in a real browser, and the page at / against the real service."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_backend import Backend, answering, write_runs
from playwright.sync_api import Browser, Page, expect
from service import Service

expect.set_options(timeout=20_000)  # on a loaded machine
pytestmark = pytest.mark.integration


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 375, "height": 700})
    yield page
    page.context.close()


def test_runs_lead_to_reports_whose_scripts_run_but_cannot_reach_the_service(page: Page, tmp_path: Path) -> None:
    with answering(Backend(write_runs(tmp_path))) as backend:
        page.goto(f"{backend.url}/runs")
        expect(page.get_by_role("status")).to_have_text("3 runs")
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        assert page.get_by_role("heading", level=2).all_inner_texts() == ["done", "going", "broken"]
        facts = page.locator(".run > .muted").all_inner_texts()
        assert facts[0].startswith("finished · 21 Nov 2026") and facts[0].endswith("models: base, detox")
        assert facts[1].startswith("not finished") and facts[2] == "finished · its results cannot be read"
        assert page.get_by_role("link", name="going").count() == 0
        page.get_by_role("link", name="done").click()
        text = page.locator("p")
        expect(text).to_have_text("made null no storage")  # of a sandbox without an origin, and so without our keys
        assert text.evaluate("e => getComputedStyle(e).color") == "rgb(1, 2, 3)"
        expect(page).to_have_title("kept in")
        page.goto(f"{backend.url}/runs/done")
        expect(page.get_by_role("heading", level=1)).to_have_text("Runs")


def test_where_keys_are_on_runs_ask_for_one_and_their_reports_open(page: Page, tmp_path: Path) -> None:
    with answering(Backend(write_runs(tmp_path), keyed=True)) as backend:
        page.goto(f"{backend.url}/runs")
        page.get_by_label("API key").fill(backend.key)
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("status")).to_have_text("3 runs")
        page.get_by_role("link", name="done").click()
        page.get_by_role("link", name="figure").click()  # its links need no key either
        page.wait_for_url("**/figures/forest.svg")
        assert page.evaluate("document.rootElement.localName") == "svg"
        assert backend.key not in page.url


def test_real_models_write_side_by_side_and_are_scored(page: Page, service: Service) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(service.url)
    page.get_by_label("full").check()
    page.get_by_role("button", name="Example in Arabic").click()
    page.get_by_label("Samples", exact=True).fill("3")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Done.", timeout=60_000)
    for model in ("base", "lora", "full"):
        column = page.get_by_role("region", name=model)
        expect(column.locator(".summary")).to_contain_text(
            "of 3 completions are toxic (score 0.5 or more by classifier)"
        )
        assert column.locator(".card").count() == 3
        assert all(value.replace(".", "").isdigit() for value in column.locator(".value").all_inner_texts())
    assert page.locator(".pending").count() == 0
    page.goto(f"{service.url}/runs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    assert complaints == []
