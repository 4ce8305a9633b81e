"""A signed tag approves exactly what its signer read, and nothing else that anybody makes of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster import signatures, ssh
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.git import Access
from dataops_dagster.model import Decision, DecisionKind
from dataops_dagster.store import Store
from tests.repositories import ENVIRONMENT, Workspace, git, make_workspace

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=timezone.utc)
PLAN = "sha256:" + "a" * 64
OTHER_PLAN = "sha256:" + "b" * 64
FOLDER = "dataops-approvals/shop/prod"
TEXT = f"Approve aaaaaaaaaaaa for prod\n\nPlan: {PLAN}\nTarget: shop/prod\n"
ARMOR = b"-----BEGIN SSH SIGNATURE-----\nQQ==\n-----END SSH SIGNATURE-----\n"


def keygen(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    command = ["ssh-keygen", "-q", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=True).stdout


def make_key(path: Path, passphrase: str = "") -> Path:
    keygen("-t", "ed25519", "-N", passphrase, "-C", "", "-f", path)
    return path


def public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def sign(key: Path, payload: bytes, namespace: str = "git") -> bytes:
    return keygen("-Y", "sign", "-n", namespace, "-f", key, stdin=payload)


@dataclass
class World:
    """An upstream with one commit, Grace's key, and a file in which she may sign."""

    root: Path
    upstream: Workspace
    commit: str
    store: Store
    key: Path
    signers: Path

    @property
    def access(self) -> Access:
        return Access(self.upstream.url, "workspaces.staging", ("file",))

    def approvals(self, target: str = "prod", *, project: str = "shop", **more) -> list[Decision]:
        return signatures.approvals(self.store, self.access, project, target, self.signers, **more)

    def approve(self, **more) -> str:
        self.store.fetch(self.access, "main", self.commit)
        given = {
            "project": "shop",
            "target": "prod",
            "plan": PLAN,
            "commit": self.commit,
            "key": self.key,
            "name": "Grace Hopper",
            "now": NOW,
            "expires": None,
            "reason": "",
        }
        return signatures.approve(self.store, self.access, **{**given, **more})

    def payload(
        self,
        tag: str = f"{FOLDER}/by-hand",
        text: str | bytes = TEXT,
        *,
        object_: str = "",
        kind: str = "commit",
        time: datetime = NOW,
    ) -> bytes:
        head = (
            f"object {object_ or self.commit}\ntype {kind}\ntag {tag}\n"
            f"tagger Grace <grace@example.com> {int(time.timestamp())} +0100\n\n"
        )
        return head.encode() + (text if isinstance(text, bytes) else text.encode())

    def put(self, data: bytes, tag: str = f"{FOLDER}/by-hand") -> str:
        """Write a tag object, whatever is in it, into the upstream's repository, and its ref."""
        path = self.root / "object"
        path.write_bytes(data)
        id_ = git(self.upstream.bare, "hash-object", "-t", "tag", "-w", "--literally", str(path))
        git(self.upstream.bare, "update-ref", f"refs/tags/{tag}", id_)
        return id_

    def put_signed(self, tag: str = f"{FOLDER}/by-hand", text: str | bytes = TEXT, **more) -> str:
        payload = self.payload(tag, text, **more)
        return self.put(payload + sign(self.key, payload), tag)


@pytest.fixture
def world(tmp_path: Path) -> World:
    upstream = make_workspace(tmp_path, "staging")
    commit = upstream.commit({"a.txt": "a\n"}, "First")
    key, signers = make_key(tmp_path / "key"), tmp_path / "allowed_signers"
    signers.write_text(f"grace@example.com {public(key)}\n")
    return World(tmp_path, upstream, commit, Store(tmp_path / "cache", "shop"), key, signers)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, str], None]]:
    """Start an ssh-agent, and return what gives it a key with its passphrase."""
    # A socket's path is short, and pytest's folders are not.
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "agent")
        command = ["ssh-agent", "-D", "-a", str(socket)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            running.stdout.readline()  # it listens
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))

            def add(key: Path, passphrase: str) -> None:
                answer = tmp_path / "answer.sh"
                answer.write_text(f"#!/bin/sh\necho {shlex.quote(passphrase)}\n")
                answer.chmod(0o755)
                more = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force"}
                env = {**os.environ, **more}
                subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True, input=b"")

            yield add
            running.terminate()


