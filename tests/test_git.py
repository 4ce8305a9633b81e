"""Nothing that a repository, a server or a person's settings hold changes what we do."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from dataops_dagster import config, promotion, release
from dataops_dagster.cache import CacheBroken
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.git import LOOKUP_SECONDS, Access, version
from dataops_dagster.heads import look_up
from dataops_dagster.model import Promoted, Raced
from dataops_dagster.objects import News, identity
from dataops_dagster.remotes import Remote
from dataops_dagster.store import Store
from tests.conftest import NOW, SHOP, Shop
from tests.repositories import Workspace, git, make_workspace
from tests.smart_http import SmartHttpServer

PASSWORD = "correct horse battery staple"


def access(workspace: Workspace) -> Access:
    return Access(workspace.url, "workspaces.it", ("file",))


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """Return a file that only hostile content makes."""
    return tmp_path / "OWNED"


@pytest.fixture
def upstream(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path, "upstream")
    made.commit({"a.txt": "a\n"}, "First")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", "shop")


def exported(store: Store, upstream: Workspace, commit: str | None = None) -> Path:
    """Fetch and export a commit; returns the folder."""
    commit = commit or upstream.head
    store.fetch(access(upstream), "main", commit)
    folder = store.folder.parent.parent / "exported"
    folder.mkdir()
    store.export(commit, folder)
    return folder


def plant(upstream: Workspace, entries: str, message: str = "Planted") -> str:
    """Commit a tree that no work tree could hold; `entries` are lines for mktree."""
    tree = subprocess.run(
        ["git", "mktree", "--missing"],
        cwd=upstream.bare,
        input=entries.encode(),
        capture_output=True,
        check=True,
    )
    id_ = tree.stdout.decode().strip()
    git(upstream.bare, "config", "user.name", "Mallory")
    commit = git(upstream.bare, "commit-tree", id_, "-p", upstream.head, "-m", message)
    git(upstream.bare, "update-ref", "refs/heads/main", commit)
    return commit


# --- a person's settings ----------------------------------------------------------------------


@pytest.fixture
def hostile_home(tmp_path: Path, owned: Path, monkeypatch) -> Path:
    """A HOME whose git configuration runs programs wherever git lets it."""
    home, touch = tmp_path / "home", program(tmp_path / "touch", f"touch {owned}\nexec cat")
    for hook in ("reference-transaction", "pre-push", "post-checkout", "post-index-change"):
        program(home / "hooks" / hook, f"touch {owned}")
    (home / "attributes").write_text("* filter=evil merge=evil diff=evil\n")
    settings = f"""
[core]
    hooksPath = {home}/hooks
    fsmonitor = {touch}
    attributesFile = {home}/attributes
    sshCommand = {touch}
    pager = {touch}
    askPass = {touch}
[credential]
    helper = !touch {owned}
[filter "evil"]
    clean = {touch}
    smudge = {touch}
    required = true
[merge "evil"]
    driver = {touch} %O %A %B
[diff "evil"]
    textconv = {touch}
[alias]
    fetch = !touch {owned}
    ls-remote = !touch {owned}
[url "file:///nowhere/"]
    insteadOf = file://{tmp_path}/
[init]
    templateDir = {home}/template
[transfer]
    hideRefs = refs/heads
[user]
    name = Somebody
