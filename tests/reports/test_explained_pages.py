"""Pages of pictures and of sentences as a browser shows them."""

import pytest
from test_browser import axe, browser, show

pytestmark = pytest.mark.browser
__all__ = ["axe", "browser"]  # fixtures


@pytest.mark.parametrize("name", ["digits", "winogender"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_explanations_are_for_every_reader(browser, axe, explained, name, scheme, width):
    file = explained(name) / "out" / "report.html"
    context, page, requests, trouble = show(
        browser, file, color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    page.wait_for_load_state("networkidle")
    assert requests == [file.as_uri()] or all(url.startswith(("file:", "data:")) for url in requests)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = page.eval_on_selector_all(
        "svg text", "all => all.filter(t => t.getBBox().x < -1 && !t.hasAttribute('transform')).map(t => t.textContent)"
    )
    assert clipped == []
    page.evaluate(axe)
    run = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    found = page.evaluate(
        f"{run}.then(r => r.violations.map(v => [v.id, v.nodes.length, v.nodes[0].html.slice(0, 200)]))"
    )
    assert found == []
    assert trouble == []
    context.close()