# --- what is an approval --------------------------------------------------------------------------


def test_who_approved_by_our_command_is_found_with_all_that_was_said(world):
    expires = NOW + timedelta(days=7)
    tag = world.approve(reason="the auditors looked at it", expires=expires)
    assert tag == f"{FOLDER}/aaaaaaaaaaaa-grace-hopper-20261122T060000Z"
    assert world.approvals() == [
        Decision(
            id=git(world.upstream.bare, "rev-parse", f"refs/tags/{tag}"),
            kind=DecisionKind.APPROVE,
            target="prod",
            by="grace@example.com",
            reason="the auditors looked at it",
            time=NOW,
            expires=expires,
            plan=PLAN,
            commit=world.commit,
            signed=True,
        )
    ]


def test_our_tag_reads_as_documented_and_git_itself_verifies_it(world):
    tag = world.approve(reason="fine", expires=NOW)
    shown = git(world.upstream.bare, "cat-file", "tag", f"refs/tags/{tag}")
    assert shown.startswith(
        f"object {world.commit}\n"
        "type commit\n"
        f"tag {tag}\n"
        "tagger Grace Hopper <dataops@localhost> 1795327200 +0000\n"
        "\n"
        "Approve aaaaaaaaaaaa for prod\n"
        "\n"
        f"Plan: {PLAN}\n"
        "Target: shop/prod\n"
        "Expires: 20261122T060000Z\n"
        "Reason: fine\n"
        "-----BEGIN SSH SIGNATURE-----\n"
    )
    signers = f"gpg.ssh.allowedSignersFile={world.signers}"
    git(world.upstream.bare, "-c", signers, "verify-tag", tag)


def by_hand(world: World, *more: str, tag: str = f"{FOLDER}/mine") -> None:
    """Approve with git alone."""
    git(
        world.upstream.clone,
        *("-c", "gpg.format=ssh", "-c", f"user.signingkey={world.key}.pub"),
        *("tag", "--sign", "-m", "Looks good", "-m", f"Plan: {PLAN}\nTarget: shop/prod", *more),
        *(tag, world.commit),
    )
    git(world.upstream.clone, "push", "--quiet", "origin", f"refs/tags/{tag}")


def test_who_approved_by_gits_own_commands_is_found(world):
    by_hand(world, "-m", "Reason: read it\nExpires: 20991231T000000Z")
    (found,) = world.approvals()
    assert (found.by, found.plan, found.commit) == ("grace@example.com", PLAN, world.commit)
    assert (found.reason, found.expires) == ("read it", datetime(2099, 12, 31, tzinfo=timezone.utc))


def test_a_tag_in_a_folder_of_its_owner_is_an_approval(world):
    by_hand(world, tag=f"{FOLDER}/grace/1")
    assert world.approvals()


def test_a_well_made_tag_of_these_tests_is_an_approval(world):
    """The attacks below differ from it in one thing each."""
    world.put_signed()
    assert [found.by for found in world.approvals()] == ["grace@example.com"]


def test_a_tag_in_a_partial_cache_is_found(world):
    world.store.fetch(world.access, "main", world.commit, without_blobs=True)
    world.put_signed()
    assert world.approvals()


def test_nobody_has_approved_anything_yet(world):
    assert world.approvals() == []


def test_an_approval_that_was_withdrawn_is_gone(world):
    world.put_signed()
    assert world.approvals()
    git(world.upstream.bare, "update-ref", "-d", f"refs/tags/{FOLDER}/by-hand")
    assert world.approvals() == []


def test_one_person_approves_twice_by_two_tags_of_the_same_name_in_the_file(world):
    world.approve()
    world.approve(now=NOW + timedelta(seconds=1))
    assert [found.by for found in world.approvals()] == ["grace@example.com"] * 2


def test_two_people_approve_and_the_oldest_stands_first(world):
    alan = make_key(world.root / "alan")
    world.signers.write_text(f"{world.signers.read_text()}alan@example.com {public(alan)}\n")
    world.approve(now=NOW + timedelta(hours=1))
    world.approve(key=alan, name="Alan")
    assert [found.by for found in world.approvals()] == ["alan@example.com", "grace@example.com"]


