"""Whatever a repository or a configuration holds: nothing of it acts, and every answer is ours.

A payload proves itself by a canary, a file that it would make. None appears.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dataops_dagster.text import inert_lines
from tests.bad_server import World, nothing_is_left
from tests.conftest import PROJECT_FILES, make_shop, promote_all_the_way
from tests.hostile import PAYLOADS, SECRET, Site
from tests.hostile_acts import MELTANO, TEXT, Told, acts, world_at

only = pytest.mark.parametrize
SIDES = ("dev", "staging")
PUT = [
    pytest.param(payload, side, id=f"{payload} in {side}")
    for payload in PAYLOADS
    for side in (SIDES[:1] if payload.server else SIDES)
]


def those(*, huge: bool = False, hangs: bool = False) -> list:
    return [put for put in PUT if (put.values[0].huge, put.values[0].hangs) == (huge, hangs)]


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A Meltano project that went all the way to production."""
    root = tmp_path_factory.mktemp("template")
    shop = make_shop(root, TEXT)
    shop.dev.commit({**PROJECT_FILES, "meltano.yml": MELTANO}, "Initial commit")
    for workspace in (shop.staging, shop.prod):
        workspace.commit({"README.md": "# of its own\n"}, "Initial commit")
    promote_all_the_way(shop)
    for hooks in root.rglob("hooks"):
        shutil.rmtree(hooks)
    return root


@pytest.fixture
def world(tmp_path: Path, template: Path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True, symlinks=True)
    shutil.rmtree(tmp_path / "cache")
    with nothing_is_left(tmp_path):
        yield world_at(tmp_path)


def site(world: World, side: str) -> Site:
    return Site(getattr(world.shop, side), world.root / "CANARY")


def is_harmless(told: Told, world: World) -> None:
    """Assert that an act came to an answer of ours, and nothing acted or was told on the way."""
    assert not (world.root / "CANARY").exists(), told
    assert not told.wrong, told
    assert "Traceback" not in told.said, told
    assert told.said == inert_lines(told.said), told
    assert SECRET not in told.said, told


# --- repositories -----------------------------------------------------------------------------


@pytest.mark.slow
@only(("payload", "side"), those())
def test_no_payload_acts_whatever_is_done_with_its_repository(world: World, payload, side):
    payload.plant(site(world, side))
    for told in acts(world, side):
        is_harmless(told, world)
