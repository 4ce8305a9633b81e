"""What a machine keeps of a project's repositories, however much they hold, is limited."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from dataops_dagster import config, remotes
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.git import Access, TooMuch
from dataops_dagster.model import Promoted
from dataops_dagster.remotes import wire
from dataops_dagster.store import Store
from tests.conftest import SHOP, Shop
from tests.repositories import git

MB = 1_000_000
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["by the protocol", "by git's command"])


def limited(shop: Shop, limit: int) -> Shop:
    """Return the shop on a machine that may keep so many bytes, with what it keeps already."""
    return dataclasses.replace(shop, store=Store(shop.root / "cache", "shop", limit=limit))


def reach(shop: Shop, monkeypatch: pytest.MonkeyPatch, *, plain: bool) -> None:
    """Reach the repositories in one of the two ways."""
    urls = {workspace.repository for workspace in shop.project.workspaces.values()}
    monkeypatch.setattr(remotes, "_plain", urls if plain else set())


def kept(shop: Shop) -> int:
    """Return how many bytes the cache holds."""
    files = (path for path in (shop.root / "cache").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def random(megabytes: int) -> bytes:
    """Return bytes that cannot be packed smaller."""
    return os.urandom(megabytes * MB)


@BOTH
def test_a_file_beyond_the_limit_is_refused_and_leaves_nothing(shop: Shop, monkeypatch, plain):
    reach(shop, monkeypatch, plain=plain)
    before = shop.staging.head
    shop.dev.commit({"huge.bin": random(5)}, "Add what is huge")
    with pytest.raises(ToolError, match=r"cache_limit") as refused:
        limited(shop, 2 * MB).promote("staging")
    assert refused.value.hint
    assert shop.staging.head == before
    assert kept(shop) < 2 * MB
    assert isinstance(limited(shop, 20 * MB).promote("staging"), Promoted)


@pytest.mark.slow
@BOTH
def test_files_that_are_too_much_together_are_refused(shop: Shop, monkeypatch, plain):
    reach(shop, monkeypatch, plain=plain)
    machine = limited(shop, 5 * MB)
    for number in range(2):
        shop.dev.commit({f"{number}.bin": random(3)}, "Add what is large")
        if not number:
            assert isinstance(machine.promote("staging"), Promoted)
    shop.dev.commit({"2.bin": random(3)}, "Add what is large")
    with pytest.raises(ToolError, match=r"cache_limit"):
        machine.promote("staging")
    assert kept(shop) < 2 * 5 * MB
    assert isinstance(limited(shop, 20 * MB).promote("staging"), Promoted)


def test_a_small_repository_that_stands_for_much_is_not_exported(shop: Shop, tmp_path: Path):
    machine = limited(shop, 2 * MB)
    shop.dev.commit({f"{number}.bin": bytes(MB) for number in range(3)}, "Say little often")
    assert isinstance(machine.promote("staging"), Promoted)
    (tmp_path / "files").mkdir()
    with pytest.raises(ToolError, match=r"cache_limit"):
        machine.store.export(shop.staging.head, tmp_path / "files")
    assert not list((tmp_path / "files").iterdir())
    limited(shop, 20 * MB).store.export(shop.staging.head, tmp_path / "files")
    assert (tmp_path / "files" / "2.bin").stat().st_size == MB


def test_many_small_files_count_as_what_they_take_on_a_disk(shop: Shop, tmp_path: Path):
    shop.dev.commit({f"{number}.txt": "" for number in range(1000)}, "Say nothing often")
    machine = limited(shop, 2 * MB)
    assert isinstance(machine.promote("staging"), Promoted)
    (tmp_path / "files").mkdir()
    with pytest.raises(ToolError, match=r"cache_limit"):
        machine.store.export(shop.staging.head, tmp_path / "files")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["file", "http"])
def test_an_answer_is_read_no_further_than_there_is_room(shop: Shop, smart_http, protocol):
    commit = shop.dev.commit({"huge.bin": random(9)}, "Add what is huge")
    url = smart_http(shop.root).url + "/dev.git" if protocol == "http" else shop.dev.bare.as_uri()
    service = remotes.Remote(Access(url, "workspaces.dev", (protocol,)), str(shop.root))._service
    request = wire.fetch_request([commit], [], thin=False, without_blobs=False)
    with pytest.raises(TooMuch):
        service.call("git-upload-pack", request, 30, most=MB)
    service.call("git-upload-pack", request, 30, most=10 * MB).close()


def test_tags_that_fill_the_cache_are_the_last(shop: Shop):
    machine = limited(shop, 2 * MB)
    assert isinstance(machine.promote("staging"), Promoted)
    for number in range(3):
        (shop.root / "blob").write_bytes(random(1))
        blob = git(shop.staging.bare, "hash-object", "-w", str(shop.root / "blob"))
        git(shop.staging.bare, "tag", f"dataops/shop/staging/{number}", blob)
    where = Access.of(shop.project, shop.project.workspaces["staging"])
    with pytest.raises(ToolError, match=r"cache_limit"):
        machine.store.fetch_tags(where, "refs/tags/dataops/shop/staging")
    assert kept(shop) < 2 * MB


def test_the_projects_limit_is_its_caches(tmp_path: Path):
    (tmp_path / "dataops.yaml").write_text(f"cache_limit: 1.5 GB\n{SHOP}")
    assert config.load(tmp_path / "dataops.yaml").cache_limit == 1500 * MB


@pytest.mark.parametrize("said", ["much", "5 parsecs", "-5GB", "0", "true"])
def test_what_is_no_size_is_told_with_its_line(tmp_path: Path, said):
    (tmp_path / "dataops.yaml").write_text(f"cache_limit: {said}\n{SHOP}")
    with pytest.raises(ConfigError, match=r"dataops\.yaml:1.*cache_limit") as refused:
        config.load(tmp_path / "dataops.yaml")
    assert "byte" not in str(refused.value)
