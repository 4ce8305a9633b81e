"""How a target takes its upstream's changes: what it keeps, what it loses, and what it refuses."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Mapping
from itertools import count

import pytest

from dataops_dagster import cache, config, execution, losses, plan, promotion, store
from dataops_dagster.errors import ToolError
from dataops_dagster.git import Access
from dataops_dagster.model import (
    Allowance,
    Answer,
    Conflicted,
    Equality,
    Held,
    Kept,
    NothingToDo,
    Override,
    Plan,
    Promoted,
    Ready,
    Rejected,
)
from dataops_dagster.store import Store
from tests.conftest import NOW, PROJECT_FILES, SHOP, Book, Shop
from tests.histories import MODULE, ODD, Entry, executable, lines, link, module
from tests.repositories import ENVIRONMENT, Workspace, git

Files = Mapping[str | bytes, str | bytes | Entry | None]

# --- how situations are made ------------------------------------------------------------------


def seed(source: Workspace, target: Workspace) -> None:
    """Let a workspace's branch be another's."""
    git(source.bare, "push", "--quiet", str(target.bare), "+main:main")


def set_back(workspace: Workspace, commit: str) -> None:
    """Move a branch where it does not descend from: what a force push does."""
    git(workspace.bare, "update-ref", "refs/heads/main", commit)


def grow(
    workspace: Workspace, *commits: Files, by: str = "Grace", time: int = 1_800_000_000
) -> str:
    """Push what is clumsy to do in a clone: odd modes, names, authors and dates, or many commits."""
    stream = b""
    for number, files in enumerate(commits):
        who = f"committer {by} <{by.lower()}@example.com> {time + number} +0000"
        stream += f"commit refs/heads/main\n{who}\ndata 4\nGrow\n".encode()
        if number == 0 and workspace.head:
            stream += b"from refs/heads/main^0\n"
        for path, held in files.items():
            stream += _written(path if isinstance(path, bytes) else path.encode(), held)
    options = ("-c", "fastimport.unpackLimit=100000", "fast-import", "--quiet")
    subprocess.run(["git", *options], cwd=workspace.bare, env=ENVIRONMENT, input=stream, check=True)
    return workspace.head


def _written(path: bytes, held: str | bytes | Entry | None) -> bytes:
    name = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    if held is None:
        return b'D "%s"\n' % name
    content, mode = held if isinstance(held, Entry) else Entry(held)
    content = content.encode() if isinstance(content, str) else content
    if mode == MODULE:
        return b'M %s %s "%s"\n' % (mode.encode(), content, name)
    return b'M %s inline "%s"\ndata %d\n%s\n' % (mode.encode(), name, len(content), content)


def ruled(shop: Shop, *rules: str) -> Shop:
    """Return the shop with more lines in the configuration of staging."""
    path = shop.root / "dataops.yaml"
    head = "    environment: staging\n"
    path.write_text(SHOP.replace(head, head + "".join(f"    {rule}\n" for rule in rules)))
    return dataclasses.replace(shop, project=config.load(path))


def from_scratch(shop: Shop) -> Shop:
    """Return the shop of a worker that has no cache yet."""
    shutil.rmtree(shop.root / "cache", ignore_errors=True)
    return dataclasses.replace(shop, store=Store(shop.root / "cache", "shop"))


@pytest.fixture
def twins(empty_shop: Shop) -> Shop:
    """Dev and staging are at one commit, which no promotion of ours made."""
    empty_shop.dev.commit(PROJECT_FILES, "Initial commit")
    seed(empty_shop.dev, empty_shop.staging)
    return empty_shop


def fork(shop: Shop, ours: Files, theirs: Files, *, base: Files | None = None) -> Shop:
    """Let staging and dev go different ways, from a commit that both have."""
    if base is not None:
        grow(shop.dev, base)
        seed(shop.dev, shop.staging)
    grow(shop.staging, ours, by="Ours")
    grow(shop.dev, theirs, by="Theirs")
    return shop


# --- and what is asked of them ----------------------------------------------------------------


def landed(answer: Answer) -> Plan:
    assert isinstance(answer, Promoted), answer
    return answer.ready.plan


def planned(shop: Shop, target: str = "staging", **more) -> Plan:
    considered = shop.consider(target, **more)
    assert isinstance(considered, Ready), considered
    return considered.plan


def refused(shop: Shop, kind: type, target: str = "staging", **more):
    """Promote; expect this refusal, and that no branch and no tag moved."""
    bare = getattr(shop, target).bare
    before = git(bare, "for-each-ref")
    answer = shop.promote(target, **more)
    assert isinstance(answer, kind), answer
    assert git(bare, "for-each-ref") == before
    return answer


def parents(workspace: Workspace) -> list[str]:
    return git(workspace.bare, "rev-parse", "refs/heads/main^@").split()


def blob(workspace: Workspace, path: str) -> str:
    """Return what stands at a path: mode and id, or nothing."""
    return git(workspace.bare, "ls-tree", "refs/heads/main", path).partition("\t")[0]


def dropped(plan: Plan) -> dict[str, list[str]]:
    return {each.path: [line.text for line in each.lines] for each in plan.overwrites}


# --- policies ---------------------------------------------------------------------------------

LAKE = "source: users\ntarget: lake\n"
MART = "source: users\ntarget: mart\n"
pytestmark = pytest.mark.slow

EXACT = "merge: {policy: exact}"
STRICT = "merge: {policy: fail_on_conflict}"
FF_ONLY = "merge: {policy: ff_only}"
AS_UPSTREAM = "merge: {modify_delete: upstream}"
EACH_POLICY = pytest.mark.parametrize("policy", ["theirs", "exact", "fail_on_conflict", "ff_only"])
NOT_FF_ONLY = pytest.mark.parametrize("policy", ["theirs", "exact", "fail_on_conflict"])


def test_exact_makes_the_tree_the_upstreams_and_keeps_both_histories(twins: Shop):
    shop = ruled(twins, EXACT)
    fork(shop, {"pipeline.yml": LAKE, "notes.md": "ours\n"}, {"pipeline.yml": MART})
    own, tip = shop.staging.head, shop.dev.head
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    assert parents(shop.staging) == [own, tip]
    assert (made.equality, made.keeps) == (Equality.SAME_TREE, ())


def test_exact_settles_what_no_merge_can(twins: Shop):
    shop = ruled(twins, EXACT)
    fork(
        shop,
        {"run.sh": "exit 0\n", "deploy.sh": None, "new": "a file\n"},
        {"run.sh": None, "deploy.sh": "exit 1\n", "new/file": "in a folder\n"},
    )
    landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()


def test_exact_takes_back_what_an_earlier_promotion_let_the_target_have(twins: Shop):
    fork(twins, {"notes.md": "ours\n"}, {"pipeline.yml": MART})
    landed(twins.promote("staging"))
    twins.dev.commit({"README.md": "# newer\n"})
    made = landed(ruled(twins, EXACT).promote("staging"))
    assert twins.staging.tree() == twins.dev.tree()
    assert dropped(made) == {"notes.md": ["ours"]}


def test_fail_on_conflict_refuses_by_name_what_both_sides_changed(twins: Shop):
    shop = fork(ruled(twins, STRICT), {"pipeline.yml": LAKE}, {"pipeline.yml": MART})
    assert refused(shop, Conflicted).paths == ("pipeline.yml",)


def test_fail_on_conflict_merges_what_does_not_conflict(twins: Shop):
    shop = fork(ruled(twins, STRICT), {"notes.md": "ours\n"}, {"pipeline.yml": MART})
    assert landed(shop.promote("staging")).overwrites == ()
    assert (shop.staging.show("notes.md"), shop.staging.show("pipeline.yml") + "\n") == (
        "ours",
        MART,
    )


def test_fail_on_conflict_refuses_what_one_side_deleted(twins: Shop):
    shop = fork(ruled(twins, STRICT), {"run.sh": "exit 0\n"}, {"run.sh": None})
    assert refused(shop, Conflicted).paths == ("run.sh",)


def test_ff_only_refuses_a_target_with_commits_of_its_own(twins: Shop):
    shop = fork(ruled(twins, FF_ONLY), {"notes.md": "ours\n"}, {"pipeline.yml": MART})
    answer = refused(shop, Rejected)
    assert answer.reason.startswith("staging has commits that dev lacks")
    assert "workspaces.staging.merge.policy" in answer.hint


def test_ff_only_refuses_a_workspace_that_a_platform_made(shop: Shop):
    assert "ff_only" in refused(ruled(shop, FF_ONLY), Rejected).reason


@EACH_POLICY
def test_a_fast_forward_stays_one_under_each_policy(twins: Shop, policy: str):
    shop = ruled(twins, f"merge: {{policy: {policy}}}")
    tip = shop.dev.commit({"pipeline.yml": MART, "run.sh": None})
    made = landed(shop.promote("staging"))
    assert shop.staging.head == tip
    assert (made.equality, made.overwrites) == (Equality.SAME_COMMIT, ())


@pytest.mark.parametrize("policy", ["exact", "ff_only"])
def test_an_empty_target_gets_the_very_commit_under_each_policy(empty_shop: Shop, policy: str):
    shop = ruled(empty_shop, f"merge: {{policy: {policy}}}")
    tip = shop.dev.commit({"a": "1\n"})
    landed(shop.promote("staging"))
    assert shop.staging.head == tip


DELETED = pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param({"run.sh": "exit 0\n"}, {"run.sh": None}, id="upstream deleted it"),
        pytest.param({"run.sh": None}, {"run.sh": "exit 0\n"}, id="target deleted it"),
    ],
)


@DELETED
def test_what_one_side_deleted_and_the_other_changed_is_refused_at_first(twins: Shop, ours, theirs):
    assert refused(fork(twins, ours, theirs), Conflicted).paths == ("run.sh",)


@DELETED
def test_what_one_side_deleted_and_the_other_changed_can_be_done_as_upstream(
    twins: Shop, ours, theirs
):
    shop = fork(ruled(twins, AS_UPSTREAM), ours, theirs)
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    assert dropped(made) == {"run.sh": ["exit 0"] if theirs["run.sh"] is None else []}


def test_deleted_files_do_not_hide_a_conflict_that_nothing_settles(twins: Shop):
    shop = ruled(twins, AS_UPSTREAM)
    fork(
        shop,
        {"run.sh": "exit 0\n", "new": "a file\n"},
        {"run.sh": None, "new/file": "in a folder\n"},
    )
    paths = refused(shop, Conflicted).paths
    assert "run.sh" in paths
    assert any(path.startswith("new") for path in paths)


def test_a_file_in_the_way_of_a_folder_is_named_as_the_target_has_it(twins: Shop):
    shop = fork(twins, {"new": "a file\n"}, {"new/file": "in a folder\n"})
    assert refused(shop, Conflicted).paths == ("new",)


def test_deleted_files_and_conflicting_lines_are_settled_together(twins: Shop):
    shop = ruled(twins, AS_UPSTREAM)
    fork(
        shop,
        {"run.sh": "exit 0\n", "deploy.sh": None, "pipeline.yml": LAKE},
        {"run.sh": None, "deploy.sh": "exit 1\n", "pipeline.yml": MART},
    )
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    assert dropped(made) == {
        "run.sh": ["exit 0"],
        "deploy.sh": [],
        "pipeline.yml": ["target: lake"],
    }


def test_a_file_that_became_a_folder_upstream_is_named_with_the_line_that_goes(twins: Shop):
    shop = ruled(twins, AS_UPSTREAM)
    fork(shop, {"run.sh": "exit 0\n"}, {"run.sh": None, "run.sh/all.sh": "exit 1\n"})
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    assert dropped(made) == {"run.sh": ["exit 0"]}


def test_a_file_that_the_target_renamed_goes_when_the_upstream_deletes_it(twins: Shop):
    shop = ruled(twins, AS_UPSTREAM)
    fork(
        shop,
        {"sales.sql": None, "revenue.sql": lines("sell") + b"ours\n"},
        {"sales.sql": None},
        base={"sales.sql": lines("sell")},
    )
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    assert dropped(made) == {"revenue.sql": ["ours"]}


# --- what a target keeps ----------------------------------------------------------------------


def test_a_rule_keeps_what_its_pattern_matches_and_nothing_else(twins: Shop):
    paths = [
        *("README.md", "docs/a.md", "datastores/a.yml", "datastores/eu/b.yml", "x1.yml"),
        *("datastore", "x2.yml", "[a].yml", "a.yml", ".env", "eu/.env"),
    ]
    fork(
        twins,
        {path: f"ours {path}\n" for path in paths},
        {path: f"theirs {path}\n" for path in paths},
        base={path: f"base {path}\n" for path in paths},
    )

    def kept(rule: str) -> set[str]:
        made = planned(ruled(twins, f"keep: ['{rule}']"))
        assert all(each.explained for each in made.keeps)
        return {each.path for each in made.keeps}

    assert {rule: kept(rule) for rule in ("*.md", "**/*.md", "docs/*", "nothing/here")} == {
        "*.md": {"README.md"},
        "**/*.md": {"README.md", "docs/a.md"},
        "docs/*": {"docs/a.md"},
        "nothing/here": set(),
    }
    folder = {"datastores/a.yml", "datastores/eu/b.yml"}
    assert {
        rule: kept(rule)
        for rule in ("datastores/**", "datastores/", "datastores", "datastores/*", "DATASTORES")
    } == {
        "datastores/**": folder,
        "datastores/": folder,
        "datastores": folder,
        "datastores/*": {"datastores/a.yml"},
        "DATASTORES": set(),
    }
    assert {rule: kept(rule) for rule in ("x?.yml", "[a].yml", r"\[a].yml", "**/.env")} == {
        "x?.yml": {"x1.yml", "x2.yml"},
        "[a].yml": {"[a].yml", "a.yml"},
        r"\[a].yml": {"[a].yml"},
        "**/.env": {".env", "eu/.env"},
    }


def test_a_kept_path_needs_no_policy_in_a_conflict(twins: Shop):
    shop = ruled(twins, STRICT, "keep: [pipeline.yml]")
    fork(shop, {"pipeline.yml": LAKE}, {"pipeline.yml": MART, "README.md": "# newer\n"})
    made = landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") + "\n" == LAKE
    assert shop.staging.show("README.md") == "# newer"
    assert (made.keeps, made.overwrites) == ((Kept("pipeline.yml", explained=True),), ())


@DELETED
def test_a_kept_path_stays_as_it_is_or_away_whichever_side_deleted_it(twins: Shop, ours, theirs):
    shop = fork(ruled(twins, "keep: [run.sh]"), ours, theirs)
    made = landed(shop.promote("staging"))
    assert ("run.sh" in shop.staging.files()) is (ours["run.sh"] is not None)
    assert made.keeps == (Kept("run.sh", explained=True),)
    assert made.equality is Equality.EXPLAINED


def test_what_the_upstream_adds_to_a_kept_folder_does_not_come(twins: Shop):
    shop = ruled(twins, "keep: [datastores/**]")
    fork(
        shop,
        {"datastores/eu.yml": "ours\n"},
        {"datastores/us.yml": "theirs\n", "a": "1\n"},
        base={"datastores/eu.yml": "base\n"},
    )
    landed(shop.promote("staging"))
    assert {path for path in shop.staging.files() if "datastores" in path} == {"datastores/eu.yml"}
    assert shop.staging.show("a") == "1"


@pytest.mark.parametrize("rule", ["stores", "stores/**"])
def test_a_kept_folder_stands_against_a_file_of_its_name(twins: Shop, rule: str):
    shop = fork(
        ruled(twins, f"keep: ['{rule}']"), {"stores/eu.yml": "ours\n"}, {"stores": "theirs\n"}
    )
    landed(shop.promote("staging"))
    assert shop.staging.show("stores/eu.yml") == "ours"


def test_a_kept_file_stands_against_a_folder_of_its_name(twins: Shop):
    shop = fork(ruled(twins, "keep: [stores]"), {"stores": "ours\n"}, {"stores/us.yml": "theirs\n"})
    made = landed(shop.promote("staging"))
    assert shop.staging.show("stores") == "ours"
    assert set(made.keeps) == {
        Kept("stores", explained=True),
        Kept("stores/us.yml", explained=True),
    }


def test_a_kept_path_keeps_its_mode_and_kind(twins: Shop):
    shop = ruled(twins, STRICT, "keep: [run.sh, current]")
    fork(
        shop,
        {"run.sh": executable(b"exit 0\n"), "current": link(b"eu")},
        {"run.sh": "exit 1\n", "current": "us\n"},
    )
    before = blob(shop.staging, "run.sh"), blob(shop.staging, "current")
    landed(shop.promote("staging"))
    assert (blob(shop.staging, "run.sh"), blob(shop.staging, "current")) == before
    assert before[0].startswith("100755")
    assert before[1].startswith("120000")


def test_a_kept_path_stays_where_it_is_when_the_upstream_moves_its_folder(twins: Shop):
    shop = ruled(twins, "keep: [datastores/eu.yml]")
    fork(
        shop,
        {"datastores/eu.yml": "ours\n"},
        {"datastores/a.sql": None, "stores/a.sql": lines("load")},
        base={"datastores/a.sql": lines("load")},
    )
    landed(shop.promote("staging"))
    assert set(shop.staging.files()) - set(PROJECT_FILES) == {"datastores/eu.yml", "stores/a.sql"}


def test_a_first_promotion_keeps_what_the_platform_made_and_the_target_owns(shop: Shop):
    shop = ruled(shop, "keep: [README.md, CODEOWNERS]")
    shop.dev.commit({"CODEOWNERS": "* @dev\n"})
    made = landed(shop.promote("staging"))
    assert shop.staging.show("README.md") == "# staging"
    assert set(shop.staging.files()) == set(PROJECT_FILES)  # CODEOWNERS is kept away
    assert made.overwrites == ()
    assert made.equality is Equality.EXPLAINED


def test_a_fast_forward_over_a_kept_path_becomes_a_merge_that_keeps_it(twins: Shop):
    shop = ruled(twins, "keep: [pipeline.yml]")
    own = shop.staging.head
    tip = shop.dev.commit({"pipeline.yml": MART, "a": "1\n"})
    made = landed(shop.promote("staging"))
    assert parents(shop.staging) == [own, tip]
    assert shop.staging.show("pipeline.yml") + "\n" == PROJECT_FILES["pipeline.yml"]
    assert (made.equality, made.overwrites) == (Equality.EXPLAINED, ())


def test_a_fast_forward_beside_a_kept_path_stays_the_very_commit(twins: Shop):
    shop = ruled(twins, "keep: [pipeline.yml, 'datastores/**', 'run.sh#a']")
    tip = shop.dev.commit({"a": "1\n"})
    assert landed(shop.promote("staging")).equality is Equality.SAME_COMMIT
    assert shop.staging.head == tip


@NOT_FF_ONLY
def test_paths_and_keys_are_kept_under_each_policy(twins: Shop, policy: str):
    shop = ruled(
        twins, f"merge: {{policy: {policy}}}", "keep: [README.md, 'pipeline.yml#source', run.sh]"
    )
    base = "source: users\n\n\n\ntarget: warehouse\n"
    fork(
        shop,
        {"README.md": "# ours\n", "pipeline.yml": base.replace("users", "ours"), "run.sh": None},
        {"README.md": "# theirs\n", "pipeline.yml": base.replace("warehouse", "mart")},
        base={"pipeline.yml": base},
    )
    made = landed(shop.promote("staging"))
    assert shop.staging.show("README.md") == "# ours"
    assert shop.staging.show("pipeline.yml") == "source: ours\n\n\n\ntarget: mart"
    assert "run.sh" not in shop.staging.files()
    assert made.equality is Equality.EXPLAINED
    assert sum(each.line_count for each in made.overwrites) == 0


OWNED = """\
# what staging runs
version: 1
source: users   # the table
target:
  # where it goes
  host: warehouse.example.com
  port: 5432
