"""Make the README's pictures from a finished run: its report's first screen, and the served page after a comparison.

    python scripts/pictures.py runs/toy17        docs/report.png and docs/serving.png

Needs Chromium on the PATH. Completions that count as toxic stay blurred, as a reader first sees them; the others are
shown, so that the picture says what changed.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

WINDOW = {"width": 1440, "height": 900}
START_S, ANSWER_S = 300.0, 120.0  # on a busy machine


@contextmanager
def chromium() -> Iterator[Browser]:
    """Launch the installed Chromium, and close it at the end."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise SystemExit("no Chromium on the PATH (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(run: str) -> Iterator[str]:
    """Serve a run until the block ends. Gives the service's URL."""
    command = [sys.executable, "-m", "detox_ray", "serve", run, "--port", "0"]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield _url(process, Path(log.name))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _url(process: "subprocess.Popen[str]", log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if address := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
            return address.group()
        time.sleep(0.5)
    raise SystemExit(f"the service did not start:\n{log.read_text()[-3000:]}")


def compare(page: Page, url: str) -> None:
    """Open the page at ``url``, run the comparison that it suggests, and show the completions that are not toxic."""
    page.goto(url)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Done.", timeout=1000 * ANSWER_S)
    for card in page.locator(".card:has(.mark.mild) button.veil").all():
        card.click()
    page.locator("h1").click()  # no element has the focus
    page.wait_for_timeout(500)  # until the blur has faded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures")
    args = parser.parse_args()
    report = Path(args.run, "report/index.html").resolve()
    if not report.exists():
        raise SystemExit(f"{report} does not exist: finish the run first (make demo)")
    with chromium() as browser:
        page = browser.new_page(viewport=WINDOW, color_scheme="light", locale="en-GB")
        page.goto(report.as_uri())
        page.wait_for_timeout(500)
        page.screenshot(path=args.out / "report.png")
        with served(args.run) as url:
            compare(page, url)
            page.screenshot(path=args.out / "serving.png", full_page=True)
    print(f"{args.out / 'report.png'} and {args.out / 'serving.png'} are made from {args.run}")


if __name__ == "__main__":
    main()
