"""Whatever state a repository is in: a typed answer, and a target that is unchanged or complete."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataops_dagster import remotes
from dataops_dagster.errors import ToolError
from dataops_dagster.model import Allowance, NothingToDo, Promoted, Rejected
from tests.bad_server import (
    FILE,
    FIRST,
    GROWN,
    HTTP,
    OLD,
    OURS,
    PROMOTED,
    TRANSPORTS,
    World,
    make_template,
    make_world,
    nothing_is_left,
    refs,
)
from tests.repositories import ENVIRONMENT, Workspace, git


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Callable[[str], Path]:
    """Make what worlds are copied from, once."""
    return functools.cache(lambda holds: make_template(tmp_path_factory.mktemp("template"), holds))


@pytest.fixture(params=TRANSPORTS)
def transport(request) -> str:
    return request.param


@pytest.fixture
def made(tmp_path: Path, transport: str, templates, monkeypatch) -> Iterator[Callable]:
    """Make the test's world; after the test nothing of ours is left running or lying about."""
    monkeypatch.setattr(remotes, "_plain", set())
    worlds: list[World] = []

    def make(holds: str) -> World:
        worlds.append(make_world(tmp_path, transport, templates(holds)))
        return worlds[0]

    with nothing_is_left(tmp_path):
        yield make
        for world in worlds:
            if world.server:
                world.server.close()


@pytest.fixture
def world(made) -> World:
    """A project in dev, and a staging with a first commit of its own."""
    return made(FIRST)


@pytest.fixture
def promoted(made) -> World:
    """A staging that dev was promoted to, over another cache than ours."""
    return made(PROMOTED)


@pytest.fixture
def warm(made) -> World:
    """Histories that met once and went on, whole and unpacked in our cache; dev has more now."""
    world = made(GROWN)
    world.shop.consider("staging")
    fill(world.cache, world.dev, world.staging)
    git(world.dev.bare, "update-ref", "refs/heads/main", "next")
    return world


pytestmark = pytest.mark.slow
only = pytest.mark.parametrize
on_files = only("transport", [FILE], indirect=True)
on_both = only("transport", [FILE, HTTP], indirect=True)
over_files_and_an_old_server = only("transport", [FILE, OLD], indirect=True)