plugins: [a, b]
"""


def test_a_kept_key_leaves_all_other_text_as_the_upstream_wrote_it(twins: Shop):
    shop = ruled(twins, "keep: ['pipeline.yml#target.host', 'pipeline.yml#source']")
    own = OWNED.replace("users", "orders").replace("warehouse.", "staging.")
    new = OWNED.replace("version: 1", "version: 2").replace("[a, b]", "[c]  # for all")
    fork(
        shop,
        {"pipeline.yml": own},
        {"pipeline.yml": new.replace("5432", "5433").replace("where it", "where all")},
        base={"pipeline.yml": OWNED},
    )
    made = landed(shop.promote("staging"))
    assert (
        shop.staging.show("pipeline.yml") + "\n"
        == """\
# what staging runs
version: 2
source: orders   # the table
target:
  # where all goes
  host: staging.example.com
  port: 5433
plugins: [c]  # for all
"""
    )
    assert made.keeps == (Kept("pipeline.yml", explained=True),)
    assert made.equality is Equality.EXPLAINED


def test_a_kept_key_needs_no_policy_in_a_conflict_with_its_own_line(twins: Shop):
    shop = ruled(twins, STRICT, "keep: ['pipeline.yml#target']")
    fork(shop, {"pipeline.yml": LAKE}, {"pipeline.yml": MART, "a": "1\n"})
    made = landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") + "\n" == LAKE
    assert made.overwrites == ()


BESIDE = (
    {"pipeline.yml": "source: orders\ntarget: warehouse\n"},
    {"pipeline.yml": "source: users\ntarget: mart\n"},
)
"""The target changed its own key, and the upstream the line below it."""


def test_a_kept_key_does_not_conflict_with_the_line_beside_it(twins: Shop):
    shop = fork(ruled(twins, STRICT, "keep: ['pipeline.yml#source']"), *BESIDE)
    landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") == "source: orders\ntarget: mart"


def test_a_kept_key_is_no_overwrite_when_the_line_beside_it_changes(twins: Shop):
    shop = fork(ruled(twins, "keep: ['pipeline.yml#source']"), *BESIDE)
    made = landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") == "source: orders\ntarget: mart"
    assert made.overwrites == ()


def test_a_kept_key_costs_the_target_no_line_beside_it_that_the_upstream_left_alone(twins: Shop):
    shop = ruled(twins, "keep: ['pipeline.yml#source']")
    fork(shop, {"pipeline.yml": "source: ours\ntarget: ours\n"}, {"a": "1\n"})
    landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") == "source: ours\ntarget: ours"


def test_a_key_that_only_the_target_has_is_kept_and_one_that_it_lacks_stays_away(twins: Shop):
    shop = ruled(twins, "keep: ['pipeline.yml#region', 'pipeline.yml#owner']")
    fork(
        shop,
        {"pipeline.yml": "source: users\nregion: eu\ntarget: warehouse\n"},
        {"pipeline.yml": "source: users\ntarget: mart\nowner: dev\n"},
    )
    made = landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") == "source: users\nregion: eu\ntarget: mart"
    assert made.equality is Equality.EXPLAINED


def test_a_key_that_only_the_target_has_stays_with_the_comment_above_it(twins: Shop):
    shop = ruled(twins, STRICT, "keep: ['pipeline.yml#region']")
    own = "source: users\n# where we are\nregion: eu\ntarget: warehouse\n"
    fork(shop, {"pipeline.yml": own}, {"a": "1\n"})
    landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") + "\n" == own


def test_keys_in_a_file_that_the_target_does_not_have_yet_come_with_it(twins: Shop):
    shop = ruled(twins, "keep: ['new.yml#source']")
    fork(shop, {"a": "1\n"}, {"new.yml": "source: users\n"})
    landed(shop.promote("staging"))
    assert shop.staging.show("new.yml") == "source: users"


def test_keys_in_a_file_that_only_the_target_has_stay_with_it(twins: Shop):
    shop = ruled(twins, "keep: ['workspace.yml#id']")
    fork(shop, {"workspace.yml": "id: 7\n"}, {"a": "1\n"})
    landed(shop.promote("staging"))
    assert shop.staging.show("workspace.yml") == "id: 7"


def test_what_is_kept_stays_the_same_however_often_is_promoted(twins: Shop):
    shop = ruled(twins, "keep: [README.md, 'pipeline.yml#source', deploy.sh]")
    base = "source: users # ours\n\ntarget: warehouse\n"
    fork(
        shop,
        {"README.md": "# ours\n", "pipeline.yml": base.replace("users", "ours"), "deploy.sh": None},
        {"README.md": "# 0\n", "deploy.sh": "exit 0\n"},
        base={"pipeline.yml": base},
    )
    landed(shop.promote("staging"))
    assert isinstance(shop.promote("staging"), NothingToDo)
    for number in ("1", "2"):
        new = base.replace("users", f"users{number}").replace("warehouse", f"mart{number}")
        shop.dev.commit(
            {"README.md": f"# {number}\n", "pipeline.yml": new, "deploy.sh": f"exit {number}\n"}
        )
        made = landed(shop.promote("staging"))
        assert made.overwrites == ()
        assert {kept.path for kept in made.keeps} == {"README.md", "pipeline.yml", "deploy.sh"}
        assert made.equality is Equality.EXPLAINED
        assert shop.staging.show("README.md") == "# ours"
        assert shop.staging.show("pipeline.yml") == f"source: ours # ours\n\ntarget: mart{number}"
        assert isinstance(shop.promote("staging"), NothingToDo)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param("source: [\n", "source: users\ntarget: mart\n", id="the target's is no YAML"),
        pytest.param("source: ours\n", "{{ jinja }}: [\n", id="the upstream's is no YAML"),
        pytest.param("source: ours\n", link(b"run.sh"), id="the upstream made it a link"),
        pytest.param("source: ours\n", "- source\n", id="there is no place for the key any more"),
    ],
)
def test_a_key_that_cannot_be_kept_is_refused_with_a_hint(twins: Shop, ours, theirs):
    shop = ruled(twins, "keep: ['pipeline.yml#source']")
    fork(shop, {"pipeline.yml": ours}, {"pipeline.yml": theirs, "a": "1\n"})
    answer = refused(shop, Rejected)
    assert answer.reason.startswith("what staging owns cannot be kept: pipeline.yml")
    assert "workspaces.staging.keep" in answer.hint


@pytest.mark.parametrize(
    "past",
    [
        pytest.param("source: [\n", id="no YAML"),
        pytest.param("- source\n", id="no place for the key"),
        pytest.param(link(b"run.sh"), id="a link"),
    ],
)
def test_a_key_is_kept_whatever_its_file_was_before_both_sides_mended_it(twins: Shop, past):
    shop = ruled(twins, "keep: ['pipeline.yml#source']")
    fork(
        shop,
        {"pipeline.yml": "source: ours\n\ntarget: lake\n"},
        {"pipeline.yml": "source: theirs\n\ntarget: mart\n"},
        base={"pipeline.yml": past},
    )
    landed(shop.promote("staging"))
    assert shop.staging.show("pipeline.yml") == "source: ours\n\ntarget: mart"


def test_an_upstream_that_deletes_a_file_with_owned_keys_is_refused(twins: Shop):
    shop = ruled(twins, "keep: ['pipeline.yml#source']")
    fork(shop, {"pipeline.yml": "source: ours\n"}, {"pipeline.yml": None})
    assert refused(shop, Conflicted).paths == ("pipeline.yml",)


def test_names_that_mean_something_elsewhere_are_kept_as_others(twins: Shop):
    shop = ruled(twins, STRICT, "keep: ['odd/**']")
    ours, theirs = ({b"odd/" + n: side for n in ODD} for side in (b"ours\n", b"theirs\n"))
    fork(shop, ours, {**theirs, b"odd/new": b"theirs\n"})
    before = git(shop.staging.bare, "rev-parse", "main:odd")
    made = landed(shop.promote("staging"))
    assert git(shop.staging.bare, "rev-parse", "main:odd") == before
    assert len(made.keeps) == len(ODD) + 1


@pytest.mark.parametrize(
    "name", ["-f.yml", "a b.yml", "é/日本.yml", ":(top)a.yml", "!a.yml", "a'.yml"]
)
def test_a_rule_may_name_a_path_or_key_that_means_something_elsewhere(twins: Shop, name: str):
    rules = [name, f"{name}#source"]
    fork(twins, {name: "source: ours\n"}, {name: "source: theirs\n", "a": "1\n"})
    for rule in rules:
        quoted = rule.replace("'", "''")
        made = planned(ruled(twins, STRICT, f"keep: ['{quoted}']"))
        assert made.keeps == (Kept(name, explained=True),)


# --- what a promotion overwrites --------------------------------------------------------------


def test_the_lines_that_go_are_named_with_the_commit_and_author_who_wrote_them(twins: Shop):
    base = lines("load")
    grow(twins.dev, {"a.sql": base})
    seed(twins.dev, twins.staging)
    ada = base.replace(b"load 4\n", b"ada's\n")
    ben = ada.replace(b"load 5\n", b"ben's\n").replace(b"load 11\n", b"merged\n")
    first = grow(twins.staging, {"a.sql": ada}, by="Ada")
    second = grow(twins.staging, {"a.sql": ben}, by="Ben")
    grow(twins.dev, {"a.sql": base.replace(b"load 4\nload 5\n", b"theirs\n")})
    (lost,) = landed(twins.promote("staging")).overwrites
    assert (lost.path, lost.line_count) == ("a.sql", 2)
    assert [(line.text, line.commit, line.author) for line in lost.lines] == [
        ("ada's", first, "Ada"),
        ("ben's", second, "Ben"),
    ]
    assert "merged" in twins.staging.show("a.sql")


def test_lines_that_came_from_the_upstream_are_not_named_when_they_go(promoted_shop: Shop):
    shop = promoted_shop
    shop.dev.commit({"pipeline.yml": "source: users\nmiddle: old\ntarget: warehouse\n"})
    shop.promote("staging")
    shop.staging.commit({"pipeline.yml": "source: users\nmiddle: ours\ntarget: warehouse\n"})
    shop.dev.commit({"pipeline.yml": "all: new\n"})
    assert dropped(landed(shop.promote("staging"))) == {"pipeline.yml": ["middle: ours"]}


def test_a_line_that_both_sides_wrote_is_not_named(twins: Shop):
    shop = fork(twins, {"new.yml": "both\nours\n"}, {"new.yml": "both\ntheirs\n"})
    assert dropped(landed(shop.promote("staging"))) == {"new.yml": ["ours"]}


def test_lines_that_an_earlier_promotion_dropped_are_not_named_again(twins: Shop):
    shop = fork(twins, {"pipeline.yml": LAKE}, {"pipeline.yml": MART})
    assert dropped(landed(shop.promote("staging"))) == {"pipeline.yml": ["target: lake"]}
    shop.dev.commit({"pipeline.yml": MART.replace("mart", "mart2")})
    assert landed(shop.promote("staging")).overwrites == ()


def test_no_line_is_dropped_where_the_target_only_deleted_some(twins: Shop):
    shop = fork(twins, {"pipeline.yml": "source: users\n"}, {"pipeline.yml": MART})
    assert dropped(landed(shop.promote("staging"))) == {"pipeline.yml": []}


def edited(by: bytes, *numbers: int) -> bytes:
    rows = lines("load").splitlines(keepends=True)
    for number in numbers:
        rows[number] = b"%s %d\n" % (by, number)
    return b"".join(rows)


def test_lines_of_a_file_that_the_upstream_renamed_are_named(twins: Shop):
    shop = fork(
        twins,
        {"a.sql": edited(b"ours", 5)},
        {"a.sql": None, "sql/a.sql": edited(b"theirs", 5)},
        base={"a.sql": lines("load")},
    )
    assert dropped(landed(shop.promote("staging"))) == {"sql/a.sql": ["ours 5"]}


def test_lines_of_a_file_that_the_target_renamed_are_named(twins: Shop):
    shop = fork(
        twins,
        {"a.sql": None, "sql/a.sql": edited(b"ours", 5)},
        {"a.sql": edited(b"theirs", 5)},
        base={"a.sql": lines("load")},
    )
    assert dropped(landed(shop.promote("staging"))) == {"sql/a.sql": ["ours 5"]}


def test_lines_of_a_renamed_file_are_named_although_most_of_it_was_rewritten(twins: Shop):
    numbers = range(1, 10)
    shop = fork(
        twins,
        {"a.sql": edited(b"rewritten by us", *numbers)},
        {"a.sql": None, "sql/a.sql": edited(b"theirs", *(1, 5, 9))},
        base={"a.sql": lines("load")},
    )
    made = landed(shop.promote("staging"))
    assert shop.staging.tree() == shop.dev.tree()
    named = [text for texts in dropped(made).values() for text in texts]
    assert sorted(named) == [f"rewritten by us {number}" for number in numbers]


def test_a_binary_file_is_named_without_lines(twins: Shop):
    shop = fork(twins, {"logo.png": b"\0\1ours"}, {"logo.png": b"\0\1theirs"})
    made = landed(shop.promote("staging"))
    assert [(each.path, each.line_count) for each in made.overwrites] == [("logo.png", 0)]


def test_a_link_is_named_with_what_it_pointed_to(twins: Shop):
    shop = fork(twins, {"current": link(b"eu")}, {"current": link(b"us")})
    assert dropped(landed(shop.promote("staging"))) == {"current": ["eu"]}


def test_lines_of_files_whose_names_mean_something_elsewhere_are_named(twins: Shop):
    shop = fork(twins, dict.fromkeys(ODD, b"ours\n"), dict.fromkeys(ODD, b"theirs\n"))
    made = landed(shop.promote("staging"))
    assert [each.line_count for each in made.overwrites] == [1] * len(ODD)


SECRETS = (
    *("password: hunter2", "export DB_PASSWORD=hunter2", '  "api_key": "hunter2",'),
    *("client-secret = hunter2", "GITHUB_TOKEN: hunter2", "AWS_SECRET_ACCESS_KEY='hunter2'"),
    *("{user: a, passwd: hunter2, port: 1}", "private_key : >- hunter2", "credentials=hunter2"),
    *("  pass: hunter2", "session_cookie: hunter2", "X-API-Key: hunter2", "curl --token hunter2"),
    f"{'x' * 190} password: hunter2",
)


def test_what_looks_like_a_secret_is_masked(twins: Shop):
    shop = fork(twins, {"env": "\n".join(SECRETS)}, {"env": "theirs\n"})
    (lost,) = landed(shop.promote("staging")).overwrites
    assert lost.line_count == len(SECRETS)
    assert "hunter2" not in str(lost.lines)
    assert lost.lines[0].text == "password: *****"


ADDRESSES = (
    *("url: postgresql://load:hunter2@db/shop", "redis://:hunter2@cache:6379"),
    *("git clone https://hunter2@example.com/a.git", "'amqp://a:p@hunter2@mq/' # two at signs"),
)


def test_a_login_within_an_address_is_masked(twins: Shop):
    shop = fork(twins, {"env": "\n".join(ADDRESSES)}, {"env": "theirs\n"})
    (lost,) = landed(shop.promote("staging")).overwrites
    assert lost.line_count == len(ADDRESSES)
    assert "hunter2" not in str(lost.lines)


def test_lines_and_authors_that_would_steer_a_terminal_are_inert_and_short(twins: Shop):
    grow(twins.staging, {"a": b"\x1b[31m\xff" + b"long " * 99 + b"\n"}, by="E\x1bve\u202e")
    twins.dev.commit({"a": "theirs\n"})
    ((line,),) = [each.lines for each in landed(twins.promote("staging")).overwrites]
    assert line.text.startswith("[31m\ufffdlong")
    assert len(line.text) == 200
    assert line.author == "Eve"


def test_many_lines_are_counted_and_the_first_are_named(twins: Shop):
    shop = fork(twins, {"a": lines("ours", 50)}, {"a": "theirs\n"})
    made = landed(shop.promote("staging"))
    (lost,) = made.overwrites
    assert (lost.line_count, len(lost.lines), lost.lines[0].text) == (50, 20, "ours 0")
    assert plan.overwritten(lost)[-1] == ("a", "… and 30 more lines", "", "")


def test_a_file_beyond_those_whose_lines_are_named_is_not_said_to_lose_none(
    twins: Shop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(losses, "_FILES", 1)
    shop = fork(twins, {"a": "ours\n", "b": "ours\n"}, {"a": "theirs\n", "b": "theirs\n"})
    _, second = landed(shop.promote("staging")).overwrites
    assert second.path == "b"
    assert "no line" not in str(plan.overwritten(second))


def test_a_platform_made_file_is_named_when_histories_are_joined(shop: Shop):
    shop.staging.commit({"README.md": "# staging\n# shared\n", "LICENSE": "ours\n"})
    shop.dev.commit({"README.md": "# dev\n# shared\n"})
    made = landed(shop.promote("staging"))
    assert dropped(made) == {"README.md": ["# staging"]}


def test_exact_names_all_that_the_target_alone_wrote(twins: Shop):
    shop = ruled(twins, EXACT)
    fork(
        shop,
        {"pipeline.yml": LAKE, "notes.md": "ours\n", "run.sh": None},
        {"README.md": "# newer\n"},
    )
    made = landed(shop.promote("staging"))
    assert dropped(made) == {"pipeline.yml": ["target: lake"], "notes.md": ["ours"], "run.sh": []}


def test_exact_names_what_a_platform_made(shop: Shop):
    made = landed(ruled(shop, EXACT).promote("staging"))
    assert dropped(made) == {"README.md": ["# staging"]}


def test_exact_names_a_line_once_although_the_target_renamed_its_file(twins: Shop):
    shop = fork(
        ruled(twins, EXACT),
        {"a.sql": None, "b.sql": edited(b"ours", 5)},
        {"pipeline.yml": MART},
        base={"a.sql": lines("load")},
    )
    made = landed(shop.promote("staging"))
    assert sum(map(len, dropped(made).values())) == 1
    assert sum(each.line_count for each in made.overwrites) == 1


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        pytest.param(EXACT, module(3), id="exact, moved on"),
        pytest.param(EXACT, None, id="exact, deleted"),
        pytest.param(AS_UPSTREAM, None, id="theirs, deleted"),
    ],
)
def test_a_submodule_that_the_target_moved_on_is_named_as_overwritten(twins: Shop, rule, theirs):
    shop = fork(ruled(twins, rule), {"m": module(2)}, {"m": theirs}, base={"m": module(1)})
    assert [each.path for each in landed(shop.promote("staging")).overwrites] == ["m"]


# --- how much the result equals what was tested -----------------------------------------------

NOTES = {"notes.md": "ours\n"}
NEWER = {"pipeline.yml": MART}


@pytest.mark.parametrize(
    ("level", "rules", "ours", "theirs"),
    [
        pytest.param("same commit", (), None, NEWER, id="fast-forward"),
        pytest.param("same tree", (), {"pipeline.yml": LAKE}, NEWER, id="all settled"),
        pytest.param("same tree", ("scope: [run.sh]", EXACT), NOTES, NEWER, id="exact"),
        pytest.param("same on scope", ("scope: ['*.yml']",), NOTES, NEWER, id="beside the scope"),
        pytest.param(
            "same on scope",
            ("scope: ['*.yml']", "keep: [run.sh]"),
            {"run.sh": "exit 0\n"},
            NEWER,
            id="a keep rule beside the scope",
        ),
        pytest.param("explained", ("keep: [notes.md]",), NOTES, NEWER, id="all declared"),
        pytest.param(
            "explained",
            ("keep: [pipeline.yml]", "scope: ['*.yml']"),
            {"pipeline.yml": LAKE},
            NEWER,
            id="declared, and in the scope",
        ),
        pytest.param("unexplained", (), NOTES, NEWER, id="nothing declared"),
        pytest.param("unexplained", ("scope: [notes.md]",), NOTES, NEWER, id="in the scope"),
        pytest.param(
            "unexplained",
            ("keep: [notes.md]",),
            {**NOTES, "more.md": "ours\n"},
            NEWER,
            id="one of two declared",
        ),
        pytest.param("unexplained", (), {"README.md": None}, NEWER, id="a deletion"),
    ],
)
def test_a_plan_says_how_much_the_result_equals_the_upstream(
    twins: Shop, level, rules, ours, theirs
):
    shop = ruled(twins, *rules)
    if ours:
        grow(shop.staging, ours)
    grow(shop.dev, theirs)
    answer = shop.promote("staging")
    assert landed(answer).equality is Equality(level)
    assert answer.release.equality == level


def test_each_difference_is_named_with_whether_the_target_declared_it(twins: Shop):
    shop = ruled(twins, "keep: ['*.md', 'pipeline.yml#target']")
    fork(
        shop,
        {"notes.md": "ours\n", "README.md": None, "own.txt": "ours\n", "pipeline.yml": LAKE},
        {"run.sh": "exit 0\n"},
    )
    assert landed(shop.promote("staging")).keeps == (
        Kept("README.md", explained=True),
        Kept("notes.md", explained=True),
        Kept("own.txt", explained=False),
        Kept("pipeline.yml", explained=True),
    )


def test_a_file_whose_key_is_kept_is_unexplained_when_another_key_differs_too(twins: Shop):
    shop = ruled(twins, "keep: ['pipeline.yml#source']")
    base = "source: users\n\n\ntarget: warehouse\n"
    own = base.replace("users", "ours").replace("warehouse", "ours")
    fork(shop, {"pipeline.yml": own}, {"a": "1\n"}, base={"pipeline.yml": base})
    made = landed(shop.promote("staging"))
    assert made.keeps == (Kept("pipeline.yml", explained=False),)
    assert made.equality is Equality.UNEXPLAINED


# --- commits and digest -----------------------------------------------------------------------


def test_a_plan_names_the_commits_that_come_newest_first_and_not_the_targets_own(twins: Shop):
    fork(twins, NOTES, {"a": "1\n"})
    newest = twins.dev.commit({"b": "1\n"}, "Add b")
    made = landed(twins.promote("staging"))
    assert made.commit_count == 2
    assert [commit.id for commit in made.commits] == [newest, f"{parents(twins.dev)[0]}"]
    assert (made.commits[0].subject, made.commits[1].author) == ("Add b", "Theirs")


def test_a_plan_for_an_older_proven_commit_names_nothing_newer(promoted_shop: Shop):
    shop = promoted_shop
    first = shop.dev.commit({"a": "1\n"})
    landed(shop.promote("staging"))
    shop.prove(shop.staging)
    proven = shop.staging.head
    grow(shop.staging, {"b": "1\n"}, {"b": "2\n"})
    made = landed(shop.promote("prod"))
    assert made.upstream_commit == proven
    assert (made.commit_count, {each.id for each in made.commits}) == (2, {first, proven})


@pytest.mark.parametrize("number", [256, 257])
def test_many_commits_are_counted_and_the_newest_are_named(twins: Shop, number: int):
    tip = grow(twins.dev, *[{}] * (number - 1), {"a": "1\n"})
    made = planned(twins)
    assert made.commit_count == number
    assert len(made.commits) == 256
    assert made.commits[0].id == tip


RULES = ("keep: [README.md, 'pipeline.yml#source']", "scope: ['**']")


def varied(shop: Shop) -> Shop:
    """Return a situation in which something is settled, kept, dropped and added."""
    base = "source: users\n\n\ntarget: warehouse\n"
    return fork(
        ruled(shop, *RULES),
        {
            "README.md": "# ours\n",
            "pipeline.yml": base.replace("users", "ours"),
            "x": "ours\n",
            "own": "ours\n",
        },
        {"README.md": "# new\n", "pipeline.yml": base.replace("warehouse", "m"), "x": "theirs\n"},
        base={"pipeline.yml": base},
    )


def test_a_plan_is_the_same_however_often_and_wherever_it_is_made(twins: Shop):
    shop = varied(twins)
    first = planned(shop)
    assert planned(shop) == first
    assert planned(dataclasses.replace(shop, store=Store(shop.root / "other", "shop"))) == first
    assert planned(from_scratch(shop)) == first
    assert landed(shop.promote("staging")) == first


def test_another_plan_has_another_digest(twins: Shop):
    shop = varied(twins)
    digests = [planned(shop).digest]

    def others(*rules: str) -> None:
        digests.append(planned(ruled(shop, *rules)).digest)

    others("keep: ['pipeline.yml#source']", RULES[1])
    others("keep: [README.md, 'pipeline.yml#source', x]", RULES[1])
    others(EXACT, *RULES)
    shop.dev.commit({})  # the same tree
    digests.append(planned(shop).digest)
    digests.append(planned(shop, commit=parents(shop.dev)[0]).digest)
    assert digests.pop() == digests[0]
    shop.staging.commit({})
    digests.append(planned(shop).digest)
    assert len(set(digests)) == len(digests)


def test_the_same_commit_for_another_target_or_from_another_base_is_another_plan(twins: Shop):
    seed(twins.dev, twins.prod)
    twins.dev.commit(NEWER)
    first = planned(twins)
    landed(twins.promote("staging"))
    twins.prove(twins.staging)
    second = planned(twins, "prod")
    git(twins.staging.bare, "update-ref", "-d", "refs/heads/main")
    third = planned(twins)
    assert first.commit == second.commit == third.commit
    assert len({first.digest, second.digest, third.digest}) == 3


# --- publishing one plan only -----------------------------------------------------------------


def test_the_plan_that_was_agreed_on_is_published(twins: Shop):
    shop = varied(twins)
    made = planned(shop)
    answer = from_scratch(shop).promote("staging", digest=made.digest)
    assert landed(answer) == made
    assert (shop.staging.head, answer.release.plan) == (made.commit, made.digest)
    assert isinstance(shop.promote("staging", digest=made.digest), NothingToDo)


def test_a_plan_that_nobody_made_is_not_published(twins: Shop):
    answer = refused(varied(twins), Rejected, digest="sha256:" + "0" * 64)
    assert answer.reason.startswith("the world moved")


def test_a_plan_is_not_published_when_the_target_moved(twins: Shop):
    made = planned(varied(twins))
    twins.staging.commit({"hotfix": "1\n"})
    shop = ruled(twins, *RULES)
    refused(shop, Rejected, digest=made.digest)
    refused(shop, Rejected, digest=made.digest, commit=made.upstream_commit)


def test_a_plan_is_published_after_the_upstream_moved_only_if_its_commit_is_named(twins: Shop):
    shop = varied(twins)
    made = planned(ruled(shop, *RULES))
    shop.dev.commit({"b": "1\n"})
    shop = ruled(shop, *RULES)
    answer = refused(shop, Rejected, digest=made.digest)
    assert planned(shop).digest in answer.reason
    assert landed(shop.promote("staging", digest=made.digest, commit=made.upstream_commit)) == made


def test_a_plan_is_not_published_under_other_rules(twins: Shop):
    made = planned(varied(twins))
    refused(ruled(twins, "keep: ['pipeline.yml#source']"), Rejected, digest=made.digest)


@dataclasses.dataclass
class Meddler(Book):
    """A book that lets something happen while it is asked, and so between look-up and push."""

    happen: list = dataclasses.field(default_factory=list)

    def find(self, *asked):
        if self.happen:
            self.happen.pop()()
        return super().find(*asked)


def meddled(shop: Shop, happen) -> Shop:
    return dataclasses.replace(shop, book=Meddler(shop.book.evidence, happen=[happen]))


def test_a_race_that_an_agreed_plan_loses_is_not_planned_anew(promoted_shop: Shop):
    shop = promoted_shop
    shop.dev.commit(NEWER)
    landed(shop.promote("staging"))
    shop.prove(shop.staging)
    made = planned(shop, "prod")
    racing = meddled(shop, lambda: shop.prod.commit({"hotfix": "1\n"}))
    assert isinstance(racing.promote("prod", digest=made.digest), Rejected)
    assert git(shop.prod.bare, "log", "-1", "--format=%s", "main") == "Change"
    # Without it the next round takes the hotfix in, if somebody says that it may go untested.
    racing = meddled(shop, lambda: shop.prod.commit({"hotfix": "2\n"}))
    landed(racing.promote("prod", override=Override("the hotfix is fine")))
    assert shop.prod.show("hotfix") == "2"


def test_an_agreed_plan_opens_no_gate(shop: Shop):
    landed(shop.promote("staging"))
    made = planned(shop, "prod", override=Override("to see it"))
    refused(shop, Held, "prod", digest=made.digest)


# --- an upstream that is not what it was ------------------------------------------------------


def orphan(workspace: Workspace) -> str:
    """Let a workspace be another project: its files, and nothing of its history."""
    tree = workspace.tree()
    commit = git(workspace.bare, "commit-tree", tree, "-m", "Another project")
    set_back(workspace, commit)
    return commit


def test_an_unrelated_upstream_is_refused_after_the_first_promotion_unless_allowed(shop: Shop):
    landed(shop.promote("staging"))
    orphan(shop.dev)
    tip = shop.dev.commit(NEWER)
    answer = refused(shop, Rejected)
    assert answer.reason.startswith("dev shares no history with staging")
    assert "allow unrelated" in answer.hint
    refused(shop, Rejected, allow={Allowance.REWRITTEN})
    landed(shop.promote("staging", allow={Allowance.UNRELATED}))
    assert parents(shop.staging)[1] == tip
    shop.dev.commit({"a": "1\n"})
    landed(shop.promote("staging"))  # once is enough


@pytest.mark.parametrize("merged", [False, True], ids=["came by fast-forward", "was merged"])
def test_a_rewritten_upstream_is_refused_with_the_lost_commits_unless_allowed(twins: Shop, merged):
    shop = twins
    if merged:
        shop.staging.commit(NOTES)
    before = shop.dev.head
    lost = [shop.dev.commit({"a": "1\n"}, "Add a"), shop.dev.commit({"b": "1\n"}, "Add b")]
    landed(shop.promote("staging"))
    set_back(shop.dev, before)
    shop.dev.commit({"c": "1\n"}, "Add c")
    answer = refused(shop, Rejected)
    assert answer.reason == (
        "dev was rewritten: 2 commit(s) that staging has from it are gone from its branch main: "
        f"{lost[1][:12]} Add b (Grace); {lost[0][:12]} Add a (Grace)"
    )
    assert "allow rewritten" in answer.hint
    refused(shop, Rejected, allow={Allowance.UNRELATED})
    landed(shop.promote("staging", allow=[Allowance.REWRITTEN]))
    assert {"a", "b", "c"} < set(shop.staging.files())
    shop.dev.commit({"d": "1\n"})
    landed(shop.promote("staging"))


def test_an_amended_upstream_is_refused(twins: Shop):
    twins.dev.commit(NEWER)
    landed(twins.promote("staging"))
    twins.staging.commit({"hotfix": "1\n"})
    git(twins.dev.clone, "commit", "--quiet", "--amend", "-m", "Better said")
    git(twins.dev.clone, "push", "--quiet", "--force", "origin", "HEAD:main")
    assert "1 commit(s)" in refused(twins, Rejected).reason


def test_of_many_lost_commits_all_are_counted_and_the_newest_named(twins: Shop):
    before = twins.dev.head
    grow(twins.dev, *[{}] * 300)
    landed(twins.promote("staging"))
    set_back(twins.dev, before)
    twins.dev.commit({"a": "1\n"})
    reason = refused(twins, Rejected).reason
    assert "300 commit(s)" in reason
    assert reason.count("Grow (Grace)") == 5


def test_an_upstream_that_is_a_target_itself_may_be_rewritten_too(promoted_shop: Shop):
    shop = promoted_shop
    set_back(shop.staging, parents(shop.staging)[0])
    shop.staging.commit({"a": "1\n"})
    shop.prove(shop.staging)
    assert refused(shop, Rejected, "prod").reason.startswith("staging was rewritten: ")


def test_a_rewritten_upstream_is_noticed_although_releases_have_one_date(twins: Shop):
    """A clock that was ahead gives all releases its date until the others have caught up."""
    shop, ahead = twins, 2_000_000_000
    kept = grow(shop.dev, {"a": "0\n"}, time=ahead)
    tag = landed(shop.promote("staging")).tag
    for number in count(1):
        grow(shop.dev, {"a": f"{number}\n"}, time=ahead)
        if planned(shop).tag < tag:  # such a one comes soon: what follows the date is the commit
            break
    landed(shop.promote("staging"))
    set_back(shop.dev, kept)
    grow(shop.dev, {"b": "1\n"}, time=ahead)
    assert "was rewritten" in refused(shop, Rejected).reason


def test_a_rewritten_upstream_is_noticed_although_somebody_pulled_the_release_into_a_hotfix(
    twins: Shop,
):
    """What a pull makes has the hotfix for its first parent, and the release for its second."""
    before, clone = twins.dev.head, twins.staging.clone
    git(clone, "pull", "--quiet", "origin", "main")
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "Hotfix")
    twins.dev.commit(NEWER)
    landed(twins.promote("staging"))
    git(clone, "pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main")
    git(clone, "push", "--quiet", "origin", "HEAD:main")
    set_back(twins.dev, before)
    twins.dev.commit({"a": "1\n"})
    assert "was rewritten" in refused(twins, Rejected).reason


def test_an_upstream_that_was_only_set_back_asks_for_nothing(twins: Shop):
    before = twins.dev.head
    twins.dev.commit(NEWER)
    landed(twins.promote("staging"))
    set_back(twins.dev, before)
    assert isinstance(twins.promote("staging"), NothingToDo)


def merges_the_target_back(shop: Shop) -> None:
    shop.staging.commit({"hotfix": "1\n"})
    shop.dev.merge(shop.staging)
    shop.dev.commit({"a": "1\n"})


def squashes_what_was_not_promoted(shop: Shop) -> None:
    before = shop.dev.head
    shop.dev.commit({"a": "0\n"})
    shop.dev.commit({"a": "1\n"})
    set_back(shop.dev, git(shop.dev.bare, "commit-tree", "main^{tree}", "-p", before, "-m", "One"))


def waits_while_the_target_gets_a_hotfix(shop: Shop) -> None:
    shop.staging.commit({"hotfix": "1\n"})
    shop.staging.commit({"hotfix": "2\n"})
    shop.dev.commit({"a": "1\n"})


def waits_while_the_target_pulls_by_hand(shop: Shop) -> None:
    shop.dev.commit({"a": "1\n"})
    shop.staging.merge(shop.dev)
    shop.dev.commit({"a": "2\n"})


def waits_while_the_target_is_set_back(shop: Shop) -> None:
    set_back(shop.staging, parents(shop.staging)[0])
    before = parents(shop.dev)[0]
    set_back(shop.dev, before)
    shop.dev.commit({"a": "1\n"})


@pytest.mark.parametrize("merged", [False, True], ids=["came by fast-forward", "was merged"])
@pytest.mark.parametrize(
    "what_happens",
    [
        merges_the_target_back,
        squashes_what_was_not_promoted,
        waits_while_the_target_gets_a_hotfix,
        waits_while_the_target_pulls_by_hand,
        waits_while_the_target_is_set_back,
    ],
    ids=lambda what: what.__name__.replace("_", " "),
)
def test_an_upstream_is_not_taken_for_rewritten_when_it(twins: Shop, what_happens, merged):
    if merged:
        twins.staging.commit(NOTES)
    twins.dev.commit(NEWER)
    landed(twins.promote("staging"))
    what_happens(twins)
    landed(twins.promote("staging"))


def test_what_a_message_of_the_upstreams_names_refuses_nothing(twins: Shop):
    before, elsewhere = twins.dev.head, twins.dev.commit({"never": "promoted\n"})
    planned(twins)  # so that the cache knows it
    set_back(twins.dev, before)
    trailers = "Project: shop\nTarget: staging\nUpstream: dev\nUpstream-Commit: "
    for named in ("--help", "f" * 40, elsewhere, "main"):
        twins.dev.commit({"a": named}, f"Promote dev to staging\n\n{trailers}{named}")
        landed(twins.promote("staging"))
    twins.dev.commit({"a": "1\n"})
    landed(twins.promote("staging"))


PROD = "    upstream: staging\n    promote: change\n    gate: {environment: staging}\n"


def fed_by(shop: Shop, upstream: str) -> Shop:
    """Return the shop whose prod has this upstream, and no gate."""
    path = shop.root / "dataops.yaml"
    path.write_text(SHOP.replace(PROD, f"    upstream: {upstream}\n"))
    return dataclasses.replace(shop, project=config.load(path))


@pytest.mark.parametrize("merged", [False, True], ids=["came by fast-forward", "was merged"])
def test_a_new_upstream_in_the_configuration_is_not_taken_for_rewritten(twins: Shop, merged):
    seed(twins.dev, twins.prod)
    if merged:
        twins.prod.commit(NOTES)
    twins.staging.commit({"a": "in staging\n"})
    twins.dev.commit(NEWER)
    landed(fed_by(twins, "dev").promote("prod"))
    landed(fed_by(twins, "staging").promote("prod"))
    assert twins.prod.show("a") == "in staging"
    assert twins.prod.show("pipeline.yml") + "\n" == MART


def test_a_new_upstream_that_shares_no_history_is_refused(shop: Shop):
    landed(fed_by(shop, "dev").promote("prod"))
    answer = refused(fed_by(shop, "staging"), Rejected, "prod")
    assert answer.reason.startswith("staging shares no history with prod")


# --- a cache that holds what is needed --------------------------------------------------------

DATA = {f"data/{number:03}.csv": f"{number},shop\n" * 100 for number in range(150)}


@pytest.fixture
def large_shop(empty_shop: Shop) -> Shop:
    """Dev and staging share many files and some history; no cache knows them yet."""
    grow(empty_shop.dev, {**PROJECT_FILES, "old.csv": "1,old\n"}, DATA)
    seed(empty_shop.dev, empty_shop.staging)
    return empty_shop


def left_out(shop: Shop) -> int:
    """Return how many contents the cache does without."""
    listed = shop.store.text("rev-list", "--objects", "--all", "--missing=print")
    return sum(line.startswith("?") for line in listed.split("\n"))


def access(shop: Shop, name: str = "staging") -> Access:
    return Access.of(shop.project, shop.project.workspaces[name])


def exported(shop: Shop, name: str = "staging") -> dict[str, str]:
    """Return the files of a workspace's head as the cache writes them."""
    folder = shop.root / "exported"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    head = getattr(shop, name).head
    shop.store.fetch(access(shop, name), "main", head, without_blobs=True)
    shop.store.complete(access(shop, name), head, base=None)
    shop.store.export(head, folder)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_a_cache_that_is_packed_between_promotions_still_serves(
    large_shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "_PACKS", 0)  # at each fetch
    shop = large_shop
    for number in ("1", "2", "3"):
        first = DATA["data/007.csv"]
        fork(
            shop,
            {"data/007.csv": first.replace("7", f"ours {number}", 1)},
            {"data/007.csv": first.replace("7", f"theirs {number}", 1), "a": f"{number}\n"},
        )
        made = landed(shop.promote("staging"))
        assert dropped(made) == {"data/007.csv": [f"ours {number},shop"]}
    assert exported(shop).keys() >= DATA.keys()


