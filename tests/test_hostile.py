"""Whatever a repository or a configuration holds: nothing of it acts, and every answer is ours.

A payload proves itself by a canary, a file that it would make. None appears.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from dataops_dagster import committed, config, linting, process, store
from dataops_dagster.committed import CommittedFiles
from dataops_dagster.errors import ToolError
from dataops_dagster.execution import pin
from dataops_dagster.gate import lint
from dataops_dagster.heads import look_up
from dataops_dagster.meltano import gathering
from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.model import Rejected
from dataops_dagster.remotes import wire
from dataops_dagster.text import inert_lines
from tests.bad_server import World, nothing_is_left, packet
from tests.conftest import PROJECT_FILES, make_shop, promote_all_the_way
from tests.hostile import PAYLOADS, SECRET, Payload, Site
from tests.hostile_acts import MELTANO, TEXT, Told, acts, do, look, world_at
from tests.repositories import git

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


def new(world: World) -> None:
    """Give dev something that waits to be promoted."""
    site(world, "dev").files({"new.txt": "new\n"})


@pytest.mark.slow
@only(("payload", "side"), those())
def test_no_payload_acts_whatever_is_done_with_its_repository(world: World, payload, side):
    new(world)
    payload.plant(site(world, side))
    answers = []
    for told in acts(world, side):
        is_harmless(told, world)
        answers += [told.answer] if told.act == "promote" else []
    assert (answers == ["ToolError"] * 2) == payload.refused, answers
    assert payload.refused or answers[-1] in ("NothingToDo", "Held"), answers


MIXED = [p for p in PAYLOADS if not (p.refused or p.huge or p.hangs)]


def plant_several(world: World, chance: random.Random, count: int) -> list[Payload]:
    """Plant some that get in, each in one of the repositories, so that they meet in merges."""
    chosen = sorted(chance.sample(MIXED, count), key=MIXED.index)
    for payload in chosen:
        payload.plant(site(world, "dev" if payload.server else chance.choice(SIDES)))
    (world.root / "CANARY").unlink(missing_ok=True)  # git ran the hooks as it planted
    return chosen


@pytest.mark.slow
@only("seed", range(12))
def test_payloads_that_meet_do_not_act_either(world: World, seed):
    new(world)
    chosen = plant_several(world, random.Random(seed), 6)
    print([str(payload) for payload in chosen])
    for told in acts(world, "staging"):
        is_harmless(told, world)


def test_a_repository_full_of_payloads_is_promoted_and_run_and_none_acts(world: World):
    new(world)
    for payload in MIXED:
        if "YAML" not in payload.name:
            payload.plant(site(world, "dev"))
    (world.root / "CANARY").unlink(missing_ok=True)  # git, as it planted, ran the hooks
    for arguments in (("plan", "staging"), ("config", "show", "dev")):
        is_harmless(look(*arguments), world)
    told = do(world, "promote", "dev")
    is_harmless(told, world)
    assert told.answer == "Promoted", told
    is_harmless(do(world, "run", "dev"), world)


def test_a_tag_with_another_name_than_ours_is_no_release(world: World):
    before = look_up(world.shop.project, world.shop.project.workspaces["staging"])
    head, folder = world.staging.head, "dataops/shop/staging"
    names = ("\u202eevil", "x/y", f"x/20990101T000000Z-{head[:12]}", "20990101T000000Z-" + "0" * 12)
    for name in names:
        git(world.staging.bare, "tag", "-a", "-m", "x", f"{folder}/{name}", head)
    after = look_up(world.shop.project, world.shop.project.workspaces["staging"])
    assert after.releases == before.releases
    assert len(after.tags) == len(before.tags) + len(names)


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr("dataops_dagster.heads.LOOKUP_SECONDS", 1.0)
    monkeypatch.setattr(store.Store.__init__, "__defaults__", (1.0,))
    monkeypatch.setattr(store.store_of, "__defaults__", (1.0,))


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@only(("payload", "side"), those(hangs=True))
def test_what_holds_up_whoever_reads_it_is_an_error_within_the_deadline(
    world: World, payload, side
):
    payload.plant(site(world, side))
    for arguments in (("status",), ("plan", "staging"), ("log", "staging")):
        is_harmless(look(*arguments), world)
    is_harmless(do(world, "run", side), world)
    with pytest.raises(ToolError) as caught:  # whoever looked at the refs by hand would wait
        world.shop.promote("staging")
    assert caught.value.hint or caught.value.retryable


SELF_MEGABYTES, PROGRAM_MEGABYTES = 400, 2200
"""What a process of ours may take for the worst of them, and one of git's: its bound, and a little."""


# In the target each takes as long again and the same way; what differs there is who shows refs.
HUGE = [put for put in those(huge=True) if put.values[1] == "dev" or "branches" in str(put.id)]


@pytest.mark.slow
@only(("payload", "side"), HUGE)
def test_what_is_without_measure_takes_a_measured_part_of_the_machine(world: World, payload, side):
    new(world)
    payload.plant(site(world, side))
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile_acts", str(world.root), side],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print({name: found[name] for name in ("us", "programs")})
    for told in found["told"]:
        print(told["act"], told["answer"], told["wrong"][:300])
        is_harmless(Told(**told), world)
    assert found["us"] < SELF_MEGABYTES
    assert found["programs"] < PROGRAM_MEGABYTES


