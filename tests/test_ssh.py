"""Repositories behind a real sshd: one key opens one of them, and whatever fails changes nothing."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataops_dagster import config, promotion, ssh
from dataops_dagster.cli import main
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.git import Access
from dataops_dagster.model import Promoted, Raced, Ready, Rejected
from dataops_dagster.remotes import Remote
from dataops_dagster.settings import Ssh
from dataops_dagster.store import Store
from tests.bad_server import nothing_is_left, refs
from tests.conftest import NOW, SHOP, Shop
from tests.leaks import found, left_in, told_by, watched
from tests.sshd import Sshd, agent, clients_of, fingerprint, make_key, public_of, serving

NAMES = ("dev", "staging", "prod")
ODD = "keys of ada's #1 & $HOME; `x`"
"""A folder's name that a shell, or ssh, would read as something else."""


# --- how ssh is called ----------------------------------------------------------------------------


def understood(settings: Ssh | None) -> dict[str, str]:
    """Return how ssh itself understands our command for some host; `read` is what it has read."""
    words = ["/bin/sh", "-c", f'{ssh.command(settings)} "$@"', "ssh", "-vG", "git.example.com"]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    options = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    read = re.findall(r"Reading configuration data (\S+)", done.stderr)
    return {**options, "read": " ".join(read)}


def test_with_a_key_ssh_takes_that_key_and_those_hosts_and_nothing_else():
    told = understood(Ssh(key=f"/{ODD}/key", known_hosts=f"/{ODD}/hosts"))
    assert told["read"] == "/dev/null"
    assert told["identityfile"] == f"/{ODD}/key"
    assert told["userknownhostsfile"] == f"/{ODD}/hosts"
    assert told["globalknownhostsfile"] == "/dev/null"
    assert (told["identitiesonly"], told["identityagent"]) == ("yes", "none")
    assert (told["batchmode"], told["stricthostkeychecking"]) == ("yes", "true")
    assert (told["forwardagent"], told["forwardx11"]) == ("no", "no")
    assert (told["updatehostkeys"], told["connecttimeout"]) == ("false", "10")


@pytest.mark.parametrize("settings", [None, Ssh(key="/key")])
def test_without_a_file_of_its_own_ssh_takes_the_hosts_that_this_machine_knows(settings):
    told = understood(settings)
    assert told["controlmaster"] == "false"  # no connection stays behind, or was there before
    assert "controlpath" not in told
    assert told["userknownhostsfile"].split()[0].endswith("/.ssh/known_hosts")
    assert "/dev/null" not in told["globalknownhostsfile"]
    assert (told["batchmode"], told["stricthostkeychecking"]) == ("yes", "true")
    assert (told["forwardagent"], told["forwardx11"]) == ("no", "no")


def test_an_agent_is_for_ssh_without_a_key_of_its_own_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    stand_in = tmp_path / "ssh"
    stand_in.write_text(f'#!/bin/sh\necho "${{SSH_AUTH_SOCK:-none}}" >> {tmp_path}/agents\n')
    stand_in.chmod(0o755)
    key = make_key(tmp_path / "key")
    for settings in (None, Ssh(key=str(key))):
        access = Access("git@git.example.com:x.git", "workspaces.it", ("ssh",), ssh=settings)
        with pytest.raises(ToolError):
            Remote(access).refs(["refs/heads/main"], 10)
    assert (tmp_path / "agents").read_text().split() == ["/agent", "none"]


# --- keys that ssh would not use ------------------------------------------------------------------


def absent(key: Path) -> None:
    key.unlink()


def a_folder(key: Path) -> None:
    key.unlink()
    key.mkdir()


def a_pipe(key: Path) -> None:
    key.unlink()
    os.mkfifo(key)


def open_to_all(key: Path) -> None:
    key.chmod(0o644)


def with_a_passphrase(key: Path) -> None:
    key.unlink()
    make_key(key, "open sesame")


def a_public_one(key: Path) -> None:
    key.write_text(public_of(key).read_text())


def garbage(key: Path) -> None:
    key.write_text(f"-----BEGIN OPENSSH PRIVATE KEY-----\n{secrets.token_hex(20)}\n")