def test_packing_a_cache_that_leaves_contents_out_leaves_no_rubbish(
    large_shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    shop = fork(large_shop, NOTES, NEWER)
    landed(shop.promote("staging"))
    monkeypatch.setattr(cache, "_PACKS", 0)
    shop.dev.commit({"a": "1\n"})
    landed(shop.promote("staging"))
    assert left_out(shop) >= len(DATA)
    packs = shop.store.folder / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) <= 2  # what git may ask for again, and the rest
    assert not [*packs.glob("tmp_*"), *packs.glob(".tmp-*")]


def test_a_promotion_leaves_out_the_contents_that_it_does_not_touch(large_shop: Shop):
    shop = fork(large_shop, NOTES, NEWER)
    landed(shop.promote("staging"))
    assert shop.store.is_partial
    assert left_out(shop) >= len(DATA)
    assert git(shop.staging.bare, "fsck", "--connectivity-only") == ""


def test_the_next_promotion_leaves_them_out_too(large_shop: Shop):
    shop = fork(large_shop, NOTES, NEWER)
    landed(shop.promote("staging"))
    shop.dev.commit({"data/000.csv": "0,new\n"})
    landed(shop.promote("staging"))
    assert left_out(shop) >= len(DATA) - 1
    assert shop.staging.show("data/000.csv") == "0,new"


