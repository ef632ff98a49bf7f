"""A real browser without a screen, for pages that people open: Chromium, driven by selenium, its profile its own."""

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

NEEDED = "TESTS_NEED_CHROMIUM"
"""Where this variable is set, as `.ci/run` does where it could install one, a missing browser is a failure."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """One window. What a page says, asks for and shows is looked at from outside, since it may run no script."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int) -> None:
        """Open a file in a window of this width; what was said and asked for before is forgotten."""
        self.driver.get("about:blank")
        self.said(), self.asked_for()
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get(page.absolute().as_uri())

    def found(self, expression: str) -> Any:
        """The value of an expression in the page, as the tools of developers would tell it."""
        return self.driver.execute_script(f"return {expression}")

    def said(self) -> list[str]:
        """What stands in the console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def asked_for(self) -> list[str]:
        """The addresses of all requests since the last look."""
        entries = [orjson.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [one["params"]["request"]["url"] for one in entries if one["method"] == "Network.requestWillBeSent"]

    def printed(self) -> bytes:
        """The page as a PDF."""
        told = self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        return base64.b64decode(told["data"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of one's own; the test is left out where this machine has none, unless it is needed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        assert NEEDED not in os.environ, "a browser is needed here, and chromium or chromedriver is not on the PATH"
        pytest.skip("no chromium with chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)")
    profile = tempfile.mkdtemp(prefix="vb-browser-")
    options = Options()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(window)
    finally:
        window.quit()
        shutil.rmtree(profile, ignore_errors=True)