# --- configurations ---------------------------------------------------------------------------

URLS = {
    "a transport that is a program": "ext::sh -c touch% {canary}",
    "another such transport": "fd::0,1",
    "one as a scheme": "ext://touch {canary}",
    "an option": "--upload-pack=touch {canary}",
    "a short option": "-utouch${{IFS}}{canary}",
    "a host that is an option": "ssh://-oProxyCommand=touch%20{canary}/x",
    "a user that is an option": "ssh://-oProxyCommand=touch {canary}@host/x",
    "a host that is an option, short": "-oProxyCommand=touch {canary}:x",
    "a host behind a user that is an option": "git@-oProxyCommand=touch {canary}:x",
    "a shell in it": "http://127.0.0.1:1/$(touch {canary})",
    "a shell in a path": "/nowhere/`touch {canary}`; touch {canary} #",
    "a path that is an option": "file:///--upload-pack=touch {canary}",
    "a newline": "http://127.0.0.1:1/x\\nhost=evil.example",
    "an escaped newline": "http://127.0.0.1:1/%0ahost=evil.example",
    "an escaped zero": "file:///nowhere%00{canary}",
    "an escaped escape": "file:///nowhere%1b]0;x",
    "half a character": "file:///nowhere\\ud800",
    "a transport in a transport": "http::ext::sh -c touch% {canary}",
    "the old protocol": "git://127.0.0.1:1/x",
    "a variable": "$HOME/x",
}
REFS = (
    *(
        "-x",
        "--upload-pack=touch {canary}",
        "a..b",
        "a b",
        "@{{-1}}",
        "HEAD^",
        ":x",
        "+main",
        "a~1",
    ),
    *(
        "main:refs/heads/prod",
        "refs/heads/*",
        "a\\0b",
        "a\\nb",
        "\\ud800",
        ".lock",
        "a.lock",
        "/a",
        "@",
    ),
)
RULES = (
    ":(top)x",
    ":!x",
    ":(attr:evil)**",
    "--x",
    "../x",
    "/x",
    ".git/config",
    "\\ud800",
    "x#\\ud800",
    "**",
)
YAMLS = {
    "tags": "{key}: !!python/object/apply:os.system ['touch {canary}']\n",
    "new objects": "{key}: !!python/object/new:os.system ['touch {canary}']\n",
    "modules": "{key}: !!python/module:this\n",
    "a bomb": "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['x'] * 9)}]\n" for i in range(30)
    )
    + "{key}: *a29\n",
    "an alias in itself": "{key}: &a [*a]\n",
    "a merge of itself": "{key}: &a\n  <<: *a\n",
    "no end of folders": "{key}: " + "[" * 1_500 + "\n",
    "a number without end": "{key}: " + "9" * 100_000 + "\n",
    "a date that is none": "{key}: 2026-13-45\n",
    "control characters": "{key}: 'x\x1b[31m'\n",
}


def written() -> dict[str, str]:
    """Return configurations by what is hostile in them."""
    found = {}
    for name, url in URLS.items():
        found[f"a url with {name}"] = TEXT.replace("repository: dev.git", f'repository: "{url}"')
    for ref in REFS:
        line = f'repository: dev.git\n    branch: "{ref}"'
        found[f"the branch {ref}"] = TEXT.replace("repository: dev.git", line)
    for rule in RULES:
        for key in ("keep", "scope"):
            line = f'repository: staging.git\n    {key}: ["{rule}"]'
            found[f"{key} {rule}"] = TEXT.replace("repository: staging.git", line)
    for name, text in YAMLS.items():
        found[f"YAML with {name}"] = text.replace("{key}", "automation") + TEXT
        found[f"YAML with {name} in place of all"] = text.replace("{key}", "workspaces")
    return {
        name: t.replace("protocols: [file]", "protocols: [file, http, ssh]")
        for name, t in found.items()
    }


def test_no_configuration_acts(world: World, monkeypatch):
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    for name, text in written().items():
        filled = text.replace("{canary}", str(world.root / "CANARY"))
        path = world.root / "dataops.yaml"
        path.write_text(filled.replace("{{", "{").replace("}}", "}"))
        print(name)
        is_harmless(look("plan", "staging"), world)


# --- answers that are cut ---------------------------------------------------------------------


@pytest.fixture
def little(monkeypatch) -> None:
    """No program may say more than this."""
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 20_000)


@pytest.mark.usefixtures("little")
def test_a_plan_that_does_not_know_all_that_changes_is_none(world: World):
    """A keep rule, and the gate, would otherwise see only the part that was read."""
    site(world, "dev").files({f"{i:04d}-{'x' * 40}": "x\n" for i in range(300)})
    told = do(world, "promote", "dev")
    assert told.answer == "ToolError"
    assert "more than we take in" in told.said
    is_harmless(told, world)