def test_what_was_left_out_is_there_once_it_is_exported(large_shop: Shop):
    shop = fork(large_shop, {**NOTES, "data/001.csv": "1,ours\n"}, NEWER)
    landed(shop.promote("staging"))
    assert exported(shop) == {
        **PROJECT_FILES,
        **DATA,
        **NOTES,
        **NEWER,
        "old.csv": "1,old\n",
        "data/001.csv": "1,ours\n",
    }


def test_more_than_can_be_asked_for_one_by_one_is_there_too(
    large_shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "_MANY_BLOBS", 10)
    shop = fork(large_shop, NOTES, NEWER)
    landed(shop.promote("staging"))
    assert exported(shop).keys() >= DATA.keys()


@pytest.mark.parametrize("promoted", [False, True], ids=["an unknown commit", "a promoted commit"])
def test_a_run_sees_all_files(large_shop: Shop, promoted):
    shop = fork(large_shop, {"run.sh": "ls | wc -l; cat data/*.csv | wc -l\n"}, NEWER)
    if promoted:
        landed(shop.promote("staging"))
    staging, said = shop.project.workspaces["staging"], []
    commit = execution.pin(shop.project, staging, None, store=shop.store)
    result, _ = execution.execute(
        *(shop.project, staging, staging.run),
        commit=commit,
        run_id="1",
        store=shop.store,
        on_line=said.append,
    )
    assert result.passed, said
    assert [int(line) for line in said] == [len(PROJECT_FILES) + 2, 100 * len(DATA)]


