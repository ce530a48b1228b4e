"""The pages in a real browser: explorer, blur, keyboard, dark mode, a phone, no network, no errors."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from small_experiment import content
from small_release import release

from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.report import ReportContent, render_several
from detox_ray.report.figure_files import forest_files
from detox_ray.report.overview import overview
from detox_ray.report.overview_figure import overview_files
from detox_ray.report.page import index
from detox_ray.report.pair_sections import pair_sections
from detox_ray.report.results import results

pytestmark = pytest.mark.integration


def forest_of(made: ReportContent) -> dict[str, bytes]:
    """One figure, for all take long to draw."""
    (pair,) = pair_sections(made)
    return forest_files("forest-detox-vs-base", pair.forest, "Toxicity per language", "toxicity", "before", "after")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "index.html"
    made = content()
    file.write_bytes(index(made, forest_of(made)))
    return file.as_uri()


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


def status(page: Page, wanted: str) -> None:
    """Waits until the explorer says so."""
    page.get_by_role("status").filter(has_text=wanted).wait_for(timeout=5000)


def test_hostile_text_did_not_run_and_stays_text(page: Page) -> None:
    assert page.title() == "toy17 <b>demo</b>: detox_ray report"
    page.get_by_label("Show texts without blur").check()
    prompt = page.locator("#explorer-list bdi[lang=cs]").first
    assert prompt.evaluate("e => e.children.length") == 0
    assert (prompt.text_content() or "").startswith("The prompt <script>document.title='owned'</script><img")
    assert page.locator("#explorer-list img, #explorer-list script").count() == 0


def test_text_is_blurred_until_clicked_and_again_after(page: Page) -> None:
    veil = page.locator("button.veil").first
    inner = veil.locator("bdi")
    assert "blur" in inner.evaluate("e => getComputedStyle(e).filter")
    assert veil.get_attribute("aria-label") == "Blurred prompt in Arabic: activate to show"
    veil.click()
    assert inner.evaluate("e => getComputedStyle(e).filter") == "none"
    assert veil.get_attribute("aria-label") is None  # now a screen reader reads the text
    veil.click()
    assert "blur" in inner.evaluate("e => getComputedStyle(e).filter")


def test_keyboard_alone_filters_shows_one_text_all_texts_and_more_prompts(page: Page) -> None:
    page.locator("button.veil").nth(1).press("Enter")
    assert page.locator("button.veil").nth(1).get_attribute("aria-pressed") == "true"
    page.get_by_label("Show texts without blur").press("Space")
    assert page.locator("button.veil[aria-pressed=false]").count() == 0
    status(page, "20 of 34 matching prompts shown")
    page.get_by_role("button", name="Show more").press("Enter")
    status(page, "34 of 34 matching prompts shown")
    assert page.evaluate("document.activeElement.closest('article') === document.querySelectorAll('article')[20]")
    assert page.locator("button.veil[aria-pressed=false]").count() == 0  # those that came later are shown too
    page.get_by_role("combobox", name="Language", exact=True).focus()
    page.keyboard.type("Hindi")
    status(page, "2 of 2 matching prompts shown, with 8 matching completions")


def test_filters_and_search_find_what_they_say(page: Page) -> None:
    page.get_by_role("combobox", name="Model", exact=True).select_option(label="detox")
    status(page, "with 68 matching completions in all")
    assert page.locator("#explorer-list h4").all_text_contents() == ["detox"] * 20
    page.get_by_role("combobox", name="Status", exact=True).select_option(label="empty completion")
    status(page, "with 34 matching completions in all")
    page.get_by_role("button", name="Reset").click()
    status(page, "with 136 matching completions in all")
    page.get_by_role("spinbutton", name="from").fill("0.5")
    page.get_by_role("spinbutton", name="to").fill("0.8")
    status(page, "with 34 matching completions in all")
    assert set(page.locator("#explorer-list .score").all_text_contents()) == {"0.710"}
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Search in texts").fill("كسول")
    status(page, "2 of 2 matching prompts shown")
    page.get_by_label("Search in texts").fill("IS KIND")
    status(page, "with 34 matching completions in all")
    page.get_by_label("Search in texts").fill("<b>nowhere")
    status(page, "Nothing matches.")
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("combobox", name="Order", exact=True).select_option(label="least toxic first")
    status(page, "20 of 34")


def test_arabic_runs_from_right_to_left_and_overrides_stay_inside(page: Page) -> None:
    arabic = page.locator("bdi[lang=ar]").first
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    hostile = page.locator("bdi[lang=cs]").first  # holds an override that nothing ends
    assert hostile.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    assert page.locator("article h3").nth(2).evaluate("e => getComputedStyle(e).direction") == "ltr"


def test_every_control_has_a_name_and_every_table_headers(page: Page) -> None:
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select')].filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).length"""
    )
    assert nameless == 0
    assert (
        page.evaluate("[...document.querySelectorAll('table')].filter(t => !t.querySelector('th[scope]')).length") == 0
    )
    assert page.evaluate("[...document.querySelectorAll('svg')].every(s => s.querySelector('title, desc'))")


