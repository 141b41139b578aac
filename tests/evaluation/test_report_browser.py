from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fakes.studies import FakeStudy
from rlco_evaluation.report import document

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no system chromium")


@pytest.fixture(scope="module")
def report(finished: FakeStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    document.write(*document.load_inputs(finished.inputs), out)
    return out


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_report_opens_from_a_file_without_a_complaint(browser, report, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".forest circle").count() == 6
    assert page.locator(".cell.success").count() > 30
    broken = "Array.from(document.images).filter(i => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(int(v) for v in background[4:-1].split(",")) < 3 * 128
    assert dark == (scheme == "dark")
    outside = """Array.from(document.querySelectorAll('.forest circle')).filter(c => {
        const dot = c.getBoundingClientRect(), track = c.ownerSVGElement.getBoundingClientRect();
        return dot.left < track.left - 8 || dot.right > track.right + 8; }).length"""
    assert page.evaluate(outside) == 0
    page.close()


def test_the_report_prints_on_white(browser, report, tmp_path):
    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.close()