def test_a_revert_that_brings_an_old_content_back_is_promoted(large_shop: Shop):
    shop = large_shop
    grow(shop.dev, {"data/000.csv": "0,new\n", "old.csv": None})
    seed(shop.dev, shop.staging)
    grow(shop.staging, NOTES)
    grow(shop.dev, {"data/000.csv": DATA["data/000.csv"], "old.csv": "1,old\n"})
    landed(shop.promote("staging"))
    assert shop.staging.show("data/000.csv") + "\n" == DATA["data/000.csv"]
    assert shop.staging.show("old.csv") == "1,old"
    assert git(shop.staging.bare, "fsck", "--connectivity-only") == ""


@pytest.mark.parametrize("merged", [False, True], ids=["by fast-forward", "by a merge"])
@pytest.mark.parametrize("place", ["moved", "data/moved"])
def test_a_folder_that_the_upstream_moved_is_promoted(large_shop: Shop, place: str, merged):
    shop = large_shop
    if merged:
        grow(shop.staging, NOTES)
    moved = {path.replace("data/", f"{place}/"): held for path, held in DATA.items()}
    grow(shop.dev, {**dict.fromkeys(DATA), **moved, f"{place}/new.csv": "new\n"})
    landed(shop.promote("staging"))
    assert git(shop.staging.bare, "fsck", "--connectivity-only") == ""
    assert exported(shop).keys() >= moved.keys()


