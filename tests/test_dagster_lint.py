"""The check `lint` in Dagster: what stands at a head is looked into, and every finding is shown."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.conftest import SHOP, make_shop
from tests.dagster_shop import DagsterShop
from tests.meltano_examples import SEED, edited
from tests.meltano_examples import SHOP as WELL_FORMED

PROJECT = SHOP.replace("command, command: [sh, run.sh]", "meltano, run: [load]").replace(
    "environment: staging}", "environment: staging, lint: {ignore: [likely-secret]}}"
)


@pytest.fixture
def shop(tmp_path) -> Iterator[DagsterShop]:
    """Staging is run by Meltano, and the gate of prod asks for lint."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(make_shop(tmp_path, PROJECT), instance)


def test_a_head_in_which_nothing_is_wrong_passes(shop: DagsterShop):
    shop.shop.prod.commit({"meltano.yml": WELL_FORMED})
    assert shop.look("prod", "lint").passed


def test_what_would_break_fails_and_is_listed(shop: DagsterShop):
    shop.shop.prod.commit(
        {"meltano.yml": edited(("[tap-x target-y]", "[tap-x target-z]"), text=WELL_FORMED)}
    )
    found = shop.look("prod", "lint")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.metadata["dataops/commit"].value == shop.shop.prod.head
    assert "job-plugin | meltano.yml:27" in found.metadata["dataops/findings"].md_str


def test_what_is_only_suspicious_warns(shop: DagsterShop, monkeypatch):
    monkeypatch.delenv("TAP_X_PASSWORD", raising=False)
    text = SEED.replace("tap-auth0\n    config", "tap-auth0\n    namespace: tap_auth0\n    config")
    shop.shop.staging.commit({"meltano.yml": text})
    found = shop.look("staging", "lint")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    told = found.metadata["dataops/findings"].md_str
    assert "inherited-setting" in told
    assert "4Zd5QXqHKNoKq4ySx8CP1UBm5eIUgh7t" not in told


def test_a_workspace_that_nobody_wants_linted_has_no_such_check(
    shop: DagsterShop, shop_without_lint
):
    def checked(defs: dg.Definitions) -> set[str]:
        keys = defs.resolve_asset_graph().asset_check_keys
        return {key.asset_key.path[-1] for key in keys if key.name == "lint"}

    assert checked(shop.defs) == {"staging", "prod"}
    assert checked(shop_without_lint.defs) == set()


@pytest.fixture
def shop_without_lint(tmp_path) -> Iterator[DagsterShop]:
    root = tmp_path / "other"
    root.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(make_shop(root), instance)
