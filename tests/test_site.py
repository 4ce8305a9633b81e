"""The site of the documentation: it builds without a warning, and asks nobody when it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dataops_dagster import config
from dataops_dagster.cli import main
from tests.pages import ROOT
from tests.test_docs import commands

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

LOADED = re.compile(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"?(https?://[^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_page_loads_nothing_from_elsewhere(site: Path):
    pages = list(site.rglob("*.html"))
    assert pages
    asked = {url for page in pages for url in LOADED.findall(page.read_text())}
    assert {url for url in asked if "/sitemap" not in url} == set()


def test_every_key_and_every_command_is_in_the_reference(site: Path):
    keys = (site / "reference" / "keys" / "index.html").read_text()
    for part in config.schema()["$defs"].values():
        assert all(f"<code>{key}</code>" in keys for key in part.get("properties", ()))
    told = (site / "reference" / "commands" / "index.html").read_text()
    for name, _ in commands(main):
        assert f"dataops {name}" in told
