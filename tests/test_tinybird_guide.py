"""The guide, step by step, by our commands and both real `tb`: docs/tinybird.md is its script."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dataops_dagster import clock
from dataops_dagster.cli import main
from dataops_dagster.testing.tinybird import Dialect, StandIn, resources
from dataops_dagster.tinybird import branches, forward, recreation
from tests.conftest import Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.test_tinybird_migration import empty, fill_prefixes
from tests.tinybird import make_project, tb_command
from tests.tinybird_site import stand_in

pytestmark = pytest.mark.slow
__all__ = ["stand_in"]

PAGE = Path(__file__).parents[1] / "docs" / "tinybird.md"
SHARED = {"datasource": "rides", "workspace": "marketing"}


def configuration(host: str, dialect: Dialect) -> str:
    at = {
        "host": host,
        "dialect": dialect.value,
        "executable": tb_command(dialect),
        "user_token_variable": "TB_USER_TOKEN",
    }
    step = {"platform": "tinybird", "deadline": "2m"}
    staging = {**at, "workspace": "staging_acme", "token_variable": "TB_STAGING_TOKEN"}
    prod = {**at, "workspace": "pro_acme", "token_variable": "TB_PROD_TOKEN"}
    told = {
        "project": "shop",
        "protocols": ["file"],
        "workspaces": {
            "dev": {"repository": "dev.git", "environment": "dev"},
            "staging": {
                "repository": "staging.git",
                "environment": "staging",
                "upstream": "dev",
                "tinybird": {
                    **staging,
                    "production": False,
                    "fixtures": "when_empty",
                    "destructive": "allowed",
                    "recreate": True,
                },
                "deploy": step,
                "run": {**step, "local": host},
            },
            "prod": {
                "repository": "prod.git",
                "environment": "prod",
                "upstream": "staging",
                "promote": "change",
                "gate": {"environment": "staging"},
                "tinybird": {**prod, "destructive": "approve", "shares": [SHARED]},
                "deploy": step,
            },
        },
    }
    return json.dumps(told)  # which YAML is


@dataclass
class Walk:
    """The shop and the account at Tinybird; `typed` are our commands, as they were typed."""

    root: Path
    shop: Shop
    dagster: DagsterShop
    stand_in: StandIn
    dialect: Dialect
    environment: pytest.MonkeyPatch
    typed: list[str] = field(default_factory=list)
    said: str = ""

    def type(self, line: str, *more: str, code: int = 0) -> Result:
        """Type a command of the page, perhaps with more options."""
        self.typed.append(f"dataops {line}")
        done = CliRunner().invoke(main, [*line.split(), *more])
        self.said += done.output
        assert done.exit_code == code, f"{line}: {done.output}"
        return done

    def take(self, variable: str, file: Path) -> None:
        """Set a variable to the token in a file that only its owner reads."""
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        self.environment.setenv(variable, file.read_text().strip())

    def served(self, name: str) -> set[str]:
        return set(self.stand_in.workspace(name).resources)

    def rows(self, name: str) -> tuple[int, int]:
        return self.stand_in.count(name, "rides"), self.stand_in.count(name, "stations")

    def push(self, change: dict[str, str] | None = None) -> None:
        """Push the data project to dev, perhaps changed."""
        folder = make_project(self.root / f"project{len(self.typed)}", self.dialect)
        rides = folder / "datasources" / "rides.datasource"
        if self.dialect is Dialect.FORWARD:
            rides.write_text(f"{rides.read_text()}\nSHARED_WITH >\n    marketing\n")
        files = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.shop.dev.commit({**files, **(change or {})}, "Write the project")


@pytest.fixture(params=list(Dialect), ids=lambda d: d.value)
def walk(request, stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[Walk]:
    dialect = request.param
    shop = make_shop(tmp_path, configuration(stand_in.url, dialect))
    for module in (branches, forward, recreation):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    expected = [
        {"station": s, "rides": n} for s, n in [("harbour", 3), ("market", 2), ("castle", 1)]
    ]
    # The stand-in runs no SQL. Classic's test passes when no row is wrong.
    stand_in.answer("busiest_stations", expected if dialect is Dialect.FORWARD else [])
    stand_in.create_workspace("acme", Dialect.CLASSIC)  # the old one, with prefixes
    stand_in.create_workspace("marketing", dialect)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TB_USER_TOKEN", stand_in.user_token)
    monkeypatch.setenv("TB_OLD_TOKEN", stand_in.workspace("acme").token)
    with dg.DagsterInstance.get() as instance:
        yield Walk(tmp_path, shop, DagsterShop(shop, instance), stand_in, dialect, monkeypatch)


def test_every_step_of_the_guide_is_done_by_our_commands(walk: Walk):
    create_both(walk)
    run_ci(walk)
    deploy(walk)
    recreate_staging(walk)
    migrate(walk)
    mix_nothing(walk)
    table = PAGE.read_text().partition("\n## ")[0]
    shown = set(re.findall(r"`(dataops tinybird [^`]+)`", table))
    assert shown
    assert shown <= set(walk.typed)
    tokens = [w.token for w in walk.stand_in.account.workspaces.values()]
    assert not [token for token in (*tokens, walk.stand_in.user_token) if token in walk.said]


def create_both(walk: Walk) -> None:
    for name, tinybird, variable in (
        ("staging", "staging_acme", "TB_STAGING_TOKEN"),
        ("prod", "pro_acme", "TB_PROD_TOKEN"),
    ):
        file = walk.root / f"{name}.token"
        walk.type(f"tinybird create {name}", "--write-token", str(file))
        walk.take(variable, file)
        assert walk.served(tinybird) == set()
    assert "is there already" in walk.type("tinybird create staging").output
    walk.type("tinybird create staging", "--write-token", str(file), code=2)  # never overwritten
    again = walk.root / "again.token"
    walk.type("tinybird token prod", str(again))
    assert again.read_text() == file.read_text()
    listed = walk.type("tinybird workspaces").output
    assert re.search(r"staging_acme.*shop/staging", listed)
    assert "acme" in listed
    told = json.loads(walk.type("tinybird status", "--json").stdout)
    assert [(row["name"], row["problem"]) for row in told] == [
        ("staging_acme", ""),
        ("pro_acme", ""),
    ]


def run_ci(walk: Walk) -> None:
    walk.push()
    told = walk.type("tinybird ci staging prod --of dev").output
    assert told.count(" ok ") == 2, told
    told = walk.type("tinybird ci staging prod --of dev --branch").output
    assert re.search(r"staging\W+branch\W+ok\W+in a branch: .*1 file\(s\) of tests passed", told)
    assert re.search(r"prod\W+check\W+ok", told)
    walk.push({"datasources/rides.datasource": "NO\n"})
    walk.type("tinybird ci staging prod --of dev", code=1)
    walk.type("tinybird ci staging prod --of dev --branch", code=1)
    assert not walk.stand_in.account.branches(walk.stand_in.workspace("staging_acme"))
    assert walk.served("staging_acme") == walk.served("pro_acme") == set()
    walk.push()
    job = walk.dagster.defs.resolve_job_def("ci_shop")
    config = {"workspaces": ["staging", "prod"], "origin": "dev", "branch": True}
    done = job.execute_in_process(
        instance=walk.dagster.instance, run_config={"ops": {"ci__shop": {"config": config}}}
    )
    assert done.success
    for_bad = {**config, "workspaces": ["dev"]}
    done = job.execute_in_process(
        instance=walk.dagster.instance,
        run_config={"ops": {"ci__shop": {"config": for_bad}}},
        raise_on_error=False,
    )
    assert not done.success


def deploy(walk: Walk) -> None:
    walk.type("promote staging")
    walk.type("tinybird deploy staging")
    assert len(walk.served("staging_acme")) == 8
    assert walk.rows("staging_acme") == (6, 3)
    walk.type("tinybird plan staging")
    walk.dagster.settle()  # staging's tests run, and the gate lets the commit into production
    assert len(walk.served("pro_acme")) == 8
    assert walk.rows("pro_acme") == (0, 0)
    assert "pro_acme.rides" in walk.stand_in.workspace("marketing").shared


def recreate_staging(walk: Walk) -> None:
    account, staging = walk.stand_in.account, walk.stand_in.workspace("staging_acme")
    pro = walk.stand_in.workspace("pro_acme")
    for name in ("long_rides", "rides_by_day"):
        resources.remove(account, staging, name)
    file = walk.root / "new.token"
    walk.type("tinybird recreate prod --confirm pro_acme", code=1)
    walk.type("tinybird recreate staging", code=2)
    words = "tinybird recreate staging --confirm staging_acme"
    told = walk.type(words, "--write-token", str(file)).output
    assert f"set TB_STAGING_TOKEN to its token: it is in {file}" in told
    walk.type("tinybird status", code=3)  # the variable still holds the dead token
    walk.take("TB_STAGING_TOKEN", file)
    walk.type("tinybird status")
    made = walk.stand_in.workspace("staging_acme")
    assert made.id != staging.id
    assert len(walk.served("staging_acme")) == 8
    assert walk.rows("staging_acme") == (6, 3)
    assert walk.stand_in.workspace("pro_acme") is pro
    assert len(walk.served("pro_acme")) == 8


def migrate(walk: Walk) -> None:
    old, staging = walk.stand_in.workspace("acme"), walk.stand_in.workspace("staging_acme")
    fill_prefixes(walk.stand_in, staging, old)
    empty(walk.stand_in, staging)
    words = "tinybird migrate-prefixes staging=staging pro=prod --token-variable TB_OLD_TOKEN"
    told = walk.type(words).output
    assert "nothing is done yet: add --apply" in told
    assert walk.rows("staging_acme") == walk.rows("pro_acme") == (0, 0)
    told = walk.type(f"{words} --apply").output
    assert re.search(r"prod\W+datasource\W+pro_rides\W+6\W+rides\W+6\W+same", told), told
    assert walk.rows("staging_acme") == walk.rows("pro_acme") == (6, 3)
    walk.type("tinybird migrate-prefixes staging", "--token-variable", "TB_OLD_TOKEN", code=2)


def mix_nothing(walk: Walk) -> None:
    walk.environment.setenv("TB_STAGING_TOKEN", walk.stand_in.workspace("pro_acme").token)
    told = walk.type("tinybird deploy staging", code=1).output
    assert "belongs to workspace pro_acme, not to staging_acme" in told


def test_the_sensor_deletes_branches_of_ours_that_are_over_and_no_others(walk: Walk, monkeypatch):
    account = walk.stand_in.account
    staging = account.create("staging_acme", walk.dialect)
    prod = account.create("pro_acme", walk.dialect)
    monkeypatch.setenv("TB_STAGING_TOKEN", staging.token)
    monkeypatch.setenv("TB_PROD_TOKEN", prod.token)
    now = datetime.now(timezone.utc)
    name = branches.name_for("dataops_ci", now)
    for workspace, branch in ((staging, name), (staging, "feature_1"), (prod, name)):
        account.create(branch, walk.dialect, main=workspace.id)
    told = reap(walk)
    assert told == "staging: no branch is over"
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=25))
    assert reap(walk) == f"staging: deleted {name}"
    assert [b.name for b in account.branches(staging)] == ["feature_1"]
    assert [b.name for b in account.branches(prod)] == [name]
    monkeypatch.setenv("TB_STAGING_TOKEN", prod.token)
    assert "belongs to workspace pro_acme" in reap(walk)
    with walk.stand_in.down():
        assert "asking Tinybird" in reap(walk)


def reap(walk: Walk) -> str:
    sensor = walk.dagster.defs.get_sensor_def("branches_shop")
    with dg.build_sensor_context(instance=walk.dagster.instance) as context:
        (found,) = [sensor(context)]
    return found.skip_message