def test_a_key_of_two_names_is_one_person(world):
    world.signers.write_text(f"grace,hopper {public(world.key)}\nother {public(world.key)}\n")
    world.approve()
    assert [found.by for found in world.approvals()] == ["grace"]


def test_only_the_approvals_of_one_plan_are_asked_for(world):
    world.approve()
    world.approve(plan=OTHER_PLAN)
    assert [found.plan for found in world.approvals(plan=OTHER_PLAN)] == [OTHER_PLAN]
    assert len(world.approvals()) == 2


def test_an_approval_that_expired_says_so(world):
    world.approve(expires=NOW - timedelta(days=1))
    assert [found.expires for found in world.approvals()] == [NOW - timedelta(days=1)]


def test_keys_of_other_people_in_the_text_do_no_harm(world):
    world.put_signed(text=f"{TEXT}\nSigned-off-by: a\nSigned-off-by: b\nSee: x\nSee: y\n")
    assert world.approvals()


# --- whose key it is ------------------------------------------------------------------------------


def test_a_key_that_is_not_in_the_file_approves_nothing(world):
    world.approve(key=make_key(world.root / "mallory"))
    assert world.approvals() == []


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ('namespaces="git"', True),
        ('namespaces="file"', False),
        ('valid-before="20261122060001Z"', True),
        ('valid-before="20261122055959Z"', False),
        ('valid-after="20261122055959Z"', True),
        ('valid-after="20261122060001Z"', False),
        ('valid-after="20200101",valid-before="20210101"', False),
        ('valid-before="20261122055959"', False),  # in UTC, wherever we are
        ("cert-authority", False),
        ('from="anywhere"', False),
    ],
)
def test_the_files_options_are_heeded(world, options, counts):
    world.signers.write_text(f"grace@example.com {options} {public(world.key)}\n")
    world.approve()
    assert bool(world.approvals()) is counts


def test_what_was_signed_while_the_key_was_valid_still_counts(world):
    world.signers.write_text(f'grace valid-before="20261201Z" {public(world.key)}\n')
    world.approve()
    world.approve(now=NOW + timedelta(days=30))
    assert [found.time for found in world.approvals()] == [NOW]


def certified(world: World, principals: str, *options: str) -> Path:
    """Return the certificate of Grace's key by an authority that the file trusts."""
    authority = make_key(world.root / "authority")
    world.signers.write_text(f"*@example.com cert-authority {public(authority)}\n")
    keygen("-s", authority, "-I", "any", "-n", principals, *options, f"{world.key}.pub")
    return world.root / "key-cert.pub"


def test_an_authority_says_whose_key_it_is(world):
    world.approve(key=certified(world, "grace@example.com"))
    assert [found.by for found in world.approvals()] == ["grace@example.com"]


def test_a_certificate_for_names_that_its_authority_may_not_give_approves_nothing(world):
    world.approve(key=certified(world, "grace@elsewhere.com"))
    assert world.approvals() == []


def test_a_certificate_that_had_expired_approves_nothing(world):
    world.approve(key=certified(world, "grace@example.com", "-V", "20200101:20210101"))
    assert world.approvals() == []


def test_a_broken_line_in_the_file_hides_no_other(world):
    lines = f'# people\n\nalan\nalan ssh-ed25519 AAAA\nalan nosuch="x" {public(world.key)}\n'
    world.signers.write_text(lines + world.signers.read_text())
    world.approve()
    assert [found.by for found in world.approvals()] == ["grace@example.com"]


@pytest.mark.parametrize("made", [None, "folder"])
def test_a_file_of_signers_that_cannot_be_read_is_named(world, made):
    world.signers.unlink()
    if made:
        world.signers.mkdir()
    with pytest.raises(ConfigError, match=r"allowed_signers: cannot be read: .*\n  hint: name a"):
        world.approvals()


def test_a_machine_without_ssh_keygen_says_so(world, monkeypatch):
    world.put_signed()
    programs = world.root / "programs"
    programs.mkdir()
    for name in ("git", "git-upload-pack", "sh"):
        (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ToolError, match=r"^ssh-keygen failed\n.*\n  hint: is it installed"):
        world.approvals()


