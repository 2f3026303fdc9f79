"""A report in a real browser: what a reader clicks, and what the browser does meanwhile."""

import json
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from snaprun.report import report
from tests.report.conftest import MARKUP

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium or chromedriver on the path (Debian: apt install chromium chromium-driver)",
)
PATIENCE = 60  # seconds; a busy machine opens a page slowly


@pytest.fixture
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


def until(browser, condition):
    WebDriverWait(browser, PATIENCE).until(lambda _: condition())


def wait(browser, condition):
    """Wait until a JavaScript expression is true."""
    until(browser, lambda: browser.execute_script(f"return {condition}"))


def opened(browser, page: Path):
    browser.get(page.as_uri())
    wait(browser, "document.documentElement.dataset.ready === 'yes'")


def column(browser, name):
    """The texts of a column of the runs, from top to bottom."""
    return browser.execute_script(
        """
        const table = document.getElementById("table-runs");
        const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
        const at = titles.indexOf(arguments[0]);
        return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent.trim());
        """,
        name,
    )


def click_heading(browser, name):
    (heading,) = (
        cell
        for cell in browser.find_elements(By.CSS_SELECTOR, "#table-runs thead th")
        if cell.text.strip() == name
    )
    browser.execute_script("arguments[0].scrollIntoView({inline: 'center'})", heading)
    heading.click()


def requested(browser):
    """The addresses of all requests since this was asked last."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def line(browser, label, key):
    """A key of a line of the first chart, as plotly.js has it."""
    return browser.execute_script(
        """
        const [name, key] = arguments, { data } = document.querySelector(".plot");
        return data.find((one) => one.name === name && one.mode === "lines+markers")[key];
        """,
        label,
        key,
    )


def test_a_reader_sorts_filters_hides_and_picks(browser, runs):
    opened(browser, report([runs]))
    assert browser.title == "runs – snaprun report"

    levels = sorted(column(browser, "level"), key=float)
    assert column(browser, "level") != levels
    for order, expected in (("ascending", levels), ("descending", levels[::-1])):
        click_heading(browser, "level")
        until(browser, lambda expected=expected: column(browser, "level") == expected)
        heading = browser.find_element(By.CSS_SELECTOR, "#table-runs th[aria-sort]")
        assert (heading.text.strip(), heading.get_attribute("aria-sort")) == ("level", order)

    browser.find_element(By.CSS_SELECTOR, "#runs input[type=search]").send_keys("frozen")
    until(browser, lambda: column(browser, "run") == ["frozen-1", "frozen-0"])

    # The filter hides rows, but a run stays the one that was picked.
    browser.find_element(By.CSS_SELECTOR, "#table-runs .pick").click()
    (row,) = browser.find_elements(By.CSS_SELECTOR, "#table-runs tr.picked")
    assert row.text.endswith("frozen-1")
    browser.execute_script("document.getElementById('curves').scrollIntoView()")
    wait(browser, "document.querySelector('.plot')?.data")
    names = browser.execute_script("return document.querySelector('.plot').data.map((x) => x.name)")
    assert [name for name in names if name and name.startswith("run ")] == [
        "run 6: frozen, seed 1",
    ]

    buttons = browser.find_elements(By.CSS_SELECTOR, ".modebar-btn")
    assert buttons
    assert not any("Share" in one.get_attribute("data-title") for one in buttons)
    assert line(browser, "BPTT", "visible") is None
    (entry,) = (
        one
        for one in browser.find_elements(By.CSS_SELECTOR, ".plot .legend .traces")
        if one.text == "BPTT"
    )
    ActionChains(browser).move_to_element(entry).click().perform()
    wait(browser, "document.querySelector('.plot').data.some((x) => x.visible === 'legendonly')")
    assert line(browser, "BPTT", "visible") == "legendonly"
    assert line(browser, "frozen", "visible") is None

    assert line(browser, "frozen", "x") == [100, 200, 300]
    browser.execute_script(
        "const c = document.getElementById('counter'); c.value = 'seconds';"
        "c.dispatchEvent(new Event('change'))"
    )
    assert line(browser, "frozen", "x") == pytest.approx([0.1])
    assert line(browser, "BPTT", "visible") == "legendonly"

    common = browser.find_element(By.ID, "common").text
    assert "units: 24" in common
    assert MARKUP in " ".join(common.split())
    assert (
        browser.execute_script(
            "return [...document.images].map((one) => one.complete && one.naturalWidth > 0)"
        )
        == [True] * 3
    )

    assert {address.split(":")[0] for address in requested(browser)} <= {"file", "blob", "data"}
    assert browser.get_log("browser") == []
    assert browser.title == "runs – snaprun report"

    # Nothing is asked of the network, and nothing could be.
    browser.execute_async_script("fetch('http://127.0.0.1:9/').catch(arguments[0])")
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert any("127.0.0.1" in line and "Content Security Policy" in line for line in said)
