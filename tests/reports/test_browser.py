"""The page as a browser shows it: nothing fetched, nothing run, nothing that a reader cannot reach."""

import os
import shutil
from pathlib import Path

import pytest
from samples import PEOPLE, fairness_report, hostile_report, sample_report

from audit.reports.html import render
from audit.reports.notebook import NotebookReport
from audit.reports.render import write

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REPORTS = {
    "plain": sample_report(),
    "hostile": hostile_report(),
    "large": sample_report(attributes={"race": PEOPLE, "age": PEOPLE}, suppress_below=60),
    "ungated": sample_report(gates=False, complete=False),
    "fairness": fairness_report(),
}


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def axe():
    places = [os.environ.get("AUDIT_AXE", ""), str(ROOT / ".venv/axe/node_modules/axe-core/axe.min.js")]
    found = next((Path(place) for place in places if place and Path(place).is_file()), None)
    if found is None:
        pytest.skip("axe-core is not installed: npm install --prefix .venv/axe axe-core, or set AUDIT_AXE")
    return found.read_text("utf-8")


@pytest.fixture(scope="module", params=REPORTS)
def file(request, tmp_path_factory):
    return write(render(REPORTS[request.param]), tmp_path_factory.mktemp("page") / "report.html")


def show(browser, file, **settings):
    context = browser.new_context(offline=True, **settings)
    page = context.new_page()
    requests, trouble = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.goto(file.as_uri())
    return context, page, requests, trouble


def test_nothing_is_fetched_and_nothing_goes_wrong(browser, file):
    context, page, requests, trouble = show(browser, file)
    page.wait_for_load_state("networkidle")
    assert requests == [file.as_uri()]
    assert trouble == []
    context.close()


def test_the_text_is_the_same_with_and_without_javascript(browser, file):
    texts = []
    for allowed in (True, False):
        context, page, _, _ = show(browser, file, java_script_enabled=allowed)
        texts.append(page.inner_text("body"))
        context.close()
    assert texts[0] == texts[1]
    assert len(texts[0]) > 3000


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_no_wider_than_the_window(browser, file, width):
    context, page, _, _ = show(browser, file, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing(browser, file, axe, scheme, width):
    context, page, _, _ = show(browser, file, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate(axe)
    run = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    found = page.evaluate(
        f"{run}.then(r => r.violations.map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)]))"
    )
    assert found == []
    context.close()


def test_paper_shows_every_detail_on_white(browser, file):
    context, page, _, _ = show(browser, file, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    heights = page.eval_on_selector_all(
        "details > :not(summary)", "parts => parts.map(p => p.getBoundingClientRect().height)"
    )
    assert all(height > 0 for height in heights)
    wide = page.eval_on_selector_all(
        "main *", "all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    context.close()


def test_a_sheet_of_paper_loses_no_column(browser, file):
    context, page, _, _ = show(browser, file, viewport={"width": 673, "height": 952})  # A4 less its margins, at 96 dpi
    page.emulate_media(media="print")
    edges = page.eval_on_selector_all("td, th", "all => Math.max(...all.map(e => e.getBoundingClientRect().right))")
    assert edges <= 674
    context.close()


def test_a_notebook_frame_leaves_the_notebook_alone(browser, tmp_path):
    host = f"<!DOCTYPE html><title>n</title><h1>Mine</h1>{NotebookReport.of(REPORTS['hostile'])._repr_html_()}"
    context, page, requests, trouble = show(browser, write(host, tmp_path / "notebook.html"))
    alone, alone_page, _, _ = show(
        browser, write("<!DOCTYPE html><title>n</title><h1>Mine</h1>", tmp_path / "alone.html")
    )
    look = "e => ['fontFamily', 'fontSize', 'color', 'letterSpacing'].map(k => getComputedStyle(e)[k])"
    assert page.eval_on_selector("h1", look) == alone_page.eval_on_selector("h1", look)
    assert "undecided" in page.frame_locator("iframe").locator("#verdict").inner_text()
    assert len([url for url in requests if not url.startswith("about:")]) == 1
    assert trouble == []
    context.close()
    alone.close()