UNUSABLE = {
    absent: ("cannot be read: No such file", "a path begins at the folder of dataops.yaml"),
    a_folder: ("cannot be read: it is no file", "a path begins at the folder of dataops.yaml"),
    a_pipe: ("cannot be read: it is no file", "a path begins at the folder of dataops.yaml"),
    open_to_all: ("may be used by others", "run `chmod 600 "),
    with_a_passphrase: ("needs a passphrase", "make a key without one"),
    a_public_one: ("is no private key", "name the file of the private key"),
    garbage: ("is no private key", "name the file of the private key"),
}


@pytest.mark.parametrize("spoil", UNUSABLE, ids=lambda spoil: spoil.__name__)
def test_a_key_that_ssh_would_not_use_is_told_before_a_server_is_asked(tmp_path, spoil):
    key = make_key(tmp_path / "key")
    spoil(key)
    # No such server is: an answer of its own would be another error.
    access = Access("git@invalid:x.git", "workspaces.it", ("ssh",), ssh=Ssh(key=str(key)))
    with pytest.raises(ConfigError) as caught:
        Remote(access).refs(["refs/heads/main"], 10)
    (problem,) = caught.value.problems
    said, hint = UNUSABLE[spoil]
    assert (problem.where, str(key) in problem.problem) == ("workspaces.it.ssh.key", True)
    assert said in problem.problem
    assert hint in problem.hint


def test_a_public_key_that_all_may_read_is_none_that_lacks_a_chmod(tmp_path):
    key = public_of(make_key(tmp_path / "key"))
    with pytest.raises(ConfigError, match="is no private key that ssh reads"):
        ssh.check(Ssh(key=str(key)), "workspaces.it")


def test_hosts_that_cannot_be_read_are_told_by_their_place(tmp_path):
    key = make_key(tmp_path / "key")
    settings = Ssh(key=str(key), known_hosts=str(tmp_path / "missing"))
    with pytest.raises(
        ConfigError, match=r"^workspaces\.it\.ssh\.known_hosts: .*missing cannot be"
    ):
        ssh.check(settings, "workspaces.it")


@pytest.mark.parametrize("name", ["100%d", 'a"b', "a\\b", "${HOME}"])
def test_a_folder_that_ssh_would_read_otherwise_is_refused(tmp_path, name):
    key = make_key(tmp_path / name / "key")
    settings = Ssh.model_construct(key=str(key), known_hosts=None)
    with pytest.raises(ConfigError, match="which ssh reads as something else"):
        ssh.check(settings, "workspaces.it")


