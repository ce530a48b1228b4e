"""The page at / in a real browser, against scripted comparisons."""

import json
import shlex
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from page_backend import HOSTILE, Backend, answering
from playwright.sync_api import Browser, Page, expect

expect.set_options(timeout=20_000)  # on a loaded machine
pytestmark = pytest.mark.integration
NO_CLIPBOARD = "() => { navigator.clipboard.writeText = () => Promise.reject(new Error()) }"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with answering(Backend()) as backend:
        yield backend


@pytest.fixture(scope="module")
def tab(browser: Browser, backend: Backend) -> Iterator[Page]:
    context = browser.new_context()
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=backend.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Page, backend: Backend) -> Iterator[Page]:
    """Open the page; afterwards, check that no foreign script ran and no other host was called."""
    complaints: list[str] = []
    elsewhere: list[str] = []
    listeners: list[tuple[Any, Any]] = [
        ("console", lambda message: complaints.append(message.text)),
        ("pageerror", lambda error: complaints.append(str(error))),
        ("request", lambda request: elsewhere.append(request.url)),
    ]
    for event, listener in listeners:
        tab.on(event, listener)
    backend.asked.clear()
    tab.set_viewport_size({"width": 1100, "height": 900})
    tab.goto("about:blank")
    tab.goto(backend.url)
    expect(tab.get_by_role("button", name="Compare", exact=True)).to_be_visible()
    yield tab
    for event, listener in listeners:
        tab.remove_listener(event, listener)
    assert [said for said in complaints if "Failed to load resource" not in said] == []
    assert [url for url in elsewhere if not url.startswith((backend.url, "data:", "about:"))] == []
    assert "owned" not in tab.title()


def compare(page: Page, prompt: str, until: str = "Done.", **numbers: float) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    for label, value in numbers.items():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_role("button", name="Compare", exact=True).click()
    if until:
        expect(page.get_by_role("status")).to_contain_text(until)


def test_typed_prompt_is_compared_and_each_completion_judged_in_words_shape_and_bar(
    page: Page, backend: Backend
) -> None:
    compare(page, "the king", Samples=4, Seed=7)
    assert backend.asked == [
        {
            **{"prompt": "the king", "models": ["detox", "base"], "samples": 4, "seed": 7, "temperature": 0.9},
            **{"top_p": 0.8, "max_tokens": 20, "stream": True},
        }
    ]
    assert page.locator(".column h2").all_inner_texts() == ["base", "detox tuned from base"]  # the parent first
    base = page.get_by_role("region", name="base")
    verdicts = [" ".join(text.split()) for text in base.locator(".verdict").all_inner_texts()]
    assert verdicts == [
        "toxic 0.910",
        "not toxic 0.200 other language: Dutch",
        "toxic 0.500",
        "no score: scoring failed",
    ]
    shapes = base.locator(".verdict > .mark:first-child").evaluate_all(
        "marks => marks.map(e => getComputedStyle(e, '::before').content)"
    )
    assert shapes == ['"▲"', '"●"', '"▲"', '"◇"']
    bars = base.locator(".bar > :first-child").evaluate_all("bars => bars.map(e => e.style.inlineSize)")
    assert bars == ["91%", "20%", "50%"]
    expect(base.locator(".summary")).to_have_text(
        "2 of 3 scored completions are toxic (score 0.5 or more by classifier); mean score 0.54, highest 0.54. "
        "1 of 4 is in another language. 1 of 4 has no score."
    )
    detox = page.get_by_role("region", name="detox")
    expect(detox.locator(".summary")).to_have_text("No numbers: scoring failed.")
    expect(detox.locator(".gate")).to_have_text("Gate: pass. Average toxicity falls.")
    expect(page.get_by_role("status")).to_have_text("Done. detox: scoring failed; base: average toxicity 0.537")