@pytest.mark.usefixtures("little")
def test_authors_of_whom_not_all_are_known_are_an_error(world: World):
    place = site(world, "dev")
    tree = git(place.bare, "rev-parse", "main^{tree}").encode()
    base = world.dev.head
    for i in range(12):
        place.commit(tree, author=b"M%d %s <m@evil.example>" % (i, b"x" * 2000))
    world.attempt()
    with pytest.raises(ToolError, match="more than we take in"):
        world.shop.store.authors(base, world.dev.head)


@pytest.mark.slow
@pytest.mark.usefixtures("little")
def test_what_a_huge_file_loses_is_told_without_its_lines(world: World):
    site(world, "dev").files({"big.txt": "".join(f"dev {i}\n" for i in range(3000))})
    site(world, "staging").files({"big.txt": "".join(f"own {i}\n" for i in range(3000))})
    (lost,) = world.shop.consider("staging").plan.overwrites
    assert (lost.path, lost.line_count) == ("big.txt", None)


@pytest.mark.usefixtures("little")
def test_a_huge_file_whose_key_a_target_owns_is_refused(world: World):
    path = world.root / "dataops.yaml"
    path.write_text(
        path.read_text().replace(
            "    upstream: dev\n", "    upstream: dev\n    keep: [meltano.yml#id]\n"
        )
    )
    world.shop.project = config.load(path)
    site(world, "dev").files({"meltano.yml": "id: 1\n" + "# x\n" * 10_000})
    answer = world.attempt()
    assert isinstance(answer, Rejected), answer
    assert "too large" in answer.reason


# --- more YAML than anybody writes ------------------------------------------------------------


@pytest.mark.slow
def test_files_that_are_too_much_together_are_not_all_read(world: World, monkeypatch):
    """Many paths may be one small object in git."""
    monkeypatch.setattr(committed, "TOGETHER", 1000)
    site(world, "dev").files({f"{i}.yml": "x: 1\n" * 50 for i in range(20)})
    world.attempt()
    files = CommittedFiles(world.shop.store, world.dev.head)
    read = files.contents([f"{i}.yml" for i in range(20)])
    assert 0 < len(read) < 10


@only(("bound", "most"), [("_PIPELINE_BYTES", 1000), ("NODES", 8)])
def test_pipelines_that_are_too_large_together_are_told_and_not_read(monkeypatch, bound, most):
    monkeypatch.setattr(gathering, bound, most)
    files = {f"pipelines/{i:02d}.yml": "a: 1\n# " + "x" * 300 + "\n" for i in range(9)}
    reading = gathering.gather(GivenFiles({"meltano.yml": "version: 1\n", **files}))
    told = [str(problem.place.path) for problem in reading.problems if "together" in problem.reason]
    assert told == ["pipelines/03.yml"]


def test_findings_without_end_are_cut_and_that_is_a_finding(world: World, monkeypatch):
    monkeypatch.setattr(linting, "_MOST", 150)
    assert len(lint.findings("a.yml", b"a: 1\n" * 5000)) == 100
    site(world, "dev").files({f"{i}.yml": "a: 1\n" * (200 + i) for i in range(9)})
    workspace = world.shop.project.workspaces["dev"]
    commit = pin(world.shop.project, workspace, None, store=world.shop.store)
    found = linting.at_commit(
        commit, world.shop.project, workspace, store=world.shop.store, ignore=()
    )
    told = [each for each in found.errors if "there is too much" in each.reason]
    assert len(told) == 1
    assert len(found.errors) < 300


# --- servers that talk without end ------------------------------------------------------------


class Talk(io.RawIOBase):
    """An answer that says the same again and again before it ends."""

    def __init__(self, again: bytes, times: int, end: bytes) -> None:
        self.pieces = iter([again] * times + [end])
        self.rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size and (piece := next(self.pieces, b"")):
            self.rest += piece
        read, self.rest = self.rest[:size], self.rest[size:]
        return read


def test_of_what_a_server_says_beside_a_pack_only_the_begin_is_kept():
    said = packet(b"\x02" + b"x" * 60_000)
    answer = Talk(said, 400, packet(b"\x01PACK") + b"0000")
    answer.rest = packet(b"packfile\n")
    tracemalloc.start()
    assert list(wire.pack(answer)) == [b"PACK"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_of_what_a_server_says_of_a_push_each_line_is_short():
    told = packet(b"unpack ok\n") + packet(b"ng refs/heads/main " + b"n" * 60_000 + b"\n") + b"0000"
    end = packet(b"\x01" + told) + b"0000"
    report = wire.report(
        Talk(packet(b"\x02" + b"x" * 60_000 + b"\n"), 50, end), ["refs/heads/main"]
    )
    assert len(report.refused["refs/heads/main"]) == 500
    assert sum(map(len, report.said)) <= 1000


@pytest.mark.parametrize("text", [b"ERR ", b"\x03"])
def test_the_error_of_a_server_is_told_short(text):
    answer = packet(b"packfile\n") + packet(text + b"\x1b[31m" + b"n" * 60_000)
    with pytest.raises(wire.ServerRefused) as caught:
        list(wire.pack(io.BytesIO(answer)))
    assert len(str(caught.value)) == 500
    assert str(caught.value).isprintable()