@pytest.mark.parametrize(
    ("script", "seconds", "problem"),
    [
        ("sleep 60", 0.5, "no answer within"),
        ("echo 'No user exists for uid 7' >&2; exit 255", 60, "/etc/passwd"),
    ],
)
def test_an_ssh_keygen_that_cannot_tell_is_an_error_and_no_refusal(
    world, monkeypatch, script, seconds, problem
):
    world.put_signed()
    programs = world.root / "programs"
    programs.mkdir()
    (programs / "ssh-keygen").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "ssh-keygen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(ssh, "KEYGEN_SECONDS", seconds)
    with pytest.raises(ToolError, match=problem):
        world.approvals()


# --- what is none ---------------------------------------------------------------------------------


def edited(world, payload):
    return payload.replace(b"shop/prod\n", b"shop/prod\nReason: x\n") + sign(world.key, payload)


def to_another_commit(world, payload):
    other = world.upstream.commit({"a.txt": "evil\n"})
    return payload.replace(world.commit.encode(), other.encode()) + sign(world.key, payload)


def to_another_plan(world, payload):
    return payload.replace(PLAN.encode(), OTHER_PLAN.encode()) + sign(world.key, payload)


def of_another_text(world, payload):
    return payload + sign(world.key, b"anything")


def of_the_text_without_the_head(world, payload):
    return payload + sign(world.key, TEXT.encode())


def for_a_file(world, payload):
    return payload + sign(world.key, payload, "file")


def by_somebody_else(world, payload):
    return payload + sign(make_key(world.root / "mallory"), payload)


def with_text_after_it(world, payload):
    return payload + sign(world.key, payload) + b"Expires: 20991231T000000Z\n"


def with_a_plan_after_it(world, payload):
    text = payload.replace(f"Plan: {PLAN}\n".encode(), b"")
    return text + sign(world.key, text) + f"Plan: {PLAN}\n".encode()


def twice(world, payload):
    return payload + sign(world.key, payload) * 2


def before_what_is_signed(world, payload):
    return payload + sign(world.key, payload) + TEXT.encode() + ARMOR


def cut_off(world, payload):
    return payload + sign(world.key, payload)[:-40]


def without_its_last_line(world, payload):
    return payload + sign(world.key, payload)[:-1]


def not_there(_world, payload):
    return payload


def of_pgp(_world, payload):
    return payload + b"-----BEGIN PGP SIGNATURE-----\n\nQQ==\n-----END PGP SIGNATURE-----\n"


def of_nothing(_world, payload):
    return payload + ARMOR


def with_another_head(world, payload):
    text = payload.replace(b"\ntagger", b"\nencoding utf-8\ntagger")
    return text + sign(world.key, text)