def test_a_folder_that_the_target_moved_is_promoted(large_shop: Shop):
    shop = large_shop
    moved = {path.replace("data/", "moved/"): held for path, held in DATA.items()}
    fork(shop, {**dict.fromkeys(DATA), **moved}, {"data/000.csv": "0,new\n" + DATA["data/000.csv"]})
    landed(shop.promote("staging"))
    assert shop.staging.show("moved/000.csv").startswith("0,new\n0,shop\n")
    assert git(shop.staging.bare, "fsck", "--connectivity-only") == ""


def test_a_conflict_over_left_out_contents_is_settled_and_told(large_shop: Shop):
    first = DATA["data/007.csv"]
    shop = fork(
        large_shop,
        {"data/007.csv": first.replace("7,shop\n", "7,ours\n", 1), **NOTES},
        {"data/007.csv": first.replace("7,shop\n", "7,theirs\n", 1)},
    )
    made = landed(shop.promote("staging"))
    assert dropped(made) == {"data/007.csv": ["7,ours"]}
    assert shop.staging.show("data/007.csv") + "\n" == first.replace("7,shop\n", "7,theirs\n", 1)
    assert left_out(shop) >= len(DATA) - 2


def test_kept_contents_that_were_left_out_are_kept(large_shop: Shop):
    shop = ruled(large_shop, "keep: [data/007.csv, 'pipeline.yml#source']")
    fork(
        shop,
        {"data/007.csv": "7,ours\n", "pipeline.yml": "source: ours\n\ntarget: a\n"},
        {"data/007.csv": "7,theirs\n", "pipeline.yml": "source: users\n\ntarget: b\n"},
    )
    landed(shop.promote("staging"))
    assert shop.staging.show("data/007.csv") == "7,ours"
    assert shop.staging.show("pipeline.yml") == "source: ours\n\ntarget: b"