def written(workspace: Workspace, kind: str, content: bytes) -> str:
    """Write an object of any content into a bare repository; returns its id."""
    done = subprocess.run(
        ["git", "hash-object", "-t", kind, "--literally", "-w", "--stdin"],
        cwd=workspace.bare,
        env=ENVIRONMENT,
        input=content,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def set_branch(workspace: Workspace, commit: str, branch: str = "main") -> None:
    """Let a branch be at a commit, whatever git thinks of it."""
    path = workspace.bare / "refs" / "heads" / branch
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{commit}\n")


def loose(repository: Path, id_: str) -> Path:
    """Return the file of an object that is in no pack."""
    return repository / "objects" / id_[:2] / id_[2:]


def unpacked(repository: Path) -> None:
    """Take a repository's packs apart, so that single objects can be broken."""
    packs = repository / "objects" / "pack"
    for pack in packs.glob("*.pack"):
        aside = repository / pack.name
        pack.rename(aside)
        pack.with_suffix(".idx").unlink()
        with aside.open("rb") as stream:
            subprocess.run(
                ["git", "unpack-objects", "-q"], cwd=repository, stdin=stream, check=True
            )
        aside.unlink()
    for rest in packs.iterdir():
        rest.unlink()


def fill(cache: Path, *workspaces: Workspace) -> None:
    """Put all that workspaces' branches `main` hold into a cache, one file an object."""
    for rest in cache.glob("objects/pack/*"):
        rest.unlink()
    for workspace in workspaces:
        for id_ in git(workspace.bare, "rev-list", "--objects", "main").splitlines():
            place = loose(cache, id_[:40])
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                shutil.copy(loose(workspace.bare, id_[:40]), place)


def overwritten(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def clear(answer: object, *, about: str = "") -> ToolError:
    """Assert that the answer is an error that says what a person can do."""
    assert isinstance(answer, ToolError), answer
    assert answer.hint
    assert about in answer.hint
    assert str(answer).replace("\n", "").isprintable()
    return answer


# --- branches and heads -----------------------------------------------------------------------


@only("how", ["the branch has another name", "the repository is empty"])
def test_an_upstream_without_the_branch_is_refused_with_a_hint(world: World, how):
    if how == "the repository is empty":
        shutil.rmtree(world.dev.bare)
        git(world.root, "init", "--quiet", "--bare", str(world.dev.bare))
    else:
        git(world.dev.bare, "branch", "--move", "main", "trunk")
    answer = world.attempt()
    assert isinstance(answer, Rejected)
    assert answer.reason == "dev has no branch main"
    assert "workspaces.dev.branch" in answer.hint
    assert refs(world.staging) == world.before


@only("how", ["the branch has another name", "the repository is empty"])
def test_a_target_without_the_branch_gets_one(world: World, how):
    if how == "the repository is empty":
        shutil.rmtree(world.staging.bare)
        git(world.root, "init", "--quiet", "--bare", str(world.staging.bare))
    else:
        git(world.staging.bare, "branch", "--move", "main", "trunk")
    world.promoted()
    assert world.staging.head == world.dev.head


@only("side", ["dev", "staging"])
def test_a_repository_that_is_not_there_is_named_with_its_place(world: World, side):
    (world.root / f"{side}.git").rename(world.root / "elsewhere.git")
    try:
        answer = world.shop.promote("staging")
    except ToolError as error:
        answer = error
    clear(answer, about=f"check workspaces.{side}.repository")


@on_files
@only("side", ["dev", "staging"])
def test_a_repository_that_is_a_file_is_named_with_its_place(world: World, side):
    place = world.root / f"{side}.git"
    place.rename(world.root / "elsewhere.git")
    place.write_text("no repository\n")
    try:
        answer = world.shop.promote("staging")
    except ToolError as error:
        answer = error
    clear(answer, about=f"check workspaces.{side}.repository")


@on_both
@only(
    "head",
    ["{commit}", "ref: refs/heads/nowhere", "ref: refs/remotes/origin/main", "ref: refs/tags/x"],
    ids=["detached", "a missing branch", "a remote's branch", "a tag"],
)
def test_what_HEAD_says_on_either_side_does_not_matter(world: World, head):  # noqa: N802
    for workspace in (world.dev, world.staging):
        (workspace.bare / "HEAD").write_text(head.format(commit=workspace.head) + "\n")
    world.promoted()
    assert world.staging.tree() == world.dev.tree()


@on_both
@only("side", ["dev", "staging"])
def test_a_HEAD_that_git_cannot_read_is_a_clear_error(world: World, side):  # noqa: N802
    head = world.root / f"{side}.git" / "HEAD"
    before = head.read_text()
    head.write_text("rubbish\n")
    try:
        answer = world.shop.promote("staging")
    except ToolError as error:
        answer = error
    clear(answer, about=f"check workspaces.{side}.repository")
    head.write_text(before)
    world.promoted()


LIKES = (
    *("refs/tags/main", "refs/tags/heads/main", "refs/remotes/heads/main", "refs/heads/main-2"),
    *("refs/heads/heads/main", "refs/heads/mai", "refs/remotes/main/HEAD"),
)
NESTED = ("refs/tags/refs/heads/main", "refs/heads/refs/heads/main")


def _decoys(world: World, names: tuple[str, ...], *workspaces: Workspace) -> None:
    for workspace in workspaces:
        decoy = git(workspace.bare, "commit-tree", workspace.tree(), "-m", "Decoy")
        for name in names:
            git(workspace.bare, "update-ref", name, decoy)
    world.remember()


def test_refs_that_are_called_like_the_branch_are_not_the_branch(world: World):
    _decoys(world, LIKES, world.dev, world.staging)
    _decoys(world, NESTED, world.dev)
    answer = world.promoted()
    assert answer.ready.plan.upstream_commit == world.dev.head
    assert world.staging.tree() == world.dev.tree()
    assert isinstance(world.attempt(), NothingToDo)


def test_refs_of_the_target_that_are_called_like_the_branchs_full_name_are_not_it(world: World):
    _decoys(world, NESTED, world.staging)
    answer = world.attempt()
    if world.transport == OLD:  # git's own push refuses such a name as ambiguous
        clear(answer)
        assert refs(world.staging) == world.before
    else:
        assert isinstance(answer, Promoted), answer
        assert world.staging.tree() == world.dev.tree()


@only("whose", ["another commit's", "its own"])
def test_a_branch_that_is_named_like_an_object_id_is_a_branch(world: World, whose):
    old, new = world.dev.head, world.dev.commit({"a": "1\n"})
    name = old if whose == "another commit's" else new
    set_branch(world.dev, new, name)
    set_branch(world.staging, world.staging.head, name)
    world.load(dev=name, staging=name)
    assert world.promoted().ready.plan.upstream_commit == new


NAMES = {
    "very long": "/".join(["x" * 200] * 4),
    "of two scripts": "größe/データ/ветка-é-e\u0301",
    "full of signs": "a+b=c,d;e!f#g%25h&i'j\"k(l)m{n}$o`p",
}


@only("name", NAMES.values(), ids=NAMES.keys())
def test_a_branch_may_have_any_name_that_git_allows(world: World, name):
    git(world.dev.bare, "update-ref", f"refs/heads/{name}", world.dev.commit({"a": "1\n"}))
    world.load(dev=name, staging=name)
    world.promoted()
    assert git(world.staging.bare, "rev-parse", f"refs/heads/{name}") == world.dev.head
    assert isinstance(world.attempt(), NothingToDo)


def test_an_upstream_that_was_rewritten_is_refused_until_a_person_allows_it(
    promoted: World, monkeypatch
):
    world = promoted
    monkeypatch.setitem(ENVIRONMENT, "GIT_COMMITTER_DATE", "2037-01-01T00:00:00Z")
    gone = world.dev.commit({"a": "1\n"})
    world.promoted()
    git(world.dev.clone, "commit", "--quiet", "--amend", "-m", "Rewritten")
    git(world.dev.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
    assert world.dev.head != gone
    answer = world.attempt()
    assert isinstance(answer, Rejected), answer
    assert gone[:12] in answer.reason
    assert "allow rewritten" in answer.hint
    world.promoted(allow=[Allowance.REWRITTEN])


@on_files
def test_a_rewrite_is_noticed_when_several_promotions_happened_in_one_second(
    promoted: World, monkeypatch
):
    world = promoted
    monkeypatch.setitem(ENVIRONMENT, "GIT_COMMITTER_DATE", "2037-01-01T00:00:00Z")
    for i in range(20):
        last = world.dev.commit({"a": f"{i}\n"})
        tag = world.promoted().release.tag
        if i and tag != max(world.staging.tags()):
            break  # the names of tags do not tell which of them is the latest
    git(world.dev.clone, "commit", "--quiet", "--amend", "-m", "Rewritten")
    git(world.dev.clone, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
    answer = world.attempt()
    assert isinstance(answer, Rejected), answer
    assert last[:12] in answer.reason


def test_a_rewrite_after_the_look_up_is_an_answer_and_heals(promoted: World, monkeypatch):
    world = promoted
    world.attempt()
    old = world.dev.head
    world.dev.commit({"a": "1\n"})
    bring = world.shop.store.bring

    def rewritten(*arguments, **more) -> None:
        monkeypatch.undo()
        git(world.dev.bare, "update-ref", "refs/heads/main", old)
        git(world.dev.bare, "reflog", "expire", "--expire=now", "--all")
        git(world.dev.bare, "gc", "--quiet", "--prune=now")
        bring(*arguments, **more)

    monkeypatch.setattr(world.shop.store, "bring", rewritten)
    answer = world.attempt()
    assert isinstance(answer, ToolError)
    assert answer.retryable
    assert isinstance(world.attempt(), NothingToDo)


def test_a_target_that_was_set_back_is_promoted_to_again(promoted: World):
    world = promoted
    first = git(world.staging.bare, "rev-parse", "refs/heads/main^1")
    git(world.staging.bare, "update-ref", "refs/heads/main", first)
    world.promoted()
    assert world.staging.tree() == world.dev.tree()
    assert len(world.staging.tags()) == 2


@on_both
def test_a_branch_that_is_no_commit_is_an_answer(world: World):
    id_ = written(world.dev, "blob", b"no commit\n")
    set_branch(world.dev, id_)
    assert isinstance(world.attempt(), ToolError | Rejected)
    assert refs(world.staging) == world.before


@on_both
def test_a_branch_whose_commit_is_missing_is_an_answer(world: World):
    set_branch(world.dev, "1" * 40)
    assert isinstance(world.attempt(), ToolError | Rejected)
    assert refs(world.staging) == world.before


@over_files_and_an_old_server
def test_a_target_whose_branch_somebody_works_on_is_refused_with_the_servers_reason(world: World):
    git(world.staging.bare, "config", "core.bare", "false")
    git(world.staging.bare, "config", "receive.denyCurrentBranch", "refuse")
    git(world.staging.bare, "config", "core.worktree", str(world.staging.clone))
    answer = world.attempt()
    assert isinstance(answer, Rejected)
    assert "checked out" in answer.reason
    assert answer.hint
    assert refs(world.staging) == world.before


def test_five_thousand_refs_of_others_are_not_asked_for(promoted: World):
    world = promoted
    world.dev.commit({"a": "1\n"})
    for workspace in (world.dev, world.staging):
        git(workspace.bare, "pack-refs", "--all")
        head, packed = workspace.head, workspace.bare / "packed-refs"
        others = [f"{kind}/zz/{i:05}" for kind in ("heads", "tags") for i in range(2500)]
        with packed.open("a") as lines:
            lines.writelines(f"{head} refs/{other}\n" for other in others)
    world.promoted()
    if world.transport == HTTP:
        answers = zip(world.server.log, world.server.answers, strict=True)
        looked_up = [size for (kind, _), size in answers if kind == "look-up"]
        assert len(looked_up) == 3  # one a side, and one after the push
        assert max(looked_up) < 1000


# --- what is no full repository of ours -------------------------------------------------------


@only("side", ["dev", "staging"])
def test_a_shallow_repository_is_refused_with_what_to_do(promoted: World, side):
    world = promoted
    for i in range(2):
        world.dev.commit({"a": f"{i}\n"})
        world.staging.commit({"b": f"{i}\n"})
    whole = world.root / f"{side}.git"
    whole.rename(world.root / "whole.git")
    source = f"file://{world.root / 'whole.git'}"
    git(world.root, "clone", "--quiet", "--bare", "--depth=1", source, str(whole))
    assert (whole / "shallow").exists()
    answer = world.attempt()
    clear(answer, about="--unshallow")
    assert not answer.retryable
    assert refs(world.staging) == world.before
    git(whole, "fetch", "--quiet", "--unshallow", source)
    world.promoted()


@only("side", ["dev", "staging"])
@only("empty", [True, False], ids=["empty", "with a commit"])
def test_a_sha256_repository_is_refused_with_what_to_do(world: World, side, empty):
    place = world.root / f"{side}.git"
    shutil.rmtree(place)
    git(world.root, "init", "--quiet", "--bare", "--object-format=sha256", str(place))
    if not empty:
        tree = git(place, "hash-object", "-t", "tree", "-w", os.devnull)
        commit = git(place, "commit-tree", tree, "-m", "First")
        git(place, "update-ref", "refs/heads/main", commit)
    answer = world.attempt()
    if isinstance(answer, Rejected):  # an old server does not say what an empty repository is
        assert (world.transport, side, empty) == (OLD, "dev", True)
        return
    clear(answer, about="sha1")
    assert not answer.retryable


def test_lfs_pointers_are_promoted_as_the_small_files_they_are(world: World, monkeypatch):
    ran = world.root / "RAN"
    program = world.root / "bin" / "git-lfs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {ran}\nexec cat\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for workspace in (world.dev, world.staging):
        for key, value in {"smudge": "git-lfs smudge", "process": "git-lfs filter-process"}.items():
            git(workspace.bare, "config", f"filter.lfs.{key}", value)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1234567890\n"
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
    both = {".gitattributes": attributes, "x.bin": pointer.format("a" * 64)}
    world.staging.commit({**both, "x.bin": pointer.format("b" * 64)})
    world.dev.commit(both)
    world.promoted()
    assert world.staging.show("x.bin") == both["x.bin"].strip()
    folder = world.root / "exported"
    folder.mkdir()
    world.shop.store.export(world.staging.head, folder)
    assert (folder / "x.bin").read_text() == both["x.bin"]
    assert not ran.exists()
    if world.server:
        assert not [path for path, _ in world.server.requests if "lfs" in path]


# --- broken repositories ----------------------------------------------------------------------


def _id(workspace: Workspace, name: str) -> str:
    return git(workspace.bare, "rev-parse", name)


def _truncated(workspace: Workspace) -> None:
    path = loose(workspace.bare, _id(workspace, "main:pipeline.yml"))
    overwritten(path, path.read_bytes()[:8])


def _emptied(workspace: Workspace) -> None:
    overwritten(loose(workspace.bare, _id(workspace, "main")), b"")


def _without_tree(workspace: Workspace) -> None:
    loose(workspace.bare, _id(workspace, "main^{tree}")).unlink()


def _without_parent(workspace: Workspace) -> None:
    loose(workspace.bare, _id(workspace, "main~1")).unlink()


def _without_blob(workspace: Workspace) -> None:
    loose(workspace.bare, _id(workspace, "main:pipeline.yml")).unlink()


def _corrupt_pack(workspace: Workspace) -> None:
    git(workspace.bare, "repack", "-a", "-d", "-q", "-f", "-F")
    (pack,) = workspace.bare.glob("objects/pack/*.pack")
    content = bytearray(pack.read_bytes())
    for at in range(20, len(content) - 20, 7):
        content[at] ^= 0x55
    overwritten(pack, bytes(content))


BREAKS = {
    "a truncated blob": _truncated,
    "an empty commit file": _emptied,
    "a missing tree": _without_tree,
    "a missing parent": _without_parent,
    "a missing blob": _without_blob,
    "a corrupt pack": _corrupt_pack,
}


@over_files_and_an_old_server
@only("broken", BREAKS.values(), ids=BREAKS.keys())
def test_a_broken_upstream_is_an_error_of_its_server_and_not_of_our_cache(promoted: World, broken):
    world = promoted
    world.dev.commit({"pipeline.yml": "source: orders\ntarget: warehouse\n"})
    world.promoted()
    world.dev.commit({"pipeline.yml": "source: carts\ntarget: warehouse\n"})
    world.dev.commit({"README.md": "# dev 2\n"})
    unpacked(world.dev.bare)
    whole = world.root / "whole.git"
    shutil.copytree(world.dev.bare, whole)
    broken(world.dev)
    answer = world.attempt()
    assert isinstance(answer, ToolError | Rejected), answer
    assert refs(world.staging) == world.before
    assert "cache" not in answer.hint
    shutil.rmtree(world.dev.bare)
    whole.rename(world.dev.bare)
    world.promoted()
    assert world.staging.show("pipeline.yml") == "source: carts\ntarget: warehouse"


@on_both
def test_a_target_that_lacks_its_own_tree_stays_as_it_is(made):
    world = made(GROWN)
    unpacked(world.staging.bare)
    _without_tree(world.staging)
    answer = world.attempt()
    assert isinstance(answer, ToolError | Rejected), answer
    assert refs(world.staging) == world.before


CACHED = {
    "the merge base": ("dev", "main~3"),
    "a commit of the upstream's": ("dev", "main~2"),
    "the upstream's last": ("dev", "main~1"),
    "a tree of the upstream's last": ("dev", "main~1^{tree}"),
    "a file of the upstream's last": ("dev", "main~1:new.yml"),
    "the target's head": ("staging", "main"),
    "the target's promotion": ("staging", "main~1"),
    "the target's first commit": ("staging", "main~1^1"),
    "the target's tree": ("staging", "main^{tree}"),
    "the target's own file": ("staging", "main:pipeline.yml"),
    "the merge base's tree": ("dev", "main~3^{tree}"),
    "the merge base's file": ("dev", "main~3:pipeline.yml"),
}
LOST = [
    *((FILE, "missing", name) for name in CACHED),
    *((FILE, how, "the merge base") for how in ("truncated", "empty")),
    *((FILE, how, "the target's tree") for how in ("truncated", "empty")),
    (OLD, "missing", "the merge base"),
    (OLD, "missing", "a commit of the upstream's"),
    (OLD, "missing", "the target's own file"),
]


@only(("transport", "how", "name"), LOST, indirect=["transport"])
def test_a_cache_that_lost_an_object_heals_and_the_targets_edits_stay(warm: World, how, name):
    side, revision = CACHED[name]
    lost = loose(warm.cache, _id(getattr(warm, side), revision))
    if how == "missing":
        lost.unlink()
    else:
        overwritten(lost, b"" if how == "empty" else lost.read_bytes()[:12])
    warm.healed()
    assert warm.staging.show("pipeline.yml") == OURS.strip()
    assert warm.staging.show("README.md") == "# next"


def _flipped(pack: Path) -> None:
    content = bytearray(pack.read_bytes())
    for at in range(20, len(content) - 20, 7):
        content[at] ^= 0x55
    overwritten(pack, bytes(content))


PACKS = {
    "a corrupt pack": _flipped,
    "a truncated pack": lambda pack: overwritten(pack, pack.read_bytes()[:40]),
    "a pack that is gone": lambda pack: pack.unlink(),
    "an index that is gone": lambda pack: pack.with_suffix(".idx").unlink(),
    "a corrupt index": lambda pack: overwritten(pack.with_suffix(".idx"), b"rubbish"),
}


@on_files
@only("kind", ["a partial cache", "a whole one"])
@only("broken", PACKS.values(), ids=PACKS.keys())
def test_a_cache_with_a_broken_pack_heals(made, broken, kind):
    world = made(GROWN)
    world.shop.consider("staging")
    if kind == "a whole one":
        fill(world.cache, world.dev, world.staging)
        git(world.cache, "--git-dir=.", "repack", "-a", "-d", "-q")
    git(world.dev.bare, "update-ref", "refs/heads/main", "next")
    for pack in world.cache.glob("objects/pack/*.pack"):
        broken(pack)
    world.healed()
    assert world.staging.show("pipeline.yml") == OURS.strip()
    assert world.staging.show("README.md") == "# next"


@on_files
@only("name", ["config", "refs/dataops", "packed-refs"])
def test_a_cache_whose_own_files_are_rubbish_heals(warm: World, name):
    path = warm.cache / name
    if path.is_dir():
        for ref in path.iterdir():
            ref.write_text("rubbish\n")
    else:
        path.write_text("[core\nrubbish\n")
    warm.healed()
    assert warm.staging.show("pipeline.yml") == OURS.strip()


# --- odd commits ------------------------------------------------------------------------------


@over_files_and_an_old_server
def test_a_message_of_a_megabyte_is_promoted_and_told_short(world: World):
    message = world.root / "message"
    message.write_text("x" * 500_000 + "\n\n" + "line\n" * 100_000)
    world.dev.commit({"a": "1\n"})
    git(world.dev.clone, "commit", "--quiet", "--allow-empty", "-F", str(message))
    git(world.dev.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    answer = world.promoted()
    assert len(answer.ready.plan.commits[0].subject) <= 200
    assert world.staging.tree() == world.dev.tree()


def commit_like(world: World, *, author: bytes, committer: bytes, tree: str = "") -> str:
    """Commit on dev with lines that git itself would not write."""
    tree = tree or world.dev.tree()
    head = world.dev.head
    return written(
        world.dev,
        "commit",
        b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\nOdd\n"
        % (tree.encode(), head.encode(), author, committer),
    )


FINE = b"Grace <grace@example.com> 1700000000 +0000"
IDENTITIES = {
    "a time zone that is too long": b"Grace <grace@example.com> 1700000000 +051800",
    "a time zone without a sign": b"Grace <grace@example.com> 1700000000 0000",
    "a time zone of letters": b"Grace <grace@example.com> 1700000000 UTC",
    "an empty time zone": b"Grace <grace@example.com> 1700000000 ",
    "no space before the date": b"Grace <grace@example.com>1700000000 +0000",
    "a sign before the date": b"Grace <grace@example.com>-1700000000 +0000",
}


@on_files
@only("target", ["a target", "no target"])
@only("line", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_a_history_with_old_defects_is_promoted(world: World, target, line):
    if target == "no target":
        git(world.staging.bare, "update-ref", "-d", "refs/heads/main")
    set_branch(world.dev, commit_like(world, author=line, committer=line))
    world.dev.commit({"a": "1\n"})
    world.promoted()
    assert world.staging.tree() == world.dev.tree()
    assert isinstance(world.attempt(), NothingToDo)


@only("target", ["a target", "no target"])
def test_a_head_with_an_old_defect_is_promoted(world: World, target):
    if target == "no target":
        git(world.staging.bare, "update-ref", "-d", "refs/heads/main")
    odd = IDENTITIES["a time zone that is too long"]
    set_branch(world.dev, commit_like(world, author=odd, committer=odd))
    world.promoted()
    assert world.staging.tree() == world.dev.tree()


@only("target", ["a target", "no target"])
def test_a_zero_padded_file_mode_is_promoted(world: World, target):
    if target == "no target":
        git(world.staging.bare, "update-ref", "-d", "refs/heads/main")
    inner = written(world.dev, "tree", b"100644 a\0" + bytes.fromhex(_id(world.dev, "main:run.sh")))
    outer = written(world.dev, "tree", b"040000 dir\0" + bytes.fromhex(inner))
    set_branch(world.dev, commit_like(world, author=FINE, committer=FINE, tree=outer))
    world.promoted()
    assert world.staging.files()[-1] == "dir/a"


@over_files_and_an_old_server
def test_control_characters_in_an_authors_name_are_inert(world: World):
    odd = b"Gr\x1b[31m\x07a\x7fce\xe2\x80\xae <gr\x1bace@example.com> 1700000000 +0000"
    set_branch(world.dev, commit_like(world, author=odd, committer=odd))
    answer = world.promoted()
    assert all(c.author.isprintable() for c in answer.ready.plan.commits)


@over_files_and_an_old_server
@only("seconds", [0, 2**31 + 5, 32_503_680_000, 569_034_205_000, 2**62], ids=str)
def test_a_commit_of_any_time_is_promoted_or_refused(world: World, seconds):
    odd = b"Grace <grace@example.com> %d +0000" % seconds
    set_branch(world.dev, commit_like(world, author=odd, committer=odd))
    world.promoted()


BAD_MODULES = '[submodule "m"]\n\tpath = m\n\turl = -u./payload\n'


@only("attempts", [1, 2])
def test_a_submodule_that_would_run_a_program_is_refused_each_time_it_is_met(
    world: World, attempts
):
    world.dev.commit({".gitmodules": BAD_MODULES})
    for _ in range(attempts):
        answer = world.attempt()
        assert isinstance(answer, ToolError), answer
        assert "gitmodules" in str(answer)
        assert refs(world.staging) == world.before


def test_a_submodule_that_would_run_a_program_is_refused_in_a_later_commit_too(promoted: World):
    world = promoted
    world.attempt()
    world.dev.commit({".gitmodules": BAD_MODULES})
    world.dev.commit({"a": "1\n"})
    for _ in range(2):
        answer = world.attempt()
        assert isinstance(answer, ToolError), answer
        assert refs(world.staging) == world.before


def test_a_submodule_that_would_run_a_program_is_refused_in_the_second_repository_too(made):
    """A cache that leaves contents out already: git takes a missing `.gitmodules` for expected then."""
    world = made(PROMOTED)
    world.staging.commit({".gitmodules": BAD_MODULES})
    answer = world.attempt()
    assert isinstance(answer, ToolError), answer
    assert "gitmodules" in str(answer)


def test_a_submodule_that_would_run_a_program_is_refused_where_only_its_name_is_new(made):
    """Its contents came before, under a name of no meaning, and were left out unseen."""
    world = made(PROMOTED)
    world.dev.commit({"notes.txt": BAD_MODULES})
    world.promoted()
    shutil.rmtree(world.cache.parent)
    world.load()
    world.staging.commit({"README.md": "# of its own\n"})
    assert isinstance(world.attempt(), NothingToDo)
    world.dev.commit({".gitmodules": BAD_MODULES})
    answer = world.attempt()
    assert isinstance(answer, ToolError), answer
    assert "gitmodules" in str(answer)


def test_a_submodule_that_does_no_harm_is_promoted(world: World):
    world.dev.commit({".gitmodules": '[submodule "m"]\n\tpath = m\n\turl = ../m\n'})
    assert isinstance(world.attempt(), Promoted)