def test_both_columns_stream_and_scores_come_later(page: Page, backend: Backend) -> None:
    backend.close_gate()
    compare(page, "wait", "writing", Samples=2)
    for model in ("base", "detox"):
        column = page.get_by_role("region", name=model)
        expect(column.locator("bdi").nth(1)).to_have_text(f"{model} {HOSTILE} 1")
        assert column.locator(".verdict").all_inner_texts() == ["writing …"] * 2
        expect(column.locator(".summary")).to_have_text("0 of 2 samples")
    backend.open_gate()
    expect(page.get_by_role("status")).to_contain_text("Done.")
    expect(page.get_by_role("region", name="base").locator("bdi").nth(1)).to_have_text(f"base {HOSTILE} 1 whole")


def test_texts_are_blurred_until_clicked_or_all_are_asked_for(page: Page) -> None:
    compare(page, "the king")
    veil = page.locator("button.veil").first
    inner = veil.locator("bdi")
    expect(inner).to_have_css("filter", "blur(8px)")
    assert veil.get_attribute("aria-label") == "Blurred completion 1 of base: activate to show"
    veil.press("Enter")
    expect(inner).to_have_css("filter", "none")
    assert veil.get_attribute("aria-label") is None  # now a screen reader reads the text
    veil.click()
    expect(inner).to_have_css("filter", "blur(8px)")
    page.get_by_label("Show texts without blur").check()
    assert page.locator("button.veil[aria-pressed=false]").count() == 0
    compare(page, "again")
    assert page.locator("button.veil[aria-pressed=false]").count() == 0  # asked for once


def test_script_in_prompts_and_completions_is_text(page: Page) -> None:
    compare(page, HOSTILE)
    page.get_by_label("Examples", exact=True).first.select_option("en")
    assert page.locator("main :is(img, script)").count() == 0
    assert page.locator("h1").inner_text() == "Compare models: small <b>world</b>"
    assert page.locator("button.veil bdi").first.evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"


def test_example_is_chosen_in_its_language_and_direction(page: Page, backend: Backend) -> None:
    assert page.locator(".chip").count() == 20
    chip = page.get_by_role("button", name="Example in Arabic")
    assert chip.locator("bdi").evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert "blur" in chip.locator("bdi").evaluate("e => getComputedStyle(e).filter")  # a prompt of the run
    assert (
        page.get_by_role("button", name="Example in German").locator("bdi").evaluate("e => getComputedStyle(e).filter")
        == "none"
    )
    page.get_by_label("Examples", exact=True).first.select_option(label="Arabic")
    page.get_by_role("button", name="Example 2 in Arabic").press("Enter")
    prompt = page.get_by_label("Prompt", exact=True)
    assert prompt.input_value() == "الطبيب"
    assert prompt.evaluate("e => getComputedStyle(e).direction") == "rtl"
    prompt.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("Done.")
    assert backend.asked[0]["language"] == "ar"
    completion = page.locator("button.veil bdi").first
    assert (completion.get_attribute("lang"), completion.get_attribute("dir")) == ("ar", "rtl")


@pytest.mark.parametrize(
    ("locale", "prompt", "language", "seed"), [("sv-SE", "Kungen", "sv", "42"), ("en-GB", "Le roi", "fr", "41")]
)
def test_first_prompt_is_one_on_which_the_models_differ(
    browser: Browser, backend: Backend, locale: str, prompt: str, language: str, seed: str
) -> None:
    with browser.new_context(locale=locale) as context:
        page = context.new_page()
        page.goto(backend.url)
        expect(page.get_by_role("status")).to_contain_text("on which this run's models differ most")
        field = page.get_by_label("Prompt", exact=True)
        assert (field.input_value(), page.get_by_label("Seed").input_value()) == (prompt, seed)
        assert page.get_by_label("Prompt language").input_value() == language
        assert [box.input_value() for box in page.locator("[name=models]:checked").all()] == ["detox", "base"]
        assert field.evaluate("e => getComputedStyle(e).color") == "rgba(0, 0, 0, 0)"  # a prompt of the run: blurred
        field.focus()
        assert field.evaluate("e => getComputedStyle(e).color") != "rgba(0, 0, 0, 0)"


def test_stop_ends_the_stream_and_the_server_notices(page: Page, backend: Backend) -> None:
    backend.close_gate()
    backend.left.clear()
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
    compare(page, "wait", "writing", Samples=2)
    stop.click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    assert page.locator(".verdict").all_inner_texts() == ["stopped"] * 4
    assert backend.left.wait(5)
    expect(stop).to_be_disabled()