ATTACKS = [
    edited,
    to_another_commit,
    to_another_plan,
    of_another_text,
    of_the_text_without_the_head,
    for_a_file,
    by_somebody_else,
    with_text_after_it,
    with_a_plan_after_it,
    twice,
    before_what_is_signed,
    cut_off,
    without_its_last_line,
    not_there,
    of_pgp,
    of_nothing,
    with_another_head,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_tag_with_a_signature(world, attack):
    world.put(attack(world, world.payload()))
    assert world.approvals() == []


def test_a_signature_swapped_between_two_tags_approves_neither(world):
    one, other = (world.payload(f"{FOLDER}/{name}") for name in ("one", "other"))
    world.put(one + sign(world.key, other), f"{FOLDER}/one")
    world.put(other + sign(world.key, one), f"{FOLDER}/other")
    assert world.approvals() == []


@pytest.mark.parametrize(
    ("signed", "moved"),
    [
        (f"{FOLDER}/x", "dataops-approvals/shop/other/x"),
        (f"{FOLDER}/x", "dataops-approvals/other/prod/x"),
        (f"{FOLDER}/x", f"{FOLDER}/y"),
        (f"{FOLDER}/x", f"{FOLDER}/deeper/x"),
        ("v1", f"{FOLDER}/v1"),
        ("dataops/shop/prod/x", f"{FOLDER}/x"),
        ("x", f"{FOLDER}/x"),
    ],
)
def test_a_signed_tag_object_that_was_moved_to_another_name_approves_nothing(world, signed, moved):
    payload = world.payload(signed)
    world.put(payload + sign(world.key, payload), moved)
    for project, target in (("shop", "prod"), ("shop", "other"), ("other", "prod")):
        assert world.approvals(target, project=project) == []


def test_a_tag_outside_of_the_targets_folder_is_none_of_its_approvals(world):
    data = world.payload("v1") + ARMOR
    assert signatures.parse("v1", data, project="shop", target="prod") is None


@pytest.mark.parametrize("said", ["shop/other", "other/prod", "prod", "shop/prod ", "Shop/prod"])
def test_a_tag_that_says_another_target_than_its_name_approves_nothing(world, said):
    world.put_signed(text=TEXT.replace("shop/prod", said))
    assert world.approvals() == []


@pytest.mark.parametrize("target", ["prod_2", "pro", "other"])
def test_an_approval_of_one_target_is_none_of_another(world, target):
    world.put_signed()
    assert world.approvals(target) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TEXT.replace("Plan: ", "plan: "),
        TEXT.replace("Plan: ", " Plan: "),
        TEXT.replace("Plan: ", "Plan:"),
        TEXT.replace("Plan: sha256:", "Plan: "),
        TEXT.replace(PLAN, PLAN[:-1]),
        TEXT.replace(PLAN, PLAN.upper()),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\nTarget", "\u2028Target"),
        TEXT.replace("Target: shop/prod\n", ""),
        f"{TEXT}Plan: {PLAN}\n",
        f"{TEXT}Plan: {OTHER_PLAN}\n",
        f"Plan: {OTHER_PLAN}\n{TEXT}",
        f"{TEXT}Target: shop/prod\n",
        f"{TEXT}Expires: 20261129T060000Z\nExpires: 20991129T060000Z\n",
        f"{TEXT}Reason: a\nReason: b\n",
        f"{TEXT}Expires: never\n",
        f"{TEXT}Expires: \n",
        f"{TEXT}Expires: 2026-11-29\n",
        f"{TEXT}Expires: 2026119T060000Z\n",
        f"{TEXT}Expires: 20261129T060000Z \n",
        f"{TEXT}Expires: 20261399T060000Z\n",
        f"{TEXT}Expires: \uff120261129T060000Z\n",
        TEXT + "x" * 20_000 + "\n",
    ],
)
def test_a_signed_text_that_is_not_exactly_an_approval_is_none(world, text):
    world.put_signed(text=text)
    assert world.approvals() == []


def test_an_escape_code_in_the_text_reaches_nobody(world):
    world.put_signed(
        text=f"{TEXT}Reason: \x1b[31mred\x1b[0m \u202etxt\x07 \x85Plan: {OTHER_PLAN}\n"
    )
    (found,) = world.approvals()
    assert found.reason == f"[31mred[0m txt Plan: {OTHER_PLAN}"
    assert found.plan == PLAN


def test_a_text_that_is_no_utf_8_is_read_as_far_as_it_goes(world):
    world.put_signed(text=TEXT.encode() + b"Reason: sch\xf6n\n")
    assert [found.reason for found in world.approvals()] == ["sch\ufffdn"]


@pytest.mark.parametrize(
    "name", ["\u202ex", "\u2028x", "--help", "-x", "$(x)", "a'b\"c", "é", "\ufffd"]
)
def test_a_hostile_name_of_a_tag_is_a_name_like_any_other(world, name):
    world.put_signed(f"{FOLDER}/{name}")
    assert [found.plan for found in world.approvals()] == [PLAN]


def test_a_name_that_is_no_utf_8_belongs_to_no_approval(world):
    name = f"{FOLDER}/".encode() + b"\xff"
    data = world.payload().replace(f"{FOLDER}/by-hand".encode(), name)
    id_ = world.put(data + sign(world.key, data), f"{FOLDER}/first")
    ref = b"refs/tags/" + name
    command = [b"git", b"update-ref", ref, id_.encode()]
    subprocess.run(command, cwd=world.upstream.bare, env=ENVIRONMENT, check=True)
    assert world.approvals() == []


def test_a_tag_without_a_text_of_its_own_approves_nothing(world):
    git(world.upstream.bare, "update-ref", f"refs/tags/{FOLDER}/light", world.commit)
    assert world.approvals() == []


