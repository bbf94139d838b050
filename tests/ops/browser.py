"""A real Chromium, and what a person or a camera would find on the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

_QUIET: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)


DESK: Final[ViewportSize] = {"width": 1280, "height": 900}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium as the system has it; without one the test is skipped, and the summary says what to install."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium to look at the page with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, with everything that it asked for and complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))


@contextmanager
def a_page(browser: Browser, size: ViewportSize = DESK, *, dark: bool = False) -> Iterator[Watched]:
    """A new person's page: nothing is remembered."""
    context = browser.new_context(
        viewport=size,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        timezone_id="UTC",
    )
    try:
        context.clock.install()  # Time goes on as always, and a test may make it go faster.
        yield Watched(context.new_page())
    finally:
        context.close()


def painted_share(page: Page, canvas: str) -> float:
    """How much of a canvas is painted at all: its background is transparent."""
    share: float = page.eval_on_selector(
        canvas,
        """canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let painted = 0;
            for (let i = 3; i < data.length; i += 4) if (data[i] > 0) painted += 1;
            return painted / (data.length / 4);
        }""",
    )
    return share


def faint_texts(page: Page) -> list[dict[str, Any]]:
    """
    Texts below WCAG AA: a contrast of 4.5, or 3 for large ones.

    Colours are as computed, behind a text is the nearest background that is not see-through, and of a background
    image, such as stripes, each of its colours.
    """
    faint: list[dict[str, Any]] = page.evaluate(_FAINT)
    return faint


_FAINT: Final = r"""() => {
    const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (text) => {
        probe.clearRect(0, 0, 1, 1);
        probe.fillStyle = text;
        probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const style = getComputedStyle(each);
            const stripes = style.backgroundImage.match(/(rgba?|color|oklch|lab)\([^)]*\)/g);
            if (stripes) return stripes.map(rgba);
            const flat = rgba(style.backgroundColor);
            if (flat[3] === 255) return [flat];
        }
        return [rgba('white')];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        const text = node.textContent.trim();
        const box = element.getBoundingClientRect();
        if (!text || element.closest('noscript, .unseen, script') || !box.width || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const size = parseFloat(style.fontSize);
        const wanted = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
        for (const ground of behind(element)) {
            const [a, b] = [light(rgba(style.color)), light(ground)].sort((x, y) => y - x);
            const contrast = (a + 0.05) / (b + 0.05);
            if (contrast < wanted) found.push({text: text.slice(0, 40), contrast, color: style.color, ground});
        }
    }
    return found;
}"""
