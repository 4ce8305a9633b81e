"""The commands about Meltano Cloud, and what `dataops check` says of it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from dataops_dagster.demo.tools import Tool
from tests.conftest import Shop
from tests.dagster_shop import DagsterShop
from tests.meltano_cloud import (
    CLIENT_ID,
    CLIENT_SECRET,
    DEPLOY_KEY,
    TOKEN,
    WEBHOOK_SECRET,
    Course,
    MeltanoCloud,
    says,
)
from tests.repositories import Workspace, make_workspace
from tests.test_cli import Ended, dataops, empty_home
from tests.test_meltano_cloud import NAME, VARIABLE, cloud, deployed
from tests.tinybird import LOCKED

__all__ = ["cloud", "deployed", "empty_home"]  # fixtures

REPOSITORY = "https://github.com/MatatikaBytes/My-Workspace-setarqi"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))


def meltano_cloud(cloud: MeltanoCloud, *arguments: str) -> Ended:
    done = dataops("meltano-cloud", "--url", cloud.url, *arguments)
    assert not [s for s in (TOKEN, WEBHOOK_SECRET, DEPLOY_KEY) if s in done.out + done.err]
    return done


# --- workspaces -------------------------------------------------------------------------------


def test_workspaces_are_listed_with_their_repositories_before_there_is_a_configuration(cloud):
    cloud.add(NAME, REPOSITORY)
    done = meltano_cloud(cloud, "workspaces")
    assert done.code == 0
    assert REPOSITORY in done.out.replace("\n", "")
    told = meltano_cloud(cloud, "workspaces", "--json").json
    assert [(w["name"], w["repository"], w["environment"]) for w in told] == [
        (NAME, REPOSITORY, "prod")
    ]


def test_the_url_of_a_repository_is_all_that_is_printed_so_that_a_shell_can_take_it(cloud):
    id_ = cloud.add(NAME, REPOSITORY)
    for named in (NAME, id_):
        assert meltano_cloud(cloud, "url", named).out == f"{REPOSITORY}\n"
    assert meltano_cloud(cloud, "url", NAME, "--json").json == {"repository": REPOSITORY}


def test_a_workspace_that_is_not_there_is_a_mistake(cloud):
    done = meltano_cloud(cloud, "url", "nobody")
    assert done.code == 2
    assert "there is none of that name or id" in done.err


def test_what_is_configured_need_not_be_said_again(deployed, cloud, monkeypatch):
    monkeypatch.setenv("DATAOPS_CONFIG", str(deployed.root / "dataops.yaml"))
    assert NAME in dataops("meltano-cloud", "workspaces").out
    assert cloud.asked("GET /workspaces")


def test_two_accounts_in_a_configuration_are_not_guessed_at(deployed, monkeypatch):
    path = deployed.root / "dataops.yaml"
    monkeypatch.setenv("DATAOPS_CONFIG", str(path))
    more = "    deploy: {platform: meltano_cloud, workspace: Staging}\n  prod:\n"
    path.write_text(path.read_text().replace("  prod:\n", more))
    done = dataops("meltano-cloud", "workspaces")
    assert done.code == 2
    assert "--url: the configuration names several" in done.err


def test_one_of_several_accounts_can_be_named(deployed, cloud, monkeypatch):
    path = deployed.root / "dataops.yaml"
    monkeypatch.setenv("DATAOPS_CONFIG", str(path))
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    more = "    deploy: {platform: meltano_cloud, workspace: Staging}\n  prod:\n"
    path.write_text(path.read_text().replace("  prod:\n", more))
    assert meltano_cloud(cloud, "workspaces").code == 0
    monkeypatch.delenv(VARIABLE)
    assert meltano_cloud(cloud, "workspaces").code == 2
    assert meltano_cloud(cloud, "--token-variable", "MY_TOKEN", "workspaces").code == 0


def test_help_needs_no_configuration_that_is_well_formed(tmp_path):
    (tmp_path / "dataops.yaml").write_text("nonsense")
    assert dataops("meltano-cloud", "create", "--help").code == 0
    assert dataops("meltano-cloud", "workspaces").code == 2


@pytest.mark.parametrize(
    "url", ["http://app.meltano.com/api", "https://a:b@app.meltano.com", "ftp://x", "https://[", ""]
)
def test_a_url_that_is_no_safe_one_is_refused(cloud, url):
    done = dataops("meltano-cloud", "--url", url, "workspaces")
    if url:
        assert (done.code, done.err[:14]) == (2, "dataops: --url")
        assert url not in done.err
    assert not cloud.requests


def test_a_token_that_is_not_valid_is_told_with_what_to_do(cloud):
    cloud.token = "another"
    done = meltano_cloud(cloud, "workspaces")
    assert done.code == 3
    assert "the login is not valid" in done.err
    assert f"put a fresh token into {VARIABLE}" in done.err


def test_names_from_the_server_cannot_steer_the_terminal(cloud):
    cloud.add("[red]x[/] \x1b[31m\u202eevil", "https://h/\x1b]0;t")
    done = meltano_cloud(cloud, "workspaces")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "[red]x[/]" in done.out


# --- create -----------------------------------------------------------------------------------


def test_a_workspace_is_made_and_what_is_left_to_do_by_hand_is_said(cloud):
    done = meltano_cloud(cloud, "create", NAME, "--wait")
    assert done.code == 0
    assert (
        "My Workspace is READY: https://github.com/MatatikaBytes/my-workspace-kklcdol" in done.out
    )
    assert "Set its active environment by hand, in the app" in done.out


def test_a_workspace_that_is_made_is_not_waited_for_unless_that_is_asked(cloud):
    cloud.makes = 10**6
    done = meltano_cloud(cloud, "create", NAME, "--json")
    assert (done.code, done.json["status"]) == (0, "PROVISIONING")


def test_a_name_that_is_taken_is_not_taken_twice(cloud):
    id_ = cloud.add(NAME, REPOSITORY)
    done = meltano_cloud(cloud, "create", NAME)
    assert done.code == 2
    assert f"there is a workspace “My Workspace” already ({id_})" in done.err
    assert not cloud.asked("P")


def test_a_name_that_the_server_refuses_is_told_in_its_words(cloud):
    cloud.fails(says(409, "The name My Workspace is taken"), "PUT")
    done = meltano_cloud(cloud, "create", NAME)
    assert done.code == 3
    assert "The name My Workspace is taken" in done.err


def test_a_workspace_that_could_not_be_made_is_a_no(cloud):
    cloud.makes_it = "FAILED"
    assert meltano_cloud(cloud, "create", NAME, "--wait").code == 1


def test_a_workspace_that_is_not_ready_in_time_is_worth_another_look(cloud):
    cloud.makes = 10**6
    done = meltano_cloud(cloud, "create", NAME, "--wait", "--deadline", "1s")
    assert done.code == 3
    assert "it is still PROVISIONING after 1s" in done.err


@pytest.mark.parametrize("name", ["", "two\nlines", "\x1b[31m"])
def test_a_name_that_people_could_not_read_is_a_mistake(cloud, name):
    assert meltano_cloud(cloud, "create", name).code == 2
    assert not cloud.requests


def test_a_deadline_that_is_none_is_a_mistake(cloud):
    done = meltano_cloud(cloud, "create", NAME, "--deadline", "soon")
    assert (done.code, done.err[:19]) == (2, "dataops: --deadline")


# --- deploy -----------------------------------------------------------------------------------


def test_a_deployment_by_hand_shows_its_log_and_how_it_ended(cloud):
    cloud.add(NAME, REPOSITORY)
    done = meltano_cloud(cloud, "deploy", NAME)
    assert done.code == 0
    assert done.out.splitlines()[1:3] == ["Cloning the repository", "Deployed"]
    assert done.out.endswith("ended as COMPLETE, exit code 0\n")


def test_a_deployment_by_hand_as_json_is_one_document(cloud):
    cloud.add(NAME, REPOSITORY)
    done = meltano_cloud(cloud, "deploy", NAME, "--json")
    assert done.json["outcome"] == "passed"
    assert "Deployed" in done.err


@pytest.mark.parametrize(("status", "code"), [("ERROR", 1), ("STOPPED", 1), ("VANISHED", 3)])
def test_a_deployment_by_hand_that_does_not_end_well_ends_with_its_code(cloud, status, code):
    cloud.add(NAME, REPOSITORY)
    cloud.course = Course(status, None, ("[bold]oops[/]",))
    done = meltano_cloud(cloud, "deploy", NAME)
    assert done.code == code
    assert "[bold]oops[/]" in done.out


# --- check ------------------------------------------------------------------------------------


@pytest.fixture
def checked(deployed: Shop, monkeypatch) -> Shop:
    monkeypatch.setenv("DATAOPS_CONFIG", str(deployed.root / "dataops.yaml"))
    return deployed


@pytest.mark.usefixtures("checked")
def test_check_says_that_a_workspace_is_what_it_should_be():
    done = dataops("check", "--json")
    assert done.code == 0
    (told,) = done.json["meltano_cloud"]
    assert told == {
        "project": "shop",
        "workspace": "prod",
        "cloud_workspace": NAME,
        "state": "ok",
        "answer": "READY, environment prod",
    }
    assert [told for told in done.json["by_hand"] if not told.startswith("git ")] == []
    assert "READY, environment prod" in dataops("check").out


@pytest.mark.usefixtures("checked")
def test_check_says_what_is_to_be_set_by_hand_and_where(cloud):
    cloud.tells = False
    done = dataops("check")
    assert done.code == 0
    assert (
        "by hand: the API does not tell the active environment of “My Workspace”: see that it is"
        " prod, in the app: the drop-down menu, Settings, “Active environment”, Save" in done.out
    )


@pytest.mark.parametrize("mode", [(), ("--json",)])
@pytest.mark.usefixtures("checked")
def test_check_says_what_is_wrong_with_a_workspace(cloud, mode):
    (workspace,) = cloud.state.workspaces.values()
    workspace |= {"defaultEnvironment": "dev", "repositoryUrl": REPOSITORY}
    done = dataops(*mode, "check")
    assert done.code == 2
    told = done.json["errors"][0]["message"] if mode else done.out
    assert f"“My Workspace” is another repository: {REPOSITORY}" in told
    assert "the active environment of “My Workspace” is dev" in told
    assert "set it to prod in the app" in told


@pytest.mark.usefixtures("checked")
def test_check_says_that_a_workspace_is_not_ready(cloud):
    (workspace,) = cloud.state.workspaces.values()
    workspace["status"] = "FAILED"
    (told,) = dataops("check", "--json").json["meltano_cloud"]
    assert (told["state"], told["answer"][:6]) == ("not ready", "FAILED")


@pytest.mark.usefixtures("checked")
def test_check_tells_once_that_the_service_does_not_let_us_in(cloud):
    cloud.token = "another"
    done = dataops("check", "--json")
    assert done.code == 3
    assert [w["state"] for w in done.json["workspaces"]] == ["ok", "ok", "ok"]
    assert [e["message"].count("the login is not valid") for e in done.json["errors"]] == [1]


@pytest.mark.usefixtures("cloud")
def test_check_asks_nothing_where_nothing_is_deployed_there(shop, cloud):
    done = dataops("check", "--json")
    assert done.json["meltano_cloud"] == []
    assert not cloud.requests
    assert shop.prod.head


# --- the guide --------------------------------------------------------------------------------

GUIDE = Path(__file__).parent.parent / "docs" / "matatika.md"
DEV, STAGING, PROD = "my-workspace-(dev)", "my-workspace-(staging)", "my-workspace"


@dataclass
class Guided:
    """The guide as it is followed: three workspaces that the platform makes, and a person."""

    cloud: MeltanoCloud
    root: Path
    made: dict[str, Workspace] = field(default_factory=dict)

    def make(self, alias: str) -> str:
        """Make a repository as the platform does, with a first commit of its own."""
        made = self.made[alias] = make_workspace(self.root, alias)
        made.commit({"workspace.yml": f"name: {alias}\n"}, "Initial commit")
        return made.url

    def set_environments(self) -> None:
        """Set the active environments by hand, in the app."""
        names = {STAGING: "staging", PROD: "prod"}
        for workspace in self.cloud.state.workspaces.values():
            workspace["defaultEnvironment"] = names.get(workspace["alias"], "dev")

    def configure(self) -> None:
        """Write the page's configuration, for this machine."""
        (text,) = re.findall(r"```yaml\n(# dataops.yaml\n.*?)```", GUIDE.read_text(), re.DOTALL)
        for alias, spelled in (
            (DEV, "dev-zgtzhjd"),
            (STAGING, "staging-kklcdol"),
            (PROD, "setarqi"),
        ):
            there = f"git@github.com:MatatikaBytes/My-Workspace-{spelled}\n"
            assert there in text
            text = text.replace(there, f"{self.made[alias].url}\n")
        program = "{platform: command, command: [sh, run.sh]}"
        text = text.replace("{platform: meltano, run: [load-users]}", program)
        text = text.replace("workspace: My", f'url: "{self.cloud.url}"\n      workspace: My')
        text = text.replace(
            f'{{platform: meltano_cloud, url: "{self.cloud.url}"\n      workspace: My Workspace (staging)}}',
            f'{{platform: meltano_cloud, url: "{self.cloud.url}", workspace: My Workspace (staging)}}',
        )
        (self.root / "dataops.yaml").write_text(f"protocols: [file]\n{text}")

    def change(self) -> None:
        """Commit to the development workspace."""
        self.made[DEV].commit({"meltano.yml": "version: 1\n", "run.sh": "test -f meltano.yml\n"})

    def run_staging(self) -> None:
        """Let Dagster run staging, and deploy it before."""
        with dg.DagsterInstance.get() as instance:
            shop = DagsterShop(SimpleNamespace(root=self.root), instance)
            assert shop.run_workspace("staging").success

    def deploy_prod(self) -> None:
        with dg.DagsterInstance.get() as instance:
            shop = DagsterShop(SimpleNamespace(root=self.root), instance)
            assert shop.deploy().success


