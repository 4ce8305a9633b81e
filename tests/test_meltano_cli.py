"""`dataops config` tells what is set in a workspace, and how workspaces differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Shop
from tests.meltano_examples import SEED, SHOP, edited
from tests.test_cli import configured, dataops  # noqa: F401  # a fixture

pytestmark = pytest.mark.usefixtures("configured")

SECRET = SEED.replace("client_id", "client_secret")


@pytest.fixture
def project(shop: Shop) -> Shop:
    """The example of the guide, in all three workspaces."""
    for workspace in (shop.dev, shop.staging, shop.prod):
        workspace.commit({"meltano.yml": SEED})
    return shop


@pytest.mark.usefixtures("project")
def test_the_domain_that_staging_and_prod_do_not_share_is_told_with_its_layers():
    done = dataops("config", "diff", "staging", "prod", "--json")
    assert done.code == 0
    differing = {row["setting"]: row for row in done.json["settings"]}
    assert differing["domain"] == {
        "plugin": "tap-auth0",
        "setting": "domain",
        "one": "matatika-staging.eu.auth0.com",
        "one_layer": "base",
        "other": "matatika.eu.auth0.com",
        "other_layer": "environment",
    }
    assert differing["client_id"]["other"] == "u4kcVHKUD9lkbUbXA3eXCt88scStaqHM"
    assert set(differing) == {"domain", "client_id"}


def test_a_difference_is_a_table_for_people_without_what_is_a_secret(project: Shop):
    for workspace in (project.staging, project.prod):
        workspace.commit({"meltano.yml": SECRET})
    done = dataops("config", "diff", "staging", "prod", "--plugin", "tap-auth0")
    assert done.code == 0
    assert "matatika-staging.eu.auth0.com" in done.out
    assert "another (secret)" in done.out
    assert "4Zd5QXqHKNoKq4ySx8CP1UBm5eIUgh7t" not in done.out


def test_workspaces_at_one_commit_and_in_one_environment_do_not_differ(project: Shop):
    done = dataops("config", "diff", "staging@prod", "prod")
    assert (done.code, done.out) == (0, "staging@prod and prod do not differ\n")
    project.prod.commit(
        {"meltano.yml": edited(("domain: matatika.eu", "domain: new.eu"), text=SEED)}
    )
    assert "new.eu.auth0.com" in dataops("config", "diff", "staging@prod", "prod").out


def test_a_difference_is_a_page_that_needs_nothing_else(project: Shop, tmp_path: Path):
    hostile = "<script>alert(1)</script>"
    project.staging.commit({"meltano.yml": SECRET})
    project.prod.commit({"meltano.yml": edited(("matatika.eu.auth0.com", hostile), text=SECRET)})
    page = tmp_path / "diff.html"
    assert dataops("config", "diff", "staging", "prod", "--html", str(page)).code == 0
    text = page.read_text()
    assert "<td>matatika-staging.eu.auth0.com</td>" in text
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in text
    for part in ("<script", "http:", "https:", "src=", "4Zd5QXqHKNoKq4ySx8CP1UBm5eIUgh7t"):
        assert part not in text


def test_plugins_and_jobs_that_only_one_has_are_told(project: Shop):
    project.prod.commit({"meltano.yml": SHOP})
    done = dataops("config", "diff", "staging", "prod", "--json")
    assert {part["name"] for part in done.json["parts"]} >= {"extractors tap-x", "load", "nightly"}
    (nightly,) = [part for part in done.json["parts"] if part["name"] == "nightly"]
    assert (nightly["old"], nightly["new"]) == ("", "0 3 * * *: load")


def test_everything_that_is_set_is_listed_with_its_layer_and_its_place(project: Shop):
    project.prod.commit({"meltano.yml": SHOP})
    done = dataops("config", "show", "prod", "tap-x", "--json")
    rows = {row["setting"]: row for row in done.json["settings"]}
    assert {row["plug-in"] for row in rows.values()} == {"tap-x"}
    assert rows["host"]["value"] == "prod.example.com"
    assert rows["host"]["layer"] == "environment"
    assert "prod.example.com" in SHOP.splitlines()[int(rows["host"]["at"].rpartition(":")[2]) - 1]
    assert rows["password"]["value"] == "$TAP_X_PASSWORD"
    assert (rows["batch"]["value"], rows["batch"]["layer"]) == ("10", "default")
    assert "prod.example.com" in dataops("config", "show", "shop/prod").out


def test_what_cannot_be_read_is_told_beside_what_can(project: Shop):
    project.prod.commit({"pipelines/load.yml": "a: [\n"})
    done = dataops("config", "show", "prod")
    assert done.code == 0
    assert "could not be read: pipelines/load.yml:" in done.out


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "qa"), "name one of shop/dev, shop/staging, shop/prod"),
        (("show", "prod@qa"), "defines no environment qa"),
        (("show", "prod", "tap-none"), "name one of tap-auth0"),
        (("diff", "prod", "staging", "--plugin", "tap-none"), "is no plug-in there"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(arguments, said):
    done = dataops("config", *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_workspace_that_is_no_meltano_project_is_told(shop: Shop):
    done = dataops("config", "show", "dev")
    assert done.code == 2
    assert "has no meltano.yml" in done.err
    assert shop.dev.head


@pytest.mark.usefixtures("empty_shop")
def test_a_workspace_without_a_commit_is_told():
    done = dataops("config", "show", "dev")
    assert done.code == 2
    assert "has no meltano.yml" in done.err


def test_a_page_that_cannot_be_written_is_told(project: Shop, tmp_path: Path):
    done = dataops("config", "diff", "staging", "prod", "--html", str(tmp_path / "no" / "x.html"))
    assert done.code == 3
    assert "no/x.html" in done.err.replace("\n", "")
    assert project.dev.head