@pytest.mark.parametrize(
    ("prompt", "message", "field"),
    [
        ("", "Type a prompt, or choose an example.", "prompt"),
        ("refuse", "temperature: must be at most 1.5", "temperature"),
        ("full", "too many requests at once Try again in 7 s.", None),
        ("break off", "The stream ended before the comparison was complete.", None),
        ("engine dies", "the engine is dead", None),
    ],
)
def test_error_is_told_in_words_and_its_field_marked(page: Page, prompt: str, message: str, field: str | None) -> None:
    compare(page, prompt, until="")
    expect(page.get_by_role("alert")).to_have_text(message)
    marked = page.locator("[aria-invalid]").evaluate_all("found => found.map(e => e.id)")
    assert marked == ([field] if field else [])
    if field:
        expect(page.locator(f"#{field}")).to_be_focused()
    assert page.locator(".pending").count() == 0
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    compare(page, "the king")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert page.locator("[aria-invalid]").count() == 0


def test_fields_out_of_range_are_not_sent(page: Page, backend: Backend) -> None:
    compare(page, "the king", until="", Samples=33)
    expect(page.get_by_role("alert")).to_contain_text("Samples: ")
    page.get_by_label("Samples", exact=True).fill("2")
    for box in page.get_by_role("group", name="Models").get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Choose a model.")
    assert backend.asked == []


def test_one_failed_sample_leaves_the_others(page: Page) -> None:
    compare(page, "one fails", Samples=2)
    assert page.get_by_role("region", name="base").locator(".mark.none").all_inner_texts() == [
        "failed: the engine of base broke off"
    ]
    assert page.locator(".value").all_inner_texts() == ["0.910", "0.910"]


def test_service_that_is_gone_is_told(page: Page) -> None:
    page.route("**/v1/compare", lambda route: route.abort())
    compare(page, "the king", until="")
    expect(page.get_by_role("alert")).to_have_text("The service cannot be reached. Is it still running?")
    page.unroute_all()


def test_link_fills_the_form_and_starts_nothing(page: Page, backend: Backend) -> None:
    compare(page, "a & b <b>", Samples=2, Temperature=0.5)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status")).to_have_text("Link copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url and "?" not in link  # the prompt stays behind the "#": no server's log sees it
    backend.asked.clear()
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("status")).to_have_text("Filled in from a link: press Compare.")
    assert page.get_by_label("Prompt", exact=True).input_value() == "a & b <b>"
    assert page.get_by_label("Temperature", exact=True).input_value() == "0.5"
    assert backend.asked == []
    hostile = urlencode({"prompt": HOSTILE, "models": "base,evil", "samples": "x", "language": "__proto__"})
    page.goto(f"{backend.url}/#{hostile}")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(HOSTILE)
    assert page.locator("#language").input_value() == ""
    checked = (
        page.get_by_role("group", name="Models").locator(":checked").evaluate_all("found => found.map(e => e.value)")
    )
    assert checked == ["base"]


def test_request_is_copied_as_curl_and_as_python(page: Page, backend: Backend) -> None:
    prompt = 'it\'s "so" $HOME `id` \\ \n</script> كلب'
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("status")).to_have_text("curl command copied.")
    words = shlex.split(page.evaluate("navigator.clipboard.readText()").replace("\\\n", " ", 2))
    assert words[:2] == ["curl", f"{backend.url}/v1/compare"]
    assert json.loads(words[words.index("-d") + 1])["prompt"] == prompt
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_role("status")).to_have_text("Python copied.")
    code = page.evaluate("navigator.clipboard.readText()")
    calls: list[tuple[str, dict[str, object]]] = []

    class Client:
        def __init__(self, url: str):
            assert url == backend.url

        def compare(self, prompt: str, **options: object) -> SimpleNamespace:
            calls.append((prompt, options))
            return SimpleNamespace(summaries=[])

    exec(code.replace("from detox_ray.client import Client", ""), {"Client": Client})
    options = {"samples": 5, "seed": 0, "temperature": 0.9, "top_p": 0.8, "max_tokens": 20}
    assert calls == [(prompt, {"models": ["detox", "base"], **options})]


