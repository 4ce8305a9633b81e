"""The guide, step by step, by our commands and both real `tb`: docs/tinybird.md is its script.

It is walked on the stand-in, or at the host that is named.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dataops_dagster import clock
from dataops_dagster.cli import main
from dataops_dagster.testing.tinybird import Dialect
from dataops_dagster.tinybird import branches, forward, recreation
from tests.conftest import Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.leaks import watched
from tests.tinybird import PIPES, SOURCES, make_prefixed
from tests.tinybird_account import Account, open_account

pytestmark = pytest.mark.slow
__all__ = ["open_account"]

PAGE = Path(__file__).parents[1] / "docs" / "tinybird.md"
ALL = SOURCES | PIPES
LOST = {"long_rides", "rides_by_day"}


def configuration(account: Account) -> str:
    at = {
        "host": account.host,
        "dialect": account.dialect.value,
        "executable": account.tb.command,
        "user_token_variable": "TB_USER_TOKEN",
    }
    step = {"platform": "tinybird", "deadline": "2m"}
    staging, pro = account.named("staging_acme"), account.named("pro_acme")
    shared = {"datasource": "rides", "workspace": account.named("marketing")}
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
                    **at,
                    "workspace": staging,
                    "token_variable": "TB_STAGING_TOKEN",
                    "production": False,
                    "fixtures": "when_empty",
                    "destructive": "allowed",
                    "recreate": True,
                },
                "deploy": step,
                "run": {**step, "local": account.tb.local},
            },
            "prod": {
                "repository": "prod.git",
                "environment": "prod",
                "upstream": "staging",
                "promote": "change",
                "gate": {"environment": "staging"},
                "tinybird": {
                    **at,
                    "workspace": pro,
                    "token_variable": "TB_PROD_TOKEN",
                    "destructive": "approve",
                    "shares": [shared],
                },
                "deploy": step,
            },
        },
    }
    return json.dumps(told)  # which YAML is


@dataclass
class Walk:
    """The shop and the account at Tinybird; `typed` are our commands, as the page names workspaces."""

    root: Path
    shop: Shop
    dagster: DagsterShop
    account: Account
    environment: pytest.MonkeyPatch
    typed: list[str] = field(default_factory=list)
    said: str = ""
    tokens: set[str] = field(default_factory=set)

    @property
    def staging(self) -> str:
        return self.account.named("staging_acme")

    @property
    def pro(self) -> str:
        return self.account.named("pro_acme")

    def type(self, line: str, *more: str, code: int = 0) -> Result:
        """Type a command of the page, perhaps with more options."""
        self.typed.append(f"dataops {line}".replace(self.account.prefix, ""))
        done = CliRunner().invoke(main, [*line.split(), *more])
        self.said += done.output
        assert done.exit_code == code, f"{line}: {done.output}"
        return done

    def take(self, variable: str, file: Path) -> None:
        """Set a variable to the token in a file that only its owner reads."""
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text().strip()
        self.tokens.add(token)
        self.environment.setenv(variable, token)

    def served(self, name: str) -> set[str]:
        sources, pipes = self.account.resources(self.account.token(name))
        return sources | pipes

    def rows(self, name: str) -> tuple[int, int]:
        return self.account.rows(self.account.token(name))

    def push(self, change: dict[str, str] | None = None) -> None:
        """Push the data project to dev, perhaps changed."""
        folder = self.account.project
        files = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.shop.dev.commit({**files, **(change or {})}, "Write the project")


@pytest.fixture(params=list(Dialect), ids=lambda d: d.value)
def walk(request, open_account, tmp_path: Path, monkeypatch) -> Walk:
    account = open_account(request.param)
    if account.stand_in:
        for module in (branches, forward, recreation):
            monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
        if account.dialect is Dialect.CLASSIC:  # its test passes when no row is wrong
            account.stand_in.answer("busiest_stations", [])
    # The old one is of the same dialect, as a host may know only one.
    old, reader = account.create("acme"), account.create("marketing")
    if account.dialect is Dialect.FORWARD:
        rides = account.project / "datasources" / "rides.datasource"
        rides.write_text(f"{rides.read_text()}\nSHARED_WITH >\n    {reader}\n")
    shop = make_shop(tmp_path, configuration(account))
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TB_USER_TOKEN", account.user_token)
    monkeypatch.setenv("TB_OLD_TOKEN", account.token(old))
    with dg.DagsterInstance.get() as instance:
        yield Walk(tmp_path, shop, DagsterShop(shop, instance), account, monkeypatch)


def test_every_step_of_the_guide_is_done_by_our_commands(walk: Walk):
    with watched(walk.root, pause=0.1) as watch:
        create_both(walk)
        run_ci(walk)
        deploy(walk)
        recreate_staging(walk)
        migrate(walk)
        find_nobody(walk)
        mix_nothing(walk)
    table = PAGE.read_text().partition("\n## ")[0]
    shown = set(re.findall(r"`(dataops tinybird [^`]+)`", table))
    assert shown
    assert shown <= set(walk.typed)
    listed = {workspace["token"] for workspace in walk.account.listed().values()}
    assert walk.root / "prod.token" in watch.files
    for token in walk.tokens | listed | {walk.account.user_token}:
        assert token not in walk.said
        assert not [found for found in watch.holds(token.encode()) if not is_meant(found)]


def is_meant(found: object) -> bool:
    """Say whether a token was to be written there, or a `tb` that the test itself called left it."""
    if not isinstance(found, Path):
        return False
    return found.suffix == ".token" or found.name == ".tinyb"


def create_both(walk: Walk) -> None:
    for name, tinybird, variable in (
        ("staging", walk.staging, "TB_STAGING_TOKEN"),
        ("prod", walk.pro, "TB_PROD_TOKEN"),
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
    assert re.search(rf"{walk.staging}.*shop/staging", listed)
    assert walk.account.named("acme") in listed
    told = json.loads(walk.type("tinybird status", "--json").stdout)
    assert [(row["name"], row["problem"]) for row in told] == [(walk.staging, ""), (walk.pro, "")]


def run_ci(walk: Walk) -> None:
    walk.push()
    told = walk.type("tinybird ci staging prod --of dev").output
    assert told.count(" ok ") == 2, told
    told = walk.type("tinybird ci staging prod --of dev --branch").output
    assert re.search(r"staging\W+branch\W+ok\W+in a branch: .*1 file\(s\) of tests passed", told)
    assert re.search(r"prod\W+check\W+ok\W+create 8; no branch, as it is production", told)
    walk.push({"datasources/rides.datasource": "NO\n"})
    walk.type("tinybird ci staging prod --of dev", code=1)
    walk.type("tinybird ci staging prod --of dev --branch", code=1)
    assert not walk.account.branches(walk.account.token(walk.staging))
    assert walk.served(walk.staging) == walk.served(walk.pro) == set()
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
    assert walk.served(walk.staging) == ALL
    assert walk.rows(walk.staging) == (6, 3)
    walk.type("tinybird plan staging")
    walk.dagster.settle()  # staging's tests run, and the gate lets the commit into production
    assert walk.served(walk.pro) == ALL
    assert walk.rows(walk.pro) == (0, 0)
    assert f"{walk.pro}.rides" in walk.served(walk.account.named("marketing"))


def recreate_staging(walk: Walk) -> None:
    lose(walk.account, walk.staging)
    assert walk.served(walk.staging) == ALL - LOST
    before = walk.account.listed()
    file = walk.root / "new.token"
    walk.type(f"tinybird recreate prod --confirm {walk.pro}", code=1)
    walk.type("tinybird recreate staging", code=2)
    words = f"tinybird recreate staging --confirm {walk.staging}"
    told = walk.type(words, "--write-token", str(file)).output
    assert f"set TB_STAGING_TOKEN to its token: it is in {file}" in told
    walk.type("tinybird status", code=3)  # the variable still holds the dead token
    walk.take("TB_STAGING_TOKEN", file)
    walk.type("tinybird status")
    after = walk.account.listed()
    assert after[walk.staging]["id"] != before[walk.staging]["id"]
    assert walk.served(walk.staging) == ALL
    assert walk.rows(walk.staging) == (6, 3)
    for same in ("id", "token"):
        assert after[walk.pro][same] == before[walk.pro][same]
    assert walk.served(walk.pro) == ALL


def lose(account: Account, name: str) -> None:
    """Take pipes out of a workspace behind our back, as each dialect lets anybody do."""
    if account.dialect is Dialect.CLASSIC:
        for pipe in LOST:
            assert account.tb(account.token(name), "pipe", "rm", pipe, "--yes").returncode == 0
        return
    folder = account.project.with_name("without_pipes")
    shutil.copytree(account.project, folder)
    for pipe in LOST:
        (folder / "endpoints" / f"{pipe}.pipe").unlink()
    assert account.at(folder).serve(name).returncode == 0


def migrate(walk: Walk) -> None:
    fill_old(walk.account)
    walk.account.empty(walk.account.token(walk.staging))
    words = "tinybird migrate-prefixes staging=staging pro=prod --token-variable TB_OLD_TOKEN"
    told = walk.type(words).output
    assert "nothing is done yet: add --apply" in told
    assert walk.rows(walk.staging) == walk.rows(walk.pro) == (0, 0)
    told = walk.type(f"{words} --apply").output
    assert re.search(r"prod\W+datasource\W+pro_rides\W+6\W+rides\W+6\W+same", told), told
    assert walk.rows(walk.staging) == walk.rows(walk.pro) == (6, 3)
    walk.type("tinybird migrate-prefixes staging", "--token-variable", "TB_OLD_TOKEN", code=2)


def fill_old(account: Account) -> None:
    """Serve the data project twice in the old workspace, under two prefixes, with rows."""
    prefixes, old = ("staging__", "pro_"), account.named("acme")
    folder = make_prefixed(account.project.with_name("prefixed"), account.project, *prefixes)
    assert account.at(folder).serve(old).returncode == 0
    for prefix in prefixes:
        account.at(folder).seed(account.token(old), prefix)


def find_nobody(walk: Walk) -> None:
    """The host is down: what is said, and what Dagster records, holds no token then either."""
    if not walk.account.stand_in:
        return
    with walk.account.stand_in.down():
        for line in ("tinybird status", "tinybird workspaces", "tinybird deploy staging"):
            walk.type(line, code=3)
        failed = walk.dagster.deploy(commits={"prod": walk.shop.prod.head}, redeploy=True)
    assert not failed.success


def mix_nothing(walk: Walk) -> None:
    walk.environment.setenv("TB_STAGING_TOKEN", walk.account.token(walk.pro))
    told = walk.type("tinybird deploy staging", code=1).output
    assert f"belongs to workspace {walk.pro}, not to {walk.staging}" in told


@pytest.mark.stand_in
def test_the_sensor_deletes_branches_of_ours_that_are_over_and_no_others(walk: Walk, monkeypatch):
    account = walk.account.stand_in.account
    staging = account.create(walk.staging, walk.account.dialect)
    prod = account.create(walk.pro, walk.account.dialect)
    monkeypatch.setenv("TB_STAGING_TOKEN", staging.token)
    monkeypatch.setenv("TB_PROD_TOKEN", prod.token)
    now = datetime.now(timezone.utc)
    name = branches.name_for("dataops_ci", now)
    for workspace, branch in ((staging, name), (staging, "feature_1"), (prod, name)):
        account.create(branch, walk.account.dialect, main=workspace.id)
    told = reap(walk)
    assert told == "staging: no branch is over"
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=25))
    assert reap(walk) == f"staging: deleted {name}"
    assert [b.name for b in account.branches(staging)] == ["feature_1"]
    assert [b.name for b in account.branches(prod)] == [name]
    monkeypatch.setenv("TB_STAGING_TOKEN", prod.token)
    assert f"belongs to workspace {walk.pro}" in reap(walk)
    with walk.account.stand_in.down():
        assert "asking Tinybird" in reap(walk)


def reap(walk: Walk) -> str:
    sensor = walk.dagster.defs.get_sensor_def("branches_shop")
    with dg.build_sensor_context(instance=walk.dagster.instance) as context:
        (found,) = [sensor(context)]
    return found.skip_message