def test_an_empty_target_gets_all_files_although_the_cache_left_some_out(large_shop: Shop):
    shop = fork(large_shop, NOTES, NEWER)
    landed(shop.promote("staging"))
    assert left_out(shop)
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()
    assert git(shop.prod.bare, "fsck", "--connectivity-only") == ""


def test_an_unrelated_target_gets_all_files_although_the_cache_left_some_out(large_shop: Shop):
    shop = fork(large_shop, NOTES, NEWER)
    shop.prod.commit({"README.md": "# prod\n"})
    landed(shop.promote("staging"))
    shop.prove(shop.staging)
    landed(shop.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()
    assert git(shop.prod.bare, "fsck", "--connectivity-only") == ""


@pytest.mark.parametrize("where", ["dev", "staging"])
def test_a_defect_in_an_old_commit_stops_no_promotion(twins: Shop, where: str):
    """The zone of its date is one that real old histories have, and that git's checks refuse."""
    shop, old = twins, getattr(twins, where)
    who = "A <a@example.com> 1500000000 +051800"
    raw = shop.root / "raw"
    raw.write_text(f"tree {old.tree()}\nparent {old.head}\nauthor {who}\ncommitter {who}\n\nOld\n")
    options = ("-t", "commit", "--literally", "-w")
    set_back(old, git(old.bare, "hash-object", *options, str(raw)))
    (shop.dev if where == "staging" else shop.staging).commit({"a": "1\n"})
    for _ in range(2):
        shop.dev.commit({"b": f"{shop.dev.head}\n"})
        landed(shop.promote("staging"))


def test_deleting_the_cache_between_any_two_steps_is_harmless(large_shop: Shop):
    shop = varied(large_shop)
    seed(shop.staging, shop.prod)
    made = planned(shop)
    assert landed(from_scratch(shop).promote("staging", digest=made.digest)) == made
    shop.prove(shop.staging)
    proven = shop.staging.head
    shop.dev.commit({"x": "newer\n"})
    landed(from_scratch(shop).promote("staging"))
    assert planned(from_scratch(shop), "prod").upstream_commit == proven
    landed(from_scratch(shop).promote("prod"))
    assert exported(from_scratch(shop), "prod").keys() >= DATA.keys()
    prod = shop.project.workspaces["prod"]
    (release,) = promotion.releases(shop.project, prod, store=from_scratch(shop).store)
    assert release.commit == shop.prod.head
    assert isinstance(from_scratch(shop).promote("staging"), NothingToDo)


def test_a_cache_that_vanishes_within_a_promotion_costs_a_fetch(promoted_shop: Shop):
    shop = promoted_shop
    shop.dev.commit(NEWER)
    landed(shop.promote("staging"))
    shop.prove(shop.staging)
    robbed = meddled(shop, lambda: shutil.rmtree(shop.root / "cache"))
    landed(robbed.promote("prod"))
    assert shop.prod.tree() == shop.staging.tree()


def test_a_plan_whose_cache_vanished_is_not_published_by_half(twins: Shop):
    ready = fork(twins, NOTES, NEWER).consider("staging")
    before = git(twins.staging.bare, "for-each-ref")
    fresh = from_scratch(twins)
    with pytest.raises(ToolError):
        promotion.publish(fresh.project, ready, store=fresh.store, now=NOW)
    assert git(twins.staging.bare, "for-each-ref") == before