def test_text_to_copy_is_shown_where_the_clipboard_is_closed(page: Page) -> None:
    page.evaluate(NO_CLIPBOARD)
    page.get_by_label("Prompt", exact=True).fill("the king")
    page.get_by_role("button", name="Copy as curl").click()
    assert page.get_by_label("Text to copy").input_value().startswith("curl 'http")
    assert page.evaluate("String(getSelection())").startswith("curl 'http")


def test_key_is_asked_for_kept_in_the_tab_and_never_in_what_is_copied(browser: Browser) -> None:
    with answering(Backend(keyed=True)) as backend:
        page = browser.new_page()
        page.goto(backend.url)
        key = page.get_by_label("API key")
        expect(page.get_by_text("This service needs an API key.")).to_be_visible()
        key.fill("wrong")
        key.press("Enter")
        expect(page.get_by_text("The service rejected this key")).to_be_visible()
        key.fill(backend.key)
        key.press("Enter")
        compare(page, "the king", Samples=1)
        expect(key).to_be_hidden()
        page.evaluate(NO_CLIPBOARD)
        for name in ("Copy link", "Copy as curl", "Copy as Python"):
            page.get_by_role("button", name=name).click()
            text = page.get_by_label("Text to copy").input_value()
            assert backend.key not in text
            assert name == "Copy link" or "DETOX_RAY_KEY" in text
        assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        page.reload()
        expect(page.get_by_role("button", name="Compare", exact=True)).to_be_visible()  # the tab still has it
        page.close()


def test_phone_shows_everything_without_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 375, "height": 700})
    compare(page, "the king " * 30 + "x" * 300)
    expect(page.locator("#legend")).to_be_in_viewport()  # what is written is seen without a search
    page.get_by_label("Show texts without blur").check()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    boxes = [column.bounding_box() for column in page.locator(".column").all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 375 for box in boxes)


def test_every_control_has_a_name_and_focus_is_seen(page: Page) -> None:
    compare(page, "the king")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea')].filter(e =>
            !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).length"""
    )
    assert nameless == 0
    for control in ("#prompt", "#examples-of", ".chip", "#models input", "#samples", "#go", "button.veil"):
        page.locator(control).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert "solid" in outline or "auto" in outline, control


def test_text_is_legible_in_light_and_dark_and_stands_still_where_asked(page: Page) -> None:
    compare(page, "the king")

    def luminance(selector: str, style: str) -> float:
        colour = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{style}")
        parts = (int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme, dark in (("light", False), ("dark", True)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        ground = luminance("body", "backgroundColor")
        assert ground < 0.05 if dark else ground > 0.9
        for selector in (".mark.toxic", ".mark.mild", ".mark.none", ".mark.astray", ".muted", "#title", ".value"):
            light, deep = sorted((luminance(selector, "color"), ground), reverse=True)
            assert (light + 0.05) / (deep + 0.05) >= 4.5, (scheme, selector)  # WCAG AA
        light, deep = sorted((luminance("#go", "color"), luminance("#go", "backgroundColor")), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, scheme
    assert page.locator("button.veil bdi").first.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"


def test_events_are_read_however_the_network_cuts_them(page: Page) -> None:
    said = 'event: token\r\ndata: {"text": "كلب 🐕"}\r\n\r\n: ping\n\nevent: done\ndata: {}\n\nevent: cut\ndata: {'
    for size in (1, 2, 3, 7, 1000):
        found = page.evaluate(
            """async ([said, size]) => {
                const { events } = await import("/static/service.js");
                const bytes = new TextEncoder().encode(said), found = [];
                const body = new ReadableStream({ start(to) {
                    for (let i = 0; i < bytes.length; i += size) to.enqueue(bytes.slice(i, i + size));
                    to.close();
                } });
                for await (const event of events(new Response(body))) found.push(event);
                return found;
            }""",
            [said, size],
        )
        assert found == [["token", {"text": "كلب 🐕"}], ["done", {}]], size
