"""Dagster's UI on the demo's world, as a person sees it in Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dataops_dagster.demo import daemon
from dataops_dagster.demo.world import World
from tests.pages import blocks
from tests.repositories import git
from tests.telling import demo, processes_of, unused_port, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("daemon")]

GROUP = f"/locations/{daemon.DEFINITIONS}/asset-groups/shop"
PROD = "/assets/shop/prod"
LIMIT_MS = 120_000
"""How long a thing may take to show; far more than it does."""


@dataclass(frozen=True)
class Ui:
    """The demo after it was told, its daemon and webserver running."""

    world: World
    url: str


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/server_info", timeout=20).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def ui(meltano_command: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home, port = tmp_path_factory.mktemp("browser") / "demo", unused_port()
    shown = Ui(World(home), f"http://127.0.0.1:{port}")
    process = demo(home, meltano_command, "--open", "--port", str(port))
    try:
        wait_for("Dagster's UI", lambda: answers(shown.url) or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        yield shown
    finally:
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert "no process is left" in said
    assert processes_of(home) == []


@pytest.fixture
def page(ui: Ui) -> Iterator[Page]:
    """An empty page of a browser that reaches this machine only."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    assert chromium, "python3 dev.py test -m slow installs it; on Debian: apt install chromium"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium,
            # By this its processes are known as the demo's, and missed when they stay.
            env={**os.environ, "HOME": str(ui.world.home / "browser")},
            args=[
                "--no-sandbox",  # it would not start as root
                "--disable-dev-shm-usage",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            ],
        ) as browser,
    ):
        made = browser.new_page(base_url=ui.url, viewport={"width": 1500, "height": 1100})
        made.set_default_timeout(LIMIT_MS)
        yield made


def wait_for_text(place: Page | Locator, text: str) -> None:
    place.get_by_text(text).first.wait_for()


def test_the_asset_graph_shows_the_projects_assets(page: Page):
    page.goto(GROUP)
    nodes = page.locator("foreignObject")
    for name in ("dev", "staging", "prod", "deployment", "decisions"):
        nodes.get_by_text(name, exact=True).wait_for()
    wait_for_text(nodes.filter(has=page.get_by_text("staging", exact=True)), "1 / 3 Passed")
    wait_for_text(nodes.filter(has=page.get_by_text("prod", exact=True)), "Unsynced")


def test_the_check_of_a_blocked_production_says_why(page: Page):
    page.goto(f"{PROD}?view=checks&checkDetail=gate")
    wait_for_text(page, "Failed")
    page.get_by_text("[Show Markdown]").click()
    told = page.get_by_role("dialog")
    wait_for_text(told, "waits for a successful run of staging in environment staging")
    wait_for_text(told, "the users file data/new.jsonl does not exist")
    wait_for_text(told, "[whoever can mend staging]")


def test_materializing_a_blocked_production_fails_and_says_why(ui: Ui, page: Page):
    before = git(ui.world.repository("prod"), "rev-parse", "main")
    page.goto(PROD)
    page.get_by_role("button", name="Materialize").click()
    page.get_by_text("View", exact=True).click()  # in the note that it was launched
    page.wait_for_url("**/runs/*")
    wait_for_text(page, "not yet: the gate of prod is closed")
    wait_for_text(page, "the users file data/new.jsonl does not exist")
    assert git(ui.world.repository("prod"), "rev-parse", "main") == before


def test_a_promotion_from_the_launchpad_goes_through(ui: Ui, page: Page):
    (override,) = (b.text for b in blocks("yaml", "ops:\n") if "override_gate: true" in b.text)
    page.goto(PROD)
    page.get_by_role("button", name="Materialize").wait_for()
    launchpad = page.get_by_role("menuitem", name="Open launchpad")

    def is_open() -> bool:
        """Open the menu: while the page still loads, it is drawn anew, and shut."""
        page.keyboard.press("Escape")
        page.get_by_role("button").filter(has=page.get_by_label("arrow_drop_down")).first.click()
        page.wait_for_timeout(1_000)
        return launchpad.is_visible()

    wait_for("the menu of the button", is_open)
    launchpad.click()
    page.locator(".CodeMirror").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(override)
    page.get_by_role("dialog").get_by_role("button", name="Materialize").click()
    page.wait_for_url("**/runs/*")
    wait_for_text(page, "RUN_SUCCESS")
    prod, staging = ui.world.repository("prod"), ui.world.repository("staging")
    tip = git(staging, "rev-parse", "main")
    assert git(prod, "merge-base", "--is-ancestor", tip, "main") == ""
    record = git(prod, "for-each-ref", "--format=%(contents)", "--points-at=main", "refs/tags")
    assert "agreed with Bo, the export is fixed by hand" in record