def test_an_audit_of_a_folder_on_this_machine_needs_no_key(promoted_shop: Shop):
    path = promoted_shop.root / "dataops.yaml"
    there = "repository: git@git.example.com:prod.git\n    ssh: {key: missing}"
    text = SHOP.replace("[file]", "[file, ssh]").replace("repository: prod.git", there)
    path.write_text(text)
    words = ["--config", str(path), "audit", "prod", "--repository", str(promoted_shop.prod.bare)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "2 commit(s), 1 not through dataops" in done.output


# --- a host of repositories -----------------------------------------------------------------------


@dataclass
class SshShop:
    """The shop behind one server that opens each repository to a key of its own."""

    shop: Shop
    server: Sshd
    keys: Path

    @property
    def known_hosts(self) -> Path:
        return self.keys / "known_hosts"

    def load(self, **keys: str) -> None:
        """Configure the shop: each workspace with its own key, or another one."""
        text = SHOP.replace("[file]", "[ssh]")
        for name in NAMES:
            login = f'    ssh: {{key: "{ODD}/{keys.get(name, name)}", known_hosts: "{ODD}/known_hosts"}}'
            url = f"{self.server.place}{self.shop.root}/{name}.git"
            text = text.replace(f"repository: {name}.git", f"repository: {url}\n{login}")
        (self.shop.root / "dataops.yaml").write_text(text)
        self.shop.project = config.load(self.shop.root / "dataops.yaml")

    def command(self, *words: str, code: int = 0) -> str:
        """Call the command line; returns what it says."""
        env = {"DATAOPS_CONFIG": str(self.shop.root / "dataops.yaml"), "COLUMNS": "200"}
        done = CliRunner().invoke(main, list(words), env=env)
        assert done.exit_code == code, done.output
        return done.output

    def failure(self) -> DataOpsError:
        """Promote to staging, which must fail and change nothing; returns the error."""
        before = refs(self.shop.staging)
        with pytest.raises(DataOpsError) as caught:
            self.shop.promote("staging")
        assert refs(self.shop.staging) == before
        assert str(caught.value).replace("\n", "").isprintable()
        return caught.value


@pytest.fixture
def ssh_shop(shop: Shop, tmp_path_factory) -> Iterator[SshShop]:
    """Three repositories on one server; no process is left when the test ends."""
    keys = shop.root / ODD
    with (
        nothing_is_left(shop.root),
        serving(tmp_path_factory.mktemp("ssh") / "sshd") as server,
    ):
        for name in NAMES:
            server.allow(make_key(keys / name), shop.root / f"{name}.git")
        made = SshShop(shop, server, keys)
        made.known_hosts.write_text(server.known_host)
        made.load()
        yield made
        assert clients_of(server.port) == []


@pytest.mark.slow
def test_a_change_travels_to_production_with_one_key_a_repository_on_one_host(ssh_shop: SshShop):
    shop, server = ssh_shop.shop, ssh_shop.server
    for content in ("source: users\n", "source: orders\n"):
        shop.dev.commit({"pipeline.yml": content})
        assert isinstance(shop.promote("staging"), Promoted)
        shop.prove(shop.staging)
        assert isinstance(shop.promote("prod"), Promoted)
        assert shop.prod.tree() == shop.staging.tree() == shop.dev.tree()
    assert len(shop.prod.tags()) == len(shop.staging.tags()) == 2
    tag = shop.prod.tags()[-1]
    assert tag in ssh_shop.command("log", "prod", "--json")
    assert server.offered() == {fingerprint(ssh_shop.keys / name) for name in NAMES}
    assert set(server.asked()) == {
        *(("git-upload-pack", f"{name}.git") for name in NAMES),
        *(("git-receive-pack", f"{name}.git") for name in ("staging", "prod")),
    }


@pytest.mark.slow
def test_what_a_partial_cache_lacks_is_asked_for_over_ssh(ssh_shop: SshShop):
    shop = ssh_shop.shop
    path = shop.root / "dataops.yaml"
    text = re.sub(r"repository: .*/dev\.git\n.*\n", "repository: dev.git\n", path.read_text())
    path.write_text(text.replace("[ssh]", "[ssh, file]"))
    shop.project = config.load(path)
    assert isinstance(shop.promote("staging"), Promoted)
    shop.staging.commit({"README.md": "# staging\n"})
    shop.dev.commit({"README.md": "# dev again\n"})
    before = len(ssh_shop.server.asked())
    # Of a history that both have, the first fetch of dev leaves the contents out.
    shop.store = Store(shop.root / "another-cache", "shop")
    assert isinstance(shop.promote("staging"), Promoted)
    assert shop.staging.show("README.md") == "# dev again"
    asked = ssh_shop.server.asked()[before:]
    look_up, fetch, *lacking, push, prove = [program for program, _ in asked]
    assert lacking
    assert push == "git-receive-pack"
    assert {look_up, fetch, prove, *lacking} == {"git-upload-pack"}


# --- who is let in --------------------------------------------------------------------------------


def an_unknown_host(world: SshShop) -> None:
    world.known_hosts.write_text("")


def a_changed_host_key(world: SshShop) -> None:
    world.server.make_host_key()


def a_wrong_key(world: SshShop) -> None:
    make_key(world.keys / "wrong")
    world.load(staging="wrong")


def the_key_of_another_repository(world: SshShop) -> None:
    world.load(staging="prod")


def a_key_that_only_reads(world: SshShop) -> None:
    make_key(world.keys / "reader")
    world.server.allow(world.keys / "reader", world.shop.staging.bare, "read")
    world.load(staging="reader")


def an_absent_repository(world: SshShop) -> None:
    world.server.allow(make_key(world.keys / "absent"), world.shop.root / "absent.git")
    world.load(staging="absent")
    text = (world.shop.root / "dataops.yaml").read_text().replace("/staging.git", "/absent.git")
    (world.shop.root / "dataops.yaml").write_text(text)
    world.shop.project = config.load(world.shop.root / "dataops.yaml")


def a_key_for_others_too(world: SshShop) -> None:
    (world.keys / "staging").chmod(0o640)


REFUSED = {
    an_unknown_host: (
        ToolError,
        "No ED25519 host key is known",
        "hint: put the server's key into workspaces.staging.ssh.known_hosts, if its fingerprint is",
    ),
    a_changed_host_key: (
        ToolError,
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "ssh.known_hosts: before you put the new one there ask who runs the server",
    ),
    a_wrong_key: (
        ToolError,
        "Permission denied (publickey)",
        "hint: is the public part of workspaces.staging.ssh.key a deploy key of that repository",
    ),
    the_key_of_another_repository: (
        ToolError,
        "ERROR: Repository not found.",
        "hint: check workspaces.staging.repository, and that workspaces.staging.ssh.key opens it",
    ),
    a_key_that_only_reads: (
        ToolError,
        "marked as read only",
        "with write access if this is a target",
    ),
    an_absent_repository: (
        ToolError,
        "does not appear to be a git repository",
        "hint: check workspaces.staging.repository, and that workspaces.staging.ssh.key opens it",
    ),
    a_key_for_others_too: (
        ConfigError,
        "workspaces.staging.ssh.key: ",
        "hint: run `chmod 600 ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_who_is_not_let_in_changes_nothing_and_is_told_what_to_do(ssh_shop: SshShop, spoil):
    spoil(ssh_shop)
    kind, said, hint = REFUSED[spoil]
    error = ssh_shop.failure()
    assert (type(error), getattr(error, "retryable", False)) == (kind, False)
    assert said in str(error)
    assert hint in str(error)


@pytest.mark.slow
def test_a_host_that_nobody_knows_gets_nothing_without_a_key_of_its_own_either(ssh_shop: SshShop):
    url = f"{ssh_shop.server.place}{ssh_shop.shop.dev.bare}"
    with pytest.raises(ToolError, match="put the server's key into known_hosts, if"):
        Remote(Access(url, "workspaces.dev", ("ssh",))).refs(["refs/heads/main"], 60)
    assert ssh_shop.server.offered() == set()


@pytest.mark.slow
def test_check_says_of_each_workspace_whether_its_key_opens_it(ssh_shop: SshShop):
    a_wrong_key(ssh_shop)
    (ssh_shop.keys / "prod").chmod(0o644)
    said = ssh_shop.command("check", code=3)
    assert re.search(r"dev\W+ok", said)
    assert re.search(r"staging\W+failed", said)
    assert re.search(r"prod\W+failed", said)
    assert "a deploy key of that repository" in said
    assert "workspaces.prod.ssh.key: " in said


@pytest.mark.slow
def test_no_key_but_the_one_that_is_named_is_offered_whatever_an_agent_holds(
    ssh_shop: SshShop, monkeypatch
):
    a_wrong_key(ssh_shop)
    with agent(ssh_shop.keys / "staging") as holds:
        monkeypatch.setenv("SSH_AUTH_SOCK", holds)
        assert "Permission denied (publickey)" in str(ssh_shop.failure())
    wanted = {fingerprint(ssh_shop.keys / name) for name in ("dev", "wrong")}
    assert ssh_shop.server.offered() == wanted


@pytest.mark.slow
def test_the_agent_is_lent_to_no_server_even_where_the_users_configuration_says_so(
    ssh_shop: SshShop, tmp_path
):
    world = ssh_shop
    settings = tmp_path / "config"  # in place of ~/.ssh/config, which is the user's
    settings.write_text(
        f'Host *\nForwardAgent yes\nUserKnownHostsFile "{world.known_hosts}"\n'.replace("%", "%%")
    )
    url = re.fullmatch(r"ssh://(.*):(\d+)", world.server.place)
    call = ["-F", str(settings), "-p", url[2], url[1], f"git-upload-pack '{world.shop.dev.bare}'"]
    ours = shlex.split(ssh.command(None))
    with agent(world.keys / "dev") as holds:
        for words in (ours, [word for word in ours if word != "-a"]):
            lent = len(world.server.agents())
            subprocess.run(
                [*words, *call],
                env={"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": holds},
                input=b"0000",
                stdout=subprocess.DEVNULL,
                check=True,
            )
            assert (len(world.server.agents()) > lent) == (words is not ours)


# --- servers that fail, and pushes that are refused ------------------------------------------------


@pytest.mark.slow
def test_a_server_that_accepts_and_never_answers_is_an_error_at_the_deadline(
    ssh_shop: SshShop, monkeypatch
):
    key = ssh_shop.keys / "dev"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        url = f"ssh://127.0.0.1:{port}/dev.git"
        access = Access(url, "workspaces.dev", ("ssh",), ssh=Ssh(key=str(key)))
        with pytest.raises(ToolError, match="no answer within 1 s") as caught:
            Remote(access).refs(["refs/heads/main"], 1.0)
        assert caught.value.retryable
        monkeypatch.setattr(ssh, "CONNECT_SECONDS", 1)
        with pytest.raises(ToolError, match="timed out") as caught:
            Remote(access).refs(["refs/heads/main"], 600.0)
        assert caught.value.retryable
        assert clients_of(port) == []


HANGS = "case $SSH_ORIGINAL_COMMAND in {program}*) cat > /dev/null ;; *) work ;; esac"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["git-upload-pack", "git-receive-pack"])
def test_a_program_that_hangs_behind_ssh_is_an_error_at_the_deadline(
    ssh_shop: SshShop, monkeypatch, program
):
    ssh_shop.server.do_instead(HANGS.format(program=program))
    monkeypatch.setattr("dataops_dagster.heads.LOOKUP_SECONDS", 15 if "receive" in program else 1)
    monkeypatch.setattr("dataops_dagster.store.NETWORK_SECONDS", 3.0)
    error = ssh_shop.failure()
    assert "no answer within" in str(error)
    assert error.retryable


CUT = """\
case $SSH_ORIGINAL_COMMAND in
{program}*) work | {{
  stdbuf -o0 head -c {size} | tee {part}
  [ "$(wc -c < {part})" -lt {size} ] || kill -KILL $PPID
}} ;;
*) work ;;
esac
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "size"), [("git-upload-pack", 100_000), ("git-receive-pack", 4)]
)
def test_a_server_that_hangs_up_in_the_middle_is_worth_another_try(
    ssh_shop: SshShop, tmp_path, program, size
):
    shop = ssh_shop.shop
    shop.dev.commit({"large": os.urandom(300_000)})
    cut = CUT.format(program=program, part=tmp_path / "part", size=size)
    ssh_shop.server.do_instead(cut)
    error = ssh_shop.failure()
    assert error.retryable
    assert re.search("early EOF|hung up|closed by remote host", str(error))
    ssh_shop.server.do_instead("work")
    assert isinstance(shop.promote("staging"), Promoted)
    assert shop.staging.tree() == shop.dev.tree()


@pytest.mark.slow
def test_a_lost_race_and_a_hook_that_says_no_are_answers_over_ssh_too(ssh_shop: SshShop):
    shop = ssh_shop.shop
    ready = shop.consider("staging")
    assert isinstance(ready, Ready)
    moved = shop.staging.commit({"by-hand.txt": "1\n"})
    answer = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert isinstance(answer, Raced)
    assert shop.staging.head == moved
    assert shop.staging.tags() == []
    hook = shop.staging.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n")
    hook.chmod(0o755)
    answer = shop.promote("staging")
    assert isinstance(answer, Rejected)
    assert "not on a Friday" in answer.reason
    assert shop.staging.head == moved
    hook.unlink()
    assert isinstance(shop.promote("staging"), Promoted)
    assert "by-hand.txt" in shop.staging.files()


# --- what becomes of the key ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_key_stays_in_its_file(ssh_shop: SshShop, caplog):
    world, told = ssh_shop, []
    wanted = {name: (world.keys / name).read_text() for name in NAMES}
    with watched(world.shop.root / "cache") as watch:
        told.append(repr(world.shop.promote("staging")))
        told += [world.command("check"), world.command("plan", "staging", "--json")]
        a_wrong_key(world)
        wanted["wrong"] = (world.keys / "wrong").read_text()
        with pytest.raises(DataOpsError) as caught:
            world.shop.promote("staging")
        told += [told_by(caught.value), caplog.text]
    environments = [repr(sorted(env.items())) for _, env in watch.children]
    sinks = [("told", text.encode()) for text in (*told, *environments)]
    sinks += [("arguments", argument) for argument in watch.arguments]
    sinks += [("seen", data) for data in watch.files.values()]
    sinks += left_in(world.shop.root / "cache")
    assert any(b"ssh-keygen" in argument for argument in watch.arguments)
    assert found(wanted, sinks) == []
    assert found(wanted, left_in(world.keys)) != []