@pytest.mark.slow
@pytest.mark.usefixtures("empty_home")
def test_each_step_of_the_guide_ends_well_as_the_page_tells_it(cloud, tmp_path):
    guided = Guided(cloud, tmp_path)
    cloud.repository_of = guided.make
    before = {
        "dataops meltano-cloud workspaces": [guided.set_environments],
        "dataops check": [guided.configure],
        "dataops plan staging": [guided.change],
        "dataops why prod": [guided.run_staging],
        'dataops meltano-cloud deploy "My Workspace"': [guided.deploy_prod],
    }
    lines = re.findall(r"^(?:\$ )?(dataops .+)$", GUIDE.read_text(), re.MULTILINE)
    assert set(before) < set(lines)
    for line in lines:
        for step in before.get(line, ()):
            step()
        words = shlex.split(line.removeprefix("dataops "))
        if words[0] == "meltano-cloud":
            words[1:1] = ["--url", cloud.url]
        done = dataops(*words)
        assert done.code == 0, f"{line}\n{done.out}{done.err}"
    dev, prod = guided.made[DEV], guided.made[PROD]
    assert (prod.show("meltano.yml"), prod.show("run.sh")) == (
        dev.show("meltano.yml"),
        dev.show("run.sh"),
    )
    assert prod.show("workspace.yml") == "name: my-workspace"
    deployed_heads = {job["commitId"] for job in cloud.state.jobs.values()}
    assert prod.head in deployed_heads