"""
    for path in (home / ".gitconfig", home / ".config" / "git" / "config"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(settings)
    program(home / "template" / "hooks" / "reference-transaction", f"touch {owned}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home


@pytest.mark.usefixtures("hostile_home")
def test_the_settings_of_whoever_starts_us_change_nothing(shop: Shop, owned: Path, store: Store):
    assert isinstance(shop.promote("staging"), Promoted)
    shop.staging.commit({"pipeline.yml": "source: users\ntarget: lake\n"})
    shop.dev.commit({"pipeline.yml": "source: users\ntarget: mart\n"})
    assert isinstance(shop.promote("staging"), Promoted)
    assert (exported(store, shop.staging) / "pipeline.yml").read_text().endswith("mart\n")
    assert not owned.exists()
    author = git(shop.staging.bare, "show", "--no-patch", "--format=%an %ae", "main")
    assert author == "dataops_dagster (shop) dataops@localhost"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable",
    [
        ("GIT_DIR", "{tmp}/elsewhere.git"),
        ("GIT_WORK_TREE", "{tmp}"),
        ("GIT_INDEX_FILE", "{tmp}/index"),
        ("GIT_OBJECT_DIRECTORY", "{tmp}/objects"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "{tmp}/objects"),
        ("GIT_NAMESPACE", "other"),
        ("GIT_CEILING_DIRECTORIES", "{tmp}"),
        ("GIT_EXEC_PATH", "{tmp}"),
        ("GIT_SSH_COMMAND", "touch {tmp}/OWNED"),
        ("GIT_EXTERNAL_DIFF", "touch {tmp}/OWNED"),
        ("GIT_PROXY_COMMAND", "touch {tmp}/OWNED"),
        ("GIT_ASKPASS", "touch {tmp}/OWNED"),
        ("GIT_TRACE", "{tmp}/OWNED"),
        ("GIT_TRACE2_EVENT", "{tmp}/OWNED"),
        ("GIT_CONFIG_PARAMETERS", "'core.hooksPath={tmp}/home/hooks'"),
        ("GIT_CONFIG_GLOBAL", "{tmp}/home/.gitconfig"),
        ("GIT_CONFIG_SYSTEM", "{tmp}/home/.gitconfig"),
        ("GIT_TEMPLATE_DIR", "{tmp}/home/template"),
        ("GIT_AUTHOR_NAME", "Mallory"),
        ("GIT_COMMITTER_DATE", "@1 +0000"),
        ("GIT_ALLOW_PROTOCOL", "ssh"),
        ("GIT_DEFAULT_HASH", "sha256"),
    ],
    ids=lambda variable: variable[0],
)
@pytest.mark.usefixtures("hostile_home")
def test_gits_variables_of_our_environment_are_dropped(
    upstream, store, owned, monkeypatch, variable
):
    name, value = variable
    monkeypatch.setenv(name, value.format(tmp=owned.parent))
    head = upstream.head
    assert Remote(access(upstream)).refs(["refs/heads/main"], 15) == {"refs/heads/main": head}
    store.fetch(access(upstream), "main", head)
    tree = store.commit(head).tree
    commit = store.write_commit(tree, [head], "Ours", name="us", time=7)
    assert store.commit(commit).author == "us"
    assert store.commit(commit).time == 7
    assert not owned.exists()


# --- what a repository holds ------------------------------------------------------------------


def test_a_replace_ref_does_not_change_what_is_read(upstream, store):
    first = upstream.head
    evil = upstream.commit({"a.txt": "evil\n"}, "Evil")
    git(upstream.bare, "update-ref", "refs/heads/main", first)
    git(upstream.bare, "replace", first, evil)
    store.fetch(access(upstream), "main", first)
    git(store.folder, "fetch", "--quiet", str(upstream.bare), "+refs/replace/*:refs/replace/*")
    assert git(store.folder, "log", "-1", "--format=%s", first) == "Evil"  # git itself is fooled
    assert store.commit(first).subject == "First"
    assert (exported(store, upstream, first) / "a.txt").read_text() == "a\n"
    assert store.changes(None, store.commit(first).tree)[0].path == "a.txt"


def test_a_tag_named_like_the_branch_does_not_win(upstream, store):
    first = upstream.head
    second = upstream.commit({"a.txt": "b\n"}, "Second")
    for name in ("main", "heads/main", "refs/heads/main"):
        git(upstream.bare, "update-ref", f"refs/tags/{name}", first)
    project, workspace = _one(upstream)
    assert look_up(project, workspace).commit == second
    store.fetch(access(upstream), "main", second)
    assert store.has(second)


def test_a_ref_that_ends_like_the_branch_is_not_the_branch(upstream):
    git(upstream.bare, "update-ref", "refs/x/refs/heads/main", upstream.head)
    git(upstream.bare, "update-ref", "-d", "refs/heads/main")
    project, workspace = _one(upstream)
    assert look_up(project, workspace).commit is None


def _one(upstream: Workspace):
    path = upstream.bare.parent / "one.yaml"
    path.write_text(
        "project: shop\nprotocols: [file]\nworkspaces:\n"
        f"  up: {{repository: {upstream.bare}, environment: x}}\n"
    )
    project = config.load(path)
    return project, project.workspaces["up"]


def test_symlinks_are_written_as_symlinks_and_never_followed(upstream, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (upstream.clone / "link").symlink_to("a.txt")
    (upstream.clone / "dangling").symlink_to("/nowhere/at/all")
    (upstream.clone / "out").symlink_to(outside)
    commit = upstream.commit({"run.sh": "true\n"})
    folder = exported(store, upstream, commit)
    assert (folder / "link").readlink() == Path("a.txt")
    assert (folder / "dangling").readlink() == Path("/nowhere/at/all")
    assert (folder / "out").readlink() == outside
    assert not list(outside.iterdir())


def test_a_tree_with_a_symlink_and_a_folder_of_one_name_writes_nothing_outside(
    upstream, store, tmp_path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    blob = git(upstream.bare, "rev-parse", "main:a.txt")
    target = upstream.clone / "target"
    target.write_text(str(outside))
    link = git(upstream.clone, "hash-object", "-w", str(target))
    git(upstream.clone, "push", "--quiet", "origin", f"{link}:refs/tags/link", code=None)
    shutil.copytree(
        upstream.clone / ".git" / "objects", upstream.bare / "objects", dirs_exist_ok=True
    )
    inner = _mktree(upstream, f"100644 blob {blob}\towned\n")
    commit = plant(upstream, f"120000 blob {link}\tdir\n040000 tree {inner}\tdir\n")
    with pytest.raises(ToolError):
        exported(store, upstream, commit)
    assert not list(outside.iterdir())


def _mktree(upstream: Workspace, entries: str) -> str:
    done = subprocess.run(
        ["git", "mktree"],
        cwd=upstream.bare,
        input=entries.encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


@pytest.mark.parametrize("name", ["..", ".git", ".GIT", ".git ", "git~1", ".g\u200cit"])
def test_a_tree_with_a_name_that_leads_elsewhere_is_refused(upstream, store, tmp_path, name):
    blob = git(upstream.bare, "rev-parse", "main:a.txt")
    inner = _mktree(upstream, f"100644 blob {blob}\tconfig\n")
    commit = plant(upstream, f"040000 tree {inner}\t{name}\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(ToolError):
        exported(store, upstream, commit)
    assert not (tmp_path / "config").exists()
    assert set(before) ^ {p.name for p in tmp_path.iterdir()} <= {"cache", "exported"}


def test_an_executable_file_stays_executable_and_others_are_not(upstream, store):
    (upstream.clone / "run").write_text("#!/bin/sh\n")
    (upstream.clone / "run").chmod(0o755)
    folder = exported(store, upstream, upstream.commit({"plain": "x\n"}))
    assert os.access(folder / "run", os.X_OK)
    assert not os.access(folder / "plain", os.X_OK)


def test_a_submodule_is_an_empty_folder_and_nothing_is_fetched_for_it(upstream, store, owned):
    git(upstream.clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    (upstream.clone / "sub").mkdir()
    modules = f'[submodule "sub"]\n\tpath = sub\n\turl = file://{owned}\n\tupdate = checkout\n'
    (upstream.clone / ".gitmodules").write_text(modules)
    git(upstream.clone, "add", ".gitmodules")
    git(upstream.clone, "commit", "--quiet", "-m", "Submodule")
    git(upstream.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    folder = exported(store, upstream)
    assert not list((folder / "sub").iterdir())
    assert (folder / ".gitmodules").read_text() == modules


@pytest.mark.parametrize("line", ["url = -oProxyCommand=x", "path = -x", "update = !touch OWNED"])
def test_a_submodule_that_would_run_a_program_is_refused_when_it_is_fetched(upstream, store, line):
    modules = f'[submodule "sub"]\n\t{line}\n'
    commit = _commit_raw(upstream, {".gitmodules": modules})
    with pytest.raises(ToolError, match="gitmodules"):
        store.fetch(access(upstream), "main", commit)


@pytest.mark.slow
def test_a_submodule_stays_one_through_a_promotion(promoted_shop: Shop):
    shop = promoted_shop
    git(shop.dev.clone, "fetch", "--quiet", "origin")
    git(shop.dev.clone, "reset", "--quiet", "--hard", "origin/main")
    git(shop.dev.clone, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    git(shop.dev.clone, "commit", "--quiet", "-m", "Submodule")
    git(shop.dev.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    shop.staging.commit({"pipeline.yml": "source: users\ntarget: lake\n"})
    assert isinstance(shop.promote("staging"), Promoted)
    entry = git(shop.staging.bare, "ls-tree", "main", "sub")
    assert entry == f"160000 commit {'1' * 40}\tsub"


def test_attributes_do_not_change_what_is_exported(upstream, store):
    lines = "* text eol=crlf ident working-tree-encoding=UTF-16\n*.txt export-ignore export-subst\n"
    content = "$Id$ $Format:%H$\nline\n"
    folder = exported(
        store,
        upstream,
        upstream.commit({"b.txt": content, ".gitattributes": "x -text\n"})
        and _commit_raw(upstream, {"b.txt": content, ".gitattributes": lines}),
    )
    assert (folder / "b.txt").read_bytes() == content.encode()
    assert (folder / ".gitattributes").read_text() == lines


def _commit_raw(upstream: Workspace, files: dict[str, str]) -> str:
    """Commit contents as they are, past the attributes among them."""
    entries = ""
    for name, content in files.items():
        done = subprocess.run(
            ["git", "hash-object", "-w", "--stdin"],
            cwd=upstream.bare,
            input=content.encode(),
            capture_output=True,
            check=True,
        )
        entries += f"100644 blob {done.stdout.decode().strip()}\t{name}\n"
    return plant(upstream, entries)


@pytest.mark.slow
def test_filters_run_on_no_export_and_no_merge(promoted_shop: Shop, owned: Path, store: Store):
    shop = promoted_shop
    evil = program(shop.root / "evil", f"touch {owned}\nexec cat")
    for folder in (shop.store.folder, store.folder):
        if (folder / "config").exists():  # a cache in which someone wrote settings
            for kind in ("clean", "smudge"):
                git(folder, "config", f"filter.evil.{kind}", str(evil))
            git(folder, "config", "merge.evil.driver", f"{evil} %A")
    shop.dev.commit({".gitattributes": "* filter=evil merge=evil\n"})
    assert isinstance(shop.promote("staging"), Promoted)
    shop.staging.commit({"pipeline.yml": "source: users\ntarget: lake\n"})
    shop.dev.commit({"pipeline.yml": "source: users\ntarget: mart\n"})
    assert isinstance(shop.promote("staging"), Promoted)
    exported(shop.store, shop.staging)
    assert not owned.exists()


def test_hooks_and_settings_of_the_repository_we_read_run_nothing(upstream, store, owned):
    for hook in ("post-checkout", "post-merge", "pre-push", "reference-transaction", "pre-commit"):
        program(upstream.bare / "hooks" / hook, f"touch {owned}")
    evil = program(upstream.bare.parent / "evil", f"touch {owned}\nexec cat")
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "alias.upload-pack"):
        git(upstream.bare, "config", key, str(evil))
    exported(store, upstream)
    assert not owned.exists()


def test_a_bare_repository_among_the_files_is_only_files(upstream, store, owned):
    evil = "[core]\n\tbare = true\n\tfsmonitor = touch " + str(owned) + "; false\n"
    files = {"bare/HEAD": "ref: refs/heads/main\n", "bare/config": evil, "bare/objects/x": ""}
    folder = exported(store, upstream, upstream.commit({**files, "bare/refs/x": ""}))
    assert (folder / "bare" / "config").read_text() == evil
    assert not owned.exists()


def test_paths_and_texts_of_a_repository_are_inert(upstream, store):
    name = "esc\x1b[31m\u202ename\n.txt"
    message = "Subject \x1b]0;title\x07\u202eevil\nCommit: forged"
    commit = upstream.commit({name: "x\n"}, message)
    store.fetch(access(upstream), "main", commit)
    found = store.commit(commit)
    assert found.subject == "Subject ]0;titleevil Commit: forged"  # git's subject: one paragraph
    (path,) = [c.path for c in store.changes(None, found.tree) if c.path != "a.txt"]
    assert path.isprintable()


def test_an_author_and_a_message_that_are_no_utf_8_are_readable(upstream, store):
    git(upstream.clone, "config", "i18n.commitEncoding", "latin1")
    raw = upstream.clone / "message"
    raw.write_bytes(b"Gr\xfc\xdfe\n")
    git(upstream.clone, "commit", "--quiet", "--allow-empty", "-F", str(raw))
    git(upstream.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    store.fetch(access(upstream), "main", upstream.head)
    assert store.commit(upstream.head).subject == "Grüße"


@pytest.mark.parametrize("url", ["ext::sh -c 'touch {owned}'", "git://127.0.0.1:1/x", "{path}"])
def test_a_protocol_that_is_not_allowed_is_not_used_even_by_git(upstream, owned, url):
    asked = Access(url.format(owned=owned, path=upstream.url), "workspaces.it", ("https",))
    with pytest.raises(ToolError, match="not allowed"):
        Remote(asked).refs(["refs/heads/main"], LOOKUP_SECONDS)
    assert not owned.exists()


def test_a_server_that_says_nothing_is_an_answer_within_its_deadline(monkeypatch):
    monkeypatch.setattr("dataops_dagster.git.LOOKUP_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/dev.git"
        with pytest.raises(ToolError, match="no answer within") as caught:
            Remote(Access(url, "workspaces.it", ("http",))).refs(["refs/heads/main"], 0.5)
    assert caught.value.retryable


def test_a_url_that_looks_like_an_option_is_none(owned):
    asked = Access(f"--upload-pack=touch {owned}", "workspaces.it", ("file",))
    with pytest.raises(ToolError):
        Remote(asked).refs(["refs/heads/main"], LOOKUP_SECONDS)
    assert not owned.exists()


def test_the_words_of_a_server_are_inert_in_an_error(shop: Shop):
    hook = shop.staging.bare / "hooks" / "pre-receive"
    program(hook, r"printf 'no\033[31m\033]0;title\007 entry\n' >&2; exit 1")
    ready = shop.consider("staging")
    refused = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert "entry" in refused.reason
    assert refused.reason.isprintable()


def test_a_promotion_that_another_worker_published_already_is_not_recorded_twice(shop: Shop):
    ready = shop.consider("staging")
    first = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert isinstance(first, Promoted)
    later = NOW + timedelta(minutes=1)
    promotion.publish(shop.project, ready, store=shop.store, now=later)
    assert shop.staging.tags() == [first.release.tag]


def test_a_push_whose_tag_exists_moves_no_branch(shop: Shop):
    ready = shop.consider("staging")
    git(shop.staging.bare, "tag", release.of(ready, NOW).tag, shop.staging.head)
    before = shop.staging.head
    refused = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert isinstance(refused, Raced)
    assert shop.staging.head == before


def test_the_version_of_git_is_told():
    assert version().startswith("git version ")


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
@pytest.mark.parametrize("beside", [False, True], ids=["a parent", "beside"])
def test_what_is_new_is_listed_together_with_what_lacks_it(upstream, store, limit, beside):
    first = base = upstream.head
    made = [upstream.commit({"a.txt": f"{i}\n"}, f"Change {i}") for i in range(3)][::-1]
    store.fetch(access(upstream), "main", made[0])
    if beside:
        tree = store.commit(first).tree
        base = store.write_commit(tree, [first], "Own", name="us", time=2_000_000_000)
    news = store.log(base, made[0], limit=limit)
    assert news.base == store.commit(base)
    assert (news.count, [c.id for c in news.commits]) == (3, made[:limit])
    assert store.log(base, base, limit=limit) == News(news.base, 0, ())
    everything = store.log(None, made[0], limit=limit)
    assert (everything.base, everything.count) == (None, 4)
    assert [c.id for c in everything.commits] == [*made, first][:limit]


# A commit's parents are those named behind it; `base` and `tip` are the two that are asked about.
@pytest.mark.parametrize("limit", [1, 2, 9])
@pytest.mark.parametrize(
    "shape",
    [
        "a base:a b:base tip:b",
        "a base:a b:a tip:b",
        "a base:a b: c:b tip:c",
        "a b:a base:b c:a tip:c,b",
        "a b:a c:a base:b,c d:c,b tip:d",
        "a b:a base:b c:b d:b e:c,d tip:e",
        "a b: base:a,b c:a d:b e:c,d tip:e",
    ],
    ids=[
        "forward",
        "a fork",
        "unrelated",
        "merged again",
        "criss-cross",
        "a fork and a merge",
        "two roots",
    ],
)
def test_what_is_new_tells_the_merge_bases_that_git_tells(upstream, store, shape, limit):
    store.fetch(access(upstream), "main", upstream.head)
    tree, made = store.commit(upstream.head).tree, dict[str, str]()
    for name, _, parents in (commit.partition(":") for commit in shape.split()):
        above = [made[parent] for parent in parents.split(",") if parent]
        made[name] = store.write_commit(tree, above, name, name="us", time=len(made))
    base, tip = made["base"], made["tip"]
    news = store.log(base, tip, limit=limit)
    assert sorted(store.bases_of(news, base)) == sorted(store.merge_bases(base, tip))


def test_pairs_of_trees_are_compared_each_for_itself(upstream, store):
    first, second = upstream.head, upstream.commit({"new\nline": "x\n", "a.txt": None})
    store.fetch(access(upstream), "main", second)
    one, other = (store.commit(commit).tree for commit in (first, second))
    pairs = [(one, one), (None, one), (one, other), (other, other)]
    told = [[(d.status, d.path) for d in found] for found in store.compared(pairs)]
    assert told == [[], [("A", b"a.txt")], [("D", b"a.txt"), ("A", b"new\nline")], []]
    assert store.compared([]) == []


@pytest.mark.parametrize("turn", [1, -1])
def test_a_tree_that_is_missing_is_not_taken_for_one_that_is_equal(upstream, store, turn):
    store.fetch(access(upstream), "main", upstream.head)
    before, after = (store.commit(upstream.head).tree, "1" * 40)[::turn]
    with pytest.raises(ToolError, match="bad object 1111") as caught:
        store.compared([(before, before), (before, after)])
    assert caught.value.retryable


MESSAGE = "Promote dev to staging\n\nProject: Käse\n"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_commit_of_ours_is_the_one_that_git_makes(upstream, store, count):
    parents = [upstream.head, upstream.commit({"a.txt": "b\n"})][:count]
    store.fetch(access(upstream), "main", upstream.head)
    tree = store.commit(upstream.head).tree
    made = store.write_commit(tree, parents, MESSAGE, name="us (shop)", time=7)
    options = [word for parent in parents for word in ("-p", parent)]
    env = identity("us (shop)", 7)
    assert made == store.text("commit-tree", tree, *options, stdin=MESSAGE.encode(), env=env)


def test_a_tag_of_ours_is_the_one_that_git_makes(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    tag = store.write_tag("dataops/a", upstream.head, MESSAGE, name="us (shop)", time=7)
    text = store.git("cat-file", "tag", tag).stdout
    assert tag == store.text("mktag", "--strict", stdin=text)
    assert text.decode().endswith(f"\ntagger us (shop) <dataops@localhost> 7 +0000\n\n{MESSAGE}")


MANY_BYTES = bytes(range(256)) * 800


@pytest.mark.parametrize("data", [b"", b"a\0b\r\n", MANY_BYTES], ids=["empty", "binary", "many"])
def test_a_file_of_ours_is_the_one_that_git_writes(upstream, store, data):
    store.fetch(access(upstream), "main", upstream.head)
    blob = store.write_blob(data)
    assert blob == store.text("hash-object", "--stdin", stdin=data) == store.write_blob(data)
    assert store.read(blob) == data
    assert all(path.is_dir() for path in (store.folder / "objects").iterdir())


def test_what_cannot_be_written_heals_as_what_cannot_be_read(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    shutil.rmtree(store.folder / "objects")
    with pytest.raises(ToolError, match="not a git repository") as caught:
        store.write_blob(b"x")
    assert caught.value.retryable
    assert store.read(store.write_blob(b"x")) == b"x"


# --- the cache --------------------------------------------------------------------------------


def test_a_half_made_cache_that_a_crash_left_does_no_harm(upstream, store):
    store.folder.parent.mkdir(parents=True)
    for name in ("making-1", "shop.git"):
        left = store.folder.parent / name
        (left / "objects").mkdir(parents=True)
        (left / "config").write_text("[core\nrubbish")
    (store.folder.parent / "making-1" / "HEAD").write_text("rubbish")
    store.fetch(access(upstream), "main", upstream.head)
    assert store.has(upstream.head)


@pytest.mark.parametrize("content", ["", "rubbish\n", "ref: refs/heads/../../x\n"])
def test_a_cache_with_a_broken_head_heals(upstream, store, tmp_path, content):
    store.fetch(access(upstream), "main", upstream.head)
    (store.folder / "HEAD").write_text(content)
    again = Store(tmp_path / "cache", "shop")
    again.fetch(access(upstream), "main", upstream.head)
    assert again.commit(upstream.head).subject == "First"


def test_a_commit_that_a_disk_lost_is_fetched_again_for_another_branch(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    git(upstream.bare, "branch", "other")
    store.bring(access(upstream), "other", upstream.head)
    lost = upstream.commit({"a.txt": "new\n"})
    store.fetch(access(upstream), "main", lost)
    git(upstream.bare, "branch", "--force", "other", lost)
    (store.folder / "objects" / lost[:2] / lost[2:]).unlink()
    store.fetch(access(upstream), "other", lost)
    assert store.commit(lost).id == lost


def test_a_stale_lock_of_a_killed_git_heals(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    (ref,) = (store.folder / "refs" / "heads" / "dataops").iterdir()
    lock = ref.with_name(f"{ref.name}.lock")
    lock.touch()
    os.utime(lock, (0, 0))
    head = upstream.commit({"a.txt": "b\n"})
    store.fetch(access(upstream), "main", head)
    assert store.has(head)


def test_a_lock_that_somebody_holds_for_a_moment_costs_no_cache(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    (ref,) = (store.folder / "refs" / "heads" / "dataops").iterdir()
    lock, before = ref.with_name(f"{ref.name}.lock"), store.made
    lock.touch()
    threading.Timer(1.0, lock.unlink).start()
    store.fetch(access(upstream), "main", upstream.commit({"a.txt": "b\n"}))
    assert store.made == before


def test_of_two_who_find_one_cache_broken_one_makes_it_anew(upstream, store, monkeypatch):
    head, other = upstream.head, Store(store.folder.parent, "shop")
    store.fetch(access(upstream), "main", head)
    shutil.rmtree(store.folder / "refs")
    locked = Store._locked

    @contextmanager
    def later(self: Store):
        monkeypatch.setattr(Store, "_locked", locked)
        other.fetch(access(upstream), "main", head)  # the other one was first
        with locked(self):
            yield

    monkeypatch.setattr(Store, "_locked", later)
    with pytest.raises(CacheBroken):
        store.git("rev-parse", head)
    assert store.has(head)


def test_making_one_cache_touches_no_other_that_is_being_made(upstream, store):
    half = store.folder.parent / "making-other.git-x"
    half.mkdir(parents=True)
    store.fetch(access(upstream), "main", upstream.head)
    assert half.exists()


def test_a_cache_that_lost_its_attributes_exports_the_same(upstream, store):
    upstream.commit({".gitattributes": "* text eol=crlf ident\n", "b.txt": "$Id$\n"}, "Attributes")
    store.fetch(access(upstream), "main", upstream.head)
    (store.folder / "info" / "attributes").unlink()
    folder = exported(Store(store.folder.parent, "shop"), upstream)
    assert (folder / "b.txt").read_bytes() == b"$Id$\n"


def test_what_killed_writers_left_in_the_cache_goes_with_the_next_fetch(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    objects = store.folder / "objects"
    (objects / "pack").mkdir(exist_ok=True)
    old = objects / "pack" / "tmp_pack_old", objects / "objold"
    young = objects / "pack" / "tmp_pack_young", objects / "objyoung"
    for path in (*old, *young):
        path.write_text("half")
    for path in old:
        os.utime(path, (0, 0))
    store.fetch(access(upstream), "main", upstream.commit({"a.txt": "b\n"}))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young), "somebody may be writing them"


def test_a_branch_that_became_a_folder_of_branches_is_still_fetched(upstream, store):
    head = upstream.head
    git(upstream.bare, "branch", "feature", "main")
    store.fetch(access(upstream), "feature", head)
    git(upstream.bare, "branch", "-D", "feature")
    git(upstream.bare, "branch", "feature/one", "main")
    later = upstream.commit({"a.txt": "c\n"})
    git(upstream.bare, "update-ref", "refs/heads/feature/one", later)
    store.fetch(access(upstream), "feature/one", later)
    assert store.has(later)


def test_only_we_may_enter_the_cache(upstream, store):
    store.fetch(access(upstream), "main", upstream.head)
    for folder in (store.folder.parent, store.folder):
        assert folder.stat().st_mode & 0o077 == 0


def _open(root: str, url: str, commit: str, start, answers) -> None:
    start.wait()
    try:
        store = Store(Path(root), "shop")
        store.fetch(Access(url, "workspaces.it", ("file",)), "main", commit)
        answers.put(store.commit(commit).subject)
    except BaseException as error:  # noqa: BLE001  # any is an answer
        answers.put(repr(error))


@pytest.mark.slow
def test_processes_that_open_one_cache_at_once_share_it(upstream, tmp_path):
    context = multiprocessing.get_context("spawn")
    start, answers = context.Event(), context.Queue()
    given = (str(tmp_path / "cache"), upstream.url, upstream.head, start, answers)
    workers = [context.Process(target=_open, args=given) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    assert [answers.get(timeout=30) for _ in workers] == ["First"] * 3
    for worker in workers:
        worker.join(10)
    assert {p.name for p in (tmp_path / "cache").iterdir()} <= {"shop.git", "shop.git.lock"}


def test_a_commit_that_is_no_longer_on_the_branch_is_worth_another_try(upstream, store):
    with pytest.raises(ToolError, match="not our ref") as caught:
        store.fetch(access(upstream), "main", "f" * 40)
    assert caught.value.retryable


def test_nothing_of_a_call_is_left_in_the_cache(promoted_shop: Shop):
    folder = promoted_shop.store.folder
    assert not [p.name for p in folder.iterdir() if p.name.startswith(("merge-", "export-"))]


# --- a server that asks for a login -----------------------------------------------------------


@dataclass
class Web:
    """The shop behind a server that asks for a login."""

    shop: Shop
    server: SmartHttpServer
    log: Path
    git: str

    def load(self, url: str | None = None) -> None:
        """Configure staging to be at the server."""
        text = SHOP.replace("protocols: [file]", "protocols: [file, http]").replace(
            "repository: staging.git",
            f"repository: {url or self.server.url}/staging.git\n"
            "    credential: {username: robot, password_variable: SHOP_PASSWORD}",
        )
        path = self.shop.root / "dataops.yaml"
        path.write_text(text)
        self.shop.project = config.load(path)

    def answer(self):
        return self.shop.promote("staging")


@pytest.fixture(params=["a new server", "an old server"])
def web(
    shop: Shop, smart_http: Callable[..., SmartHttpServer], tmp_path, monkeypatch, request
) -> Web:
    log, real = tmp_path / "log", shutil.which("git")
    log.mkdir()
    # Every git that is started tells what stands on its command line, and goes on.
    program(
        tmp_path / "bin" / "git",
        f"printf '%s\\n' \"$@\" > {log}/$$\n"
        f"for a in /proc/$PPID/cmdline; do tr '\\0' '\\n' < $a >> {log}/$$; done 2>/dev/null\n"
        f'exec {real} "$@"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    server = smart_http(shop.root, login=("robot", PASSWORD), v2=request.param == "a new server")
    made = Web(shop, server, log, real)
    made.load()
    return made


def contents(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_a_promotion_over_http_logs_in_with_the_password_of_the_variable(web: Web):
    assert isinstance(web.answer(), Promoted)
    assert web.shop.staging.tree() == web.shop.dev.tree()
    assert promotion.releases(
        web.shop.project, web.shop.project.workspaces["staging"], store=web.shop.store
    )


def test_the_password_stands_on_no_command_line_and_on_no_disk(web: Web):
    web.answer()
    logged = contents(web.log)
    assert (b"push" in logged) != web.server.v2  # an old server is left to git's own commands
    assert b"merge-tree" in logged
    assert PASSWORD.encode() not in logged
    cached = contents(web.shop.root / "cache")
    assert PASSWORD.encode() not in cached
    assert b"robot" not in (web.shop.store.folder / "config").read_bytes()


def test_only_a_git_that_reaches_the_server_gets_the_password(web: Web, tmp_path):
    seen = tmp_path / "seen"
    seen.mkdir()
    program(tmp_path / "bin" / "git", f'env > "{seen}/$1.$$"\nexec {web.git} "$@"')
    web.answer()
    knowing = {p.name.split(".")[0] for p in seen.iterdir() if PASSWORD in p.read_text()}
    everybody = {p.name.split(".")[0] for p in seen.iterdir()}
    # Whoever reaches the server, or works on contents that the cache may have to ask for.
    assert knowing >= ({"merge-tree"} if web.server.v2 else {"ls-remote", "fetch", "push"})
    assert not knowing & {"cat-file", "rev-list", "log", "update-ref"}
    assert len(everybody - knowing) > 3


def test_a_wrong_password_is_a_clear_error_that_does_not_repeat_it(web: Web, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "wrong-horse-battery")
    with pytest.raises(ToolError) as caught:
        web.answer()
    error = caught.value
    assert error.hint.startswith("check workspaces.staging.credential")
    assert not error.retryable
    assert "wrong-horse-battery" not in str(error) + repr(error) + repr(vars(error))
    assert error.__cause__ is None


def test_a_password_that_is_not_set_is_a_mistake_in_the_configuration(web: Web, monkeypatch):
    for set_ in (
        lambda: monkeypatch.delenv("SHOP_PASSWORD"),
        lambda: monkeypatch.setenv("SHOP_PASSWORD", ""),
    ):
        set_()
        with pytest.raises(ConfigError, match="SHOP_PASSWORD is not set") as caught:
            web.answer()
        (problem,) = caught.value.problems
        assert problem.where == "workspaces.staging.credential.password_variable"
    assert not web.server.requests


@pytest.mark.slow
def test_a_password_may_hold_anything(web: Web, monkeypatch):
    password = 'quote\'s "and" per%cent%0a\ttab $HOME `id` back\\n é'
    monkeypatch.setenv("SHOP_PASSWORD", password)
    web.server.login = ("robot", password)
    assert isinstance(web.answer(), Promoted)


def test_a_server_that_redirects_gets_no_credential_for_the_other_host_and_is_refused(
    web: Web, smart_http
):
    thief = smart_http(web.shop.root, login=("robot", PASSWORD))
    web.server.redirect_to = thief.url
    with pytest.raises(ToolError):
        web.answer()
    assert not thief.requests
    assert web.server.requests


@pytest.mark.slow
def test_a_server_that_redirects_only_after_the_login_is_refused_too(web: Web, smart_http):
    thief = smart_http(web.shop.root, login=("robot", PASSWORD))
    web.answer()
    web.server.requests.clear()
    web.server.redirect_to = thief.url
    web.shop.dev.commit({"a": "1\n"})
    with pytest.raises(ToolError):
        web.answer()
    assert not thief.requests


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'http://git.example.com': ", "robot\n"),
        ("Password for 'http://robot@git.example.com': ", "hunter2\n"),
        ("Password for 'http://robot@evil.example': ", ""),
        ("Password for 'https://robot@git.example.com': ", ""),
        ("Password for 'http://robot@git.example.com@evil.example': ", ""),
        ("Password for 'http://robot@git.example.com.evil.example': ", ""),
        ("Password for 'http://robot%40example.com@git.example.com': ", "hunter2\n"),
        ("Username for 'http://evil.example': ", ""),
        ("Are you sure you want to continue connecting (yes/no)? ", ""),
        ("", ""),
    ],
)
def test_a_login_is_told_to_the_configured_host_only(monkeypatch, question, answer):
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    asked = Access(
        "http://git.example.com/x.git", "workspaces.it", ("http",), "robot", "SHOP_PASSWORD"
    )
    env = {"PATH": os.environ["PATH"], **asked.environment()}
    done = subprocess.run(
        [env["GIT_ASKPASS"], question], env=env, capture_output=True, check=False, text=True
    )
    assert done.stdout == answer
    assert (done.returncode == 0) == bool(answer)


def test_a_repository_that_the_server_does_not_have_is_named_with_its_place(web: Web):
    web.load(f"{web.server.url}/nowhere")
    with pytest.raises(ToolError) as caught:
        web.answer()
    assert caught.value.hint.startswith("check workspaces.staging.repository")


def test_a_server_that_is_not_there_is_worth_another_try():
    asked = Access("http://127.0.0.1:1/x.git", "workspaces.it", ("http",))
    with pytest.raises(ToolError) as caught:
        Remote(asked).refs(["refs/heads/main"], LOOKUP_SECONDS)
    assert caught.value.retryable