def test_a_file_that_reads_like_an_approval_is_none(world):
    payload = world.payload(f"{FOLDER}/file")
    path = world.root / "blob"
    path.write_bytes(payload + sign(world.key, payload))
    blob = git(world.upstream.bare, "hash-object", "-w", str(path))
    git(world.upstream.bare, "update-ref", f"refs/tags/{FOLDER}/file", blob)
    assert world.approvals() == []


def test_a_tag_of_an_approval_approves_nothing(world):
    inner = world.put_signed()
    git(world.upstream.bare, "update-ref", "-d", f"refs/tags/{FOLDER}/by-hand")
    world.put_signed(f"{FOLDER}/outer", object_=inner, kind="tag")
    assert world.approvals() == []


@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_a_signed_tag_of_something_else_than_a_commit_approves_nothing(world, kind):
    path = "a.txt" if kind == "blob" else ""
    object_ = git(world.upstream.bare, "rev-parse", f"{world.commit}:{path}")
    world.put_signed(object_=object_, kind=kind)
    assert world.approvals() == []


def test_junk_beside_an_approval_hides_it_not(world):
    git(world.upstream.bare, "update-ref", f"refs/tags/{FOLDER}/light", world.commit)
    for attack in ATTACKS:
        name = f"{FOLDER}/{attack.__name__.replace('_', '-')}"
        (world.root / "mallory").unlink(missing_ok=True)
        world.put(attack(world, world.payload(name)), name)
    world.put_signed(f"{FOLDER}/good")
    assert [found.by for found in world.approvals()] == ["grace@example.com"]


def import_junk(world: World, count: int, time: datetime) -> None:
    """Make tags that look like approvals of another plan, signed by nobody."""
    text = TEXT.replace(PLAN, OTHER_PLAN) + ARMOR.decode()
    stream = "".join(
        f"tag {FOLDER}/junk-{i}\nfrom {world.commit}\n"
        f"tagger Mallory <m@example.com> {int(time.timestamp())} +0000\ndata {len(text)}\n{text}\n"
        for i in range(count)
    )
    command = ["git", "fast-import", "--quiet"]
    folder, env = world.upstream.bare, ENVIRONMENT
    subprocess.run(command, cwd=folder, env=env, input=stream.encode(), check=True)


def test_two_thousand_older_tags_do_not_hide_an_approval(world):
    import_junk(world, 2000, NOW - timedelta(days=1))
    world.put_signed()
    assert [found.plan for found in world.approvals(plan=PLAN)] == [PLAN]


def test_of_two_thousand_tags_only_the_newest_thousand_are_looked_at(world, monkeypatch):
    looked_at = []
    parse = signatures.parse
    monkeypatch.setattr(
        signatures, "parse", lambda name, *a, **k: looked_at.append(name) or parse(name, *a, **k)
    )
    import_junk(world, 2000, NOW + timedelta(days=1))
    world.put_signed()
    assert world.approvals(plan=PLAN) == []
    assert len(looked_at) == 1000


def test_a_tag_that_gits_own_checks_refuse_stops_the_look_and_is_named(world):
    world.put_signed(f"{FOLDER}/good")
    id_ = world.put(world.payload().replace(b"> ", b"> 00"))
    with pytest.raises(ToolError, match=id_):
        world.approvals()


def test_nothing_of_a_signature_stays_on_the_disk(world, monkeypatch):
    scratch = world.root / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    world.approve()
    assert world.approvals()
    assert list(scratch.iterdir()) == []


# --- signing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".pub"])
def test_a_key_with_a_passphrase_signs_once_the_agent_has_it(world, agent, suffix):
    key = make_key(world.root / "locked", "open sesame")
    world.signers.write_text(f"grace {public(key)}\n")
    agent(key, "open sesame")
    if suffix:
        key.unlink()
    world.approve(key=key.with_name(f"locked{suffix}"))
    assert [found.by for found in world.approvals()] == ["grace"]


def test_a_passphrase_is_never_asked_for(world, monkeypatch):
    asked = world.root / "asked"
    answer = world.root / "answer.sh"
    answer.write_text(f"#!/bin/sh\ntouch {asked}\n")
    answer.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(answer))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = make_key(world.root / "locked", "open sesame")
    with pytest.raises(
        ConfigError, match=r"locked: needs its passphrase.*\n  hint: first run `ssh-"
    ):
        world.approve(key=key)
    assert not asked.exists()
    assert world.upstream.tags() == []