def luminance(page: Page, selector: str, style: str) -> float:
    colour = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{style}")
    parts = (int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page: Page, text: str, ground: str) -> float:
    light, deep = sorted((luminance(page, text, "color"), luminance(page, ground, "backgroundColor")), reverse=True)
    return (light + 0.05) / (deep + 0.05)


def test_page_and_figures_follow_the_dark_mode_with_legible_cells(page: Page) -> None:
    for scheme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        ground, text = (
            luminance(page, "body", "backgroundColor"),
            luminance(page, "svg.figure text:not([fill])", "fill"),
        )
        assert (ground < 0.05 and text > 0.5) if dark else (ground > 0.9 and text < 0.1)
        for shade in ("good3", "good2", "bad1", "bad2", "even"):
            cell = f"table.heat td.{shade}"
            assert contrast(page, cell, cell) >= 4.5, (scheme, shade)  # WCAG AA


def test_phone_shows_everything_without_sideways_scrolling_of_the_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    page.get_by_label("Show texts without blur").check()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".scroll > svg.figure").first.evaluate("e => e.parentElement.clientWidth") <= 390
    name = page.locator("svg.figure text", has_text="Korean").first.bounding_box()
    assert name is not None and name["height"] >= 9  # still legible
    assert page.locator(".scroll table").first.evaluate("e => e.scrollWidth > e.parentElement.clientWidth")


def test_page_of_several_runs_stands_on_a_phone_and_runs_nothing(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detox_ray.report.run_comparison.figure_files.tradeoff_files", lambda name, clouds: {})
    runs = [(f"<script>alert({i})</script>", json.loads(results(content(shift=i / 20)))) for i in range(3)]
    file = tmp_path_factory.mktemp("several") / "index.html"
    file.write_bytes(render_several(runs, "<img src=x onerror=alert(1)>")["index.html"])
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.goto(file.as_uri())
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("img, script").count() == 0 and complaints == []
    page.close()


def test_first_screen_holds_advice_verdicts_and_figure_in_legible_colours(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    judged = release()
    screen = overview(judged)
    assert screen is not None and screen.dots is not None
    file = tmp_path_factory.mktemp("release") / "index.html"
    file.write_bytes(index(judged, overview_files(screen.dots)))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(file.as_uri())
    assert page.locator(".overview").evaluate("e => e.getBoundingClientRect().bottom") <= 900
    assert page.get_by_role("heading", level=2).first.inner_text().startswith("Release detox.")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for text in (".pass .badge", ".fail .badge", "td.pass .sign", "td.fail .sign"):
            assert contrast(page, text, "body") >= 4.5, (scheme, text)  # nothing between has a ground of its own
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    figure = page.locator(".overview .scroll").first
    assert figure.evaluate("e => e.scrollWidth <= e.clientWidth")  # the parent's marks are at its right end
    page.close()


def test_items_of_sets_are_blurred_and_filtered_by_set_and_type(browser: Browser, tmp_path: Path) -> None:
    plain = content(("en", "fr"))
    items = [
        ExplorerPrompt(
            "en",
            f"{name} {part}",
            "The old man\nThe young man",
            [
                ExplorerCompletion("base", 0, "The old man", None, "stereotype"),
                ExplorerCompletion("detox", 0, "The young man", None, "anti"),
            ],
            name,
            part,
        )
        for name in ("crows", "stereoset")
        for part in ("age", "gender", "religion")
    ]
    made = replace(plain, samples=[*plain.samples, *items])
    file = tmp_path / "index.html"
    file.write_bytes(index(made, forest_of(made)))
    page = browser.new_page()
    page.goto(file.as_uri())
    status(page, "10 of 10 matching entries shown")
    page.get_by_role("combobox", name="Set", exact=True).select_option(label="crows")
    status(page, "3 of 3 matching entries shown")
    page.get_by_role("combobox", name="Type", exact=True).select_option(label="age")
    status(page, "1 of 1 matching entries shown, with 2 matching texts")
    assert page.locator("#explorer-list .score").all_text_contents() == ["stereotype", "anti"]
    assert page.locator("button.veil").first.get_attribute("aria-label") == "Blurred item in English: activate to show"
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("combobox", name="Set", exact=True).select_option(label="prompts")
    status(page, "4 of 4 matching entries shown")
    page.close()