# --- the vendor's own command -----------------------------------------------------------------


@pytest.mark.slow
def test_the_vendors_own_command_understands_the_stand_in(cloud, tmp_path):
    """What it cannot read would be no stand-in for the service that it was written for."""
    locked = LOCKED / "matatika.txt"
    vendors = Tool("matatika", "matatika", "matatika", "DATAOPS_MATATIKA", locked=locked)
    program = vendors.command(print, tools=tmp_path / "tools")
    id_ = cloud.add(NAME, REPOSITORY)

    def matatika(*arguments: str) -> str:
        command = [program, "-a", TOKEN, "-e", cloud.url, *arguments]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return done.stdout

    listed = matatika("list", "workspaces")
    assert id_ in listed
    assert NAME in listed
    assert "ada" in matatika("profile")
    script = (
        "import sys; from auth0.authentication import GetToken as G; _, host, id, secret, url ="
        " sys.argv; print(G(host, id, secret, protocol='http').client_credentials(url))"
    )
    host = cloud.identity_url.removeprefix("http://")
    command = [
        Path(program).with_name("python"),
        "-c",
        script,
        host,
        CLIENT_ID,
        CLIENT_SECRET,
        cloud.url,
    ]
    got = subprocess.run(command, capture_output=True, text=True, check=True)
    assert TOKEN in got.stdout
    matatika("delete", "--bypass-confirm", "workspaces", id_)
    assert NAME not in matatika("list", "workspaces")