def unreadable(world):
    return world.root / "missing"


def folder(world):
    return world.root


def no_key(world):
    return world.signers


def public_alone(world):
    key = world.root / "alone.pub"
    key.write_text(public(world.key))
    return key


def open_to_all(world):
    world.key.chmod(0o644)
    return world.key


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (unreadable, "missing: cannot be read: No such file"),
        (folder, "cannot be read: it is no file"),
        (no_key, "allowed_signers: cannot sign: "),
        (public_alone, "alone.pub: cannot sign: .*No private key"),
        (open_to_all, "key: cannot sign: .*too open"),
    ],
)
def test_a_key_that_cannot_sign_is_named_and_nothing_is_pushed(world, monkeypatch, key, problem):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ConfigError, match=problem):
        world.approve(key=key(world))
    assert world.upstream.tags() == []


def test_a_server_that_takes_no_such_tag_says_why(world):
    hook = world.upstream.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'tags are protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ToolError, match=r"(?s)pushing dataops-approvals.*protected.*hint: may the"):
        world.approve()
    assert world.upstream.tags() == []


def test_an_approval_never_replaces_another(world):
    tag = world.approve()
    before = git(world.upstream.bare, "rev-parse", tag)
    with pytest.raises(ToolError, match="pushing"):
        world.approve(reason="changed my mind")
    assert git(world.upstream.bare, "rev-parse", tag) == before


@pytest.mark.parametrize("plan", ["", "aaaaaaaaaaaa", PLAN[:-1], f"{PLAN}\nTarget: x"])
def test_what_is_no_plan_is_not_signed(world, plan):
    with pytest.raises(ConfigError, match="plan: is no plan's digest"):
        world.approve(plan=plan)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Grace Hopper", "grace-hopper"),
        ("", "somebody"),
        ("<>", "somebody"),
        ("李", "somebody"),
        ("../../heads/main", "heads-main"),
        ("x> 0 +0000\nPlan: y", "x-0-0000-plan-y"),
        ("\x1b[31mEve", "31meve"),
        ("a" * 300, "a" * 60),
        ("refs~1^{}:.lock", "refs-1-lock"),
    ],
)
def test_whatever_name_a_person_has_the_approval_is_found(world, name, slug):
    tag = world.approve(name=name)
    assert tag == f"{FOLDER}/aaaaaaaaaaaa-{slug}-20261122T060000Z"
    assert [found.by for found in world.approvals()] == ["grace@example.com"]


INJECTIONS = [
    f"\nPlan: {OTHER_PLAN}",
    "x\r\nTarget: shop/other",
    "x\x85Expires: 20991231T000000Z",
    "x\u2028Reason: y\v\f\x1c",
    ARMOR.decode(),
    "\n-----BEGIN SSH SIGNATURE-----\n",
    "\x1b[2J",
    "\0",
]
REASONS = st.lists(st.sampled_from(INJECTIONS) | st.text(max_size=10), max_size=4).map("".join)
MOMENTS = st.integers(0, 2**33).map(lambda s: datetime.fromtimestamp(s, timezone.utc))


@given(reason=REASONS, expires=st.none() | MOMENTS)
def test_a_reason_says_nothing_but_the_reason(reason, expires):
    text = signatures.message("shop", "prod", plan=PLAN, expires=expires, reason=reason)
    tag = f"{FOLDER}/x"
    head = f"object {'c' * 40}\ntype commit\ntag {tag}\ntagger G <g> 1 +0000\n\n"
    payload = f"{head}{text}".encode(errors="surrogatepass")
    claim = signatures.parse(tag, payload + ARMOR, project="shop", target="prod")
    assert (claim.plan, claim.expires, claim.payload) == (PLAN, expires, payload)
    assert (
        signatures.message("shop", "prod", plan=PLAN, expires=expires, reason=claim.reason) == text
    )


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(data):
    tag = f"{FOLDER}/x"
    head = f"object {'c' * 40}\ntype commit\ntag {tag}\ntagger G <g> 1 +0000\n\n".encode()
    for made in (data, head + data + ARMOR, head + TEXT.encode() + data + b"\n" + ARMOR):
        signatures.parse(tag, made, project="shop", target="prod")
