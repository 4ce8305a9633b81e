"""A merge without a work tree makes the very tree that a pull by hand makes, or both refuse."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, note, settings

from dataops_dagster.errors import ToolError
from dataops_dagster.merge import Merged, Unmerged, merge
from dataops_dagster.settings import Merge, ModifyDelete
from dataops_dagster.store import Store
from tests.histories import (
    ODD,
    Entry,
    Pair,
    crossed,
    executable,
    forked,
    lines,
    link,
    module,
    pairs,
    write,
)
from tests.repositories import ENVIRONMENT, git

# They keep hooks, submodules and housekeeping out, and are quick; none changes a merge.
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsync=none", "-c", "maintenance.auto=false"),
    *("-c", "submodule.recurse=false", "-c", "fetch.recurseSubmodules=false"),
    *("-c", "protocol.file.allow=always"),
)

pytestmark = pytest.mark.slow

# The last words of a git that dies of a bug of its own (by signal 6) before it has a result. By hand
# there is none then, and there shall be none here. So far these were seen, where folders moved:
#   BUG: merge-ort.c:4464: Conflicted a/b but nothing in basic working tree or index; this shouldn't
#   merge-ort.c:2944: process_renames: Assertion `source_deleted || oldinfo->filemask & old_sidemask'
#   error: cache entry has null sha1: e/b/c~HEAD
_BUG = re.compile(
    r"BUG: merge-ort\.c:\d+: Conflicted .* but nothing in basic working tree or index"
    r"|merge-ort\.c:\d+: \w+: Assertion|cache entry has null sha1",
    re.DOTALL,
)


@dataclass(frozen=True)
class ByHand:
    """The tree of a pull, None if it was refused, and what git said."""

    tree: str | None
    said: str


@dataclass(frozen=True)
class World:
    """Two histories in a store: ours is the target's, theirs the upstream's."""

    store: Store
    clone: Path
    ours: str
    theirs: str

    def pull(self) -> ByHand:
        """Pull the upstream into a clone of the target, as the guides say."""
        git(self.clone.parent, "init", "--quiet", "--template=", str(self.clone))
        (self.clone / ".git/objects/info/alternates").write_text(f"{self.store.folder}/objects\n")
        git(self.clone, *_SETTINGS, "reset", "--quiet", "--hard", self.ours)
        done = subprocess.run(
            [
                *("git", *_SETTINGS, "pull", "--no-rebase", "--no-edit", "-X", "theirs"),
                *("--allow-unrelated-histories", str(self.store.folder), "main"),
            ],
            cwd=self.clone,
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
        if done.returncode == 0:
            return ByHand(git(self.clone, "rev-parse", "HEAD^{tree}"), said)
        # Whatever else can fail would be a failure of the work tree, which says nothing of a merge.
        assert "Automatic merge failed; fix conflicts" in said or _BUG.search(said), said
        return ByHand(None, said)

    def merge(self) -> Merged | Unmerged:
        try:
            return merge(self.store, self.ours, self.theirs)
        except ToolError as error:
            if not _BUG.search(error.tail):
                raise
            return Unmerged(("?",))

    def show(self, tree: str, path: str) -> str:
        return git(self.clone, "show", f"{tree}:{path}")

    def entries(self, tree: str) -> set[str]:
        return set(git(self.store.folder, "ls-tree", "-r", tree).splitlines())


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a cache that is copied, which is quicker than to make one each time."""
    root = tmp_path_factory.mktemp("empty")
    Store(root, "shop").has("0" * 40)
    return root


@contextmanager
def world(empty: Path, pair: Pair) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(empty, root / "cache")
        store = Store(root / "cache", "shop")
        yield World(store, root / "clone", *write(pair, store.folder))


def compare(empty: Path, pair: Pair) -> tuple[ByHand, Merged | Unmerged]:
    """Merge both ways; both must make one tree, or none."""
    with world(empty, pair) as made:
        by_hand, merged = made.pull(), made.merge()
    match merged:
        case Merged(tree):
            assert tree == by_hand.tree, by_hand.said
        case Unmerged(paths):
            assert by_hand.tree is None, by_hand.said
            assert paths
    return by_hand, merged


# --- generated histories ----------------------------------------------------------------------

# Real git takes its time, and a side that changed nothing is thrown away.
few = settings(
    max_examples=100,
    suppress_health_check=[
        *(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
    ],
)
many = settings(few, max_examples=500)


def agree(empty: Path, pair: Pair) -> None:
    note(pair.stream().decode("utf-8", "backslashreplace"))
    by_hand, merged = compare(empty, pair)
    for happened in pair.happened:
        event(happened)
    for kind in set(re.findall(r"CONFLICT \((.*?)\)", by_hand.said)):
        event(f"conflict: {kind}")
    match merged:
        case Merged(_, overwrites):
            event("conflicts settled" if overwrites else "clean")
        case Unmerged():
            event("refused")


@few
@given(pair=pairs())
def test_the_merge_of_two_histories_is_the_one_by_hand(empty: Path, pair: Pair):
    agree(empty, pair)


@pytest.mark.slow
@many
@given(pair=pairs())
def test_the_merge_of_many_histories_is_the_one_by_hand(empty: Path, pair: Pair):
    agree(empty, pair)


# --- situations by name -----------------------------------------------------------------------

LOAD, SELL = lines("load"), lines("sell")
BINARY = b"\0" + LOAD


def edited(text: bytes, *numbers: int, by: str) -> bytes:
    """Return the text with the lines of these numbers rewritten."""
    rows = text.splitlines(keepends=True)
    for number in numbers:
        rows[number] = b"%s %d\n" % (by.encode(), number)
    return b"".join(rows)


# Two sides that agree, beside each other, and on the same line.
FAR = edited(LOAD, 1, by="ours"), edited(LOAD, 9, by="theirs")
NEAR = edited(LOAD, 5, by="ours"), edited(LOAD, 6, by="theirs")
SAME = edited(LOAD, 5, by="ours"), edited(LOAD, 5, by="theirs")
CRLF = LOAD.replace(b"\n", b"\r\n")
A = {"a": LOAD}
FOLDER = {"d/a": LOAD, "d/b": SELL, "d/c": lines("keep")}
MOVED = {"e/a": LOAD, "e/b": SELL, "e/c": lines("keep")}
MODULES = {".gitmodules": b'[submodule "m"]\n\tpath = m\n\turl = ../m\n'}

CLEAN = {
    "both change different lines": forked(A, {"a": FAR[0]}, {"a": FAR[1]}),
    "both make the same change": forked(A, {"a": SAME[0]}, {"a": SAME[0]}),
    "both commit no change": forked(A, A, A),
    "only we change": forked(A, {"a": SAME[0]}, A),
    "only the upstream changes": forked(A, A, {"a": SAME[1]}),
    "we change a file and the upstream adds one": forked(A, {"a": SAME[0]}, {**A, "b": SELL}),
    "both add one file alike": forked(A, {**A, "b": SELL}, {**A, "b": SELL}),
    "both delete one file": forked({**A, "b": SELL}, A, A),
    "the upstream deletes what we left alone": forked({**A, "b": SELL}, {**A, "b": SELL}, A),
    "we rename and the upstream edits": forked(A, {"b": LOAD}, {"a": SAME[1]}),
    "we edit and the upstream renames": forked(A, {"a": SAME[0]}, {"b": LOAD}),
    "we rename and edit, the upstream edits": forked(A, {"b": FAR[0]}, {"a": FAR[1]}),
    "both rename alike and edit different lines": forked(A, {"b": FAR[0]}, {"b": FAR[1]}),
    "the upstream renames into a new folder": forked(A, {"a": SAME[0]}, {"d/e/a": LOAD}),
    "the upstream moves a folder whose file we edit": forked(
        FOLDER, {**FOLDER, "d/a": SAME[0]}, MOVED
    ),
    "both move one folder alike": forked(FOLDER, MOVED, {**MOVED, "e/a": SAME[1]}),
    "the upstream makes a file executable that we edit": forked(
        A, {"a": SAME[0]}, {"a": executable(LOAD)}
    ),
    "both make a file executable": forked(A, {"a": executable(FAR[0])}, {"a": executable(FAR[1])}),
    "the upstream makes an executable a file": forked(
        {"a": executable(LOAD)}, {"a": executable(FAR[0])}, {"a": FAR[1]}
    ),
    "the upstream retargets a link": forked(
        {"l": link(b"a")}, {"l": link(b"a"), "b": b""}, {"l": link(b"b")}
    ),
    "the upstream makes a link of a file that we left alone": forked(
        A, {**A, "b": SELL}, {"a": link(b"b")}
    ),
    "the upstream makes a file of a link that we left alone": forked(
        {"a": link(b"b")}, {"a": link(b"b"), "b": SELL}, A
    ),
    "the upstream changes binary content": forked({"a": BINARY}, {"a": BINARY}, {"a": b"\0"}),
    "we rename binary content that the upstream changes": forked(
        {"a": BINARY}, {"b": BINARY}, {"a": edited(BINARY, 5, by="theirs")}
    ),
    "the upstream switches line ends": forked(A, {**A, "b": SELL}, {"a": CRLF}),
    "both switch line ends": forked(A, {"a": CRLF}, {"a": CRLF}),
    "both switch line ends and edit different lines": forked(
        {"a": CRLF}, {"a": CRLF.replace(b" 1\r", b" o\r")}, {"a": CRLF.replace(b" 9\r", b" t\r")}
    ),
    "the upstream takes the final newline away": forked(A, {"a": FAR[0]}, {"a": LOAD[:-1]}),
    "the upstream moves a submodule on": forked(
        {**A, "m": module(1)}, {"a": SAME[0], "m": module(1)}, {**A, "m": module(2)}
    ),
    "both move a submodule to one commit": forked(
        {"m": module(1)}, {"m": module(2)}, {"m": module(2), **A}
    ),
    "both add one submodule": forked(
        A, {"a": FAR[0], "m": module(1)}, {"a": FAR[1], "m": module(1)}
    ),
    "a submodule has an address": forked(
        {**MODULES, **A, "m": module(1)},
        {**MODULES, "a": FAR[0], "m": module(1)},
        {**MODULES, "a": FAR[1], "m": module(2)},
    ),
    "the upstream makes a folder of a file that we left alone": forked(
        A, {**A, "b": SELL}, {"a/a": LOAD}
    ),
    "the upstream makes a file of a folder that we left alone": forked(
        FOLDER, {**FOLDER, "b": b""}, {"d": LOAD}
    ),
    "both add one file, ours is empty": forked({}, {"a": b""}, A),
    "both add one file, theirs is empty": forked({}, A, {"a": b""}),
    "both add an empty file": forked(A, {**A, "b": b""}, {**A, "b": b""}),
    "unrelated histories share no name": forked(None, A, {"b": SELL}),
    "unrelated histories share a file": forked(None, A, {**A, "b": SELL}),
    "unrelated and ours is empty": forked(None, {}, A),
    "unrelated and the upstream is empty": forked(None, A, {}),
    "unrelated and both are empty": forked(None, {}, {}),
    "both are empty": forked({}, {}, {}),
    "we have nothing yet": forked({}, {}, A),
    "the upstream has nothing yet": forked({}, A, {}),
    "the upstream deletes all that we left alone": forked(FOLDER, {**FOLDER, **A}, {}),
    "both delete all": forked(A, {}, {}),
    "criss-cross, and both change different lines": crossed(
        A,
        ({"a": FAR[0]}, {"a": FAR[1]}),
        ({"a": edited(FAR[0], 9, by="theirs")},) * 2,
        (
            {"a": edited(FAR[0], 9, by="theirs") + b"ours\n"},
            {"a": b"theirs\n" + edited(FAR[0], 9, by="theirs")},
        ),
    ),
}

SETTLED = {
    "both change one line": forked(A, {"a": SAME[0]}, {"a": SAME[1]}),
    "both change lines beside each other": forked(A, {"a": NEAR[0]}, {"a": NEAR[1]}),
    "both change one line, and others": forked(
        A, {"a": edited(LOAD, 0, 5, by="ours")}, {"a": edited(LOAD, 5, 11, by="theirs")}
    ),
    "we delete a line that the upstream changes": forked(
        A, {"a": LOAD.replace(b"load 5\n", b"")}, {"a": SAME[1]}
    ),
    "both append": forked(A, {"a": LOAD + b"ours\n"}, {"a": LOAD + b"theirs\n"}),
    "both add one file": forked(A, {**A, "b": SAME[0]}, {**A, "b": SAME[1]}),
    "both add one file with nothing in common": forked(A, {**A, "b": LOAD}, {**A, "b": SELL}),
    "we rename, and both change one line": forked(A, {"b": SAME[0]}, {"a": SAME[1]}),
    "the upstream renames, and both change one line": forked(A, {"a": SAME[0]}, {"b": SAME[1]}),
    "both rename alike and change one line": forked(A, {"b": SAME[0]}, {"b": SAME[1]}),
    "the upstream moves a folder, and both change one line": forked(
        FOLDER, {**FOLDER, "d/a": SAME[0]}, {**MOVED, "e/a": SAME[1]}
    ),
    "the upstream swaps two names, and we edit one": forked(
        {"a": LOAD, "b": SELL}, {"a": SAME[0], "b": SELL}, {"a": SELL, "b": LOAD}
    ),
    "an executable, and both change one line": forked(
        {"a": executable(LOAD)}, {"a": executable(SAME[0])}, {"a": executable(SAME[1])}
    ),
    "we make it executable, and both change one line": forked(
        A, {"a": executable(SAME[0])}, {"a": SAME[1]}
    ),
    "both retarget a link": forked({"l": link(b"a")}, {"l": link(b"b")}, {"l": link(b"c")}),
    "both add a link": forked({}, {"l": link(b"b")}, {"l": link(b"c")}),
    "both change binary content": forked(
        {"a": BINARY},
        {"a": edited(BINARY, 1, by="ours")},
        {"a": edited(BINARY, 9, by="theirs")},
    ),
    "we make a text binary that the upstream edits": forked(A, {"a": BINARY}, {"a": SAME[1]}),
    "the upstream makes a text binary that we edit": forked(A, {"a": SAME[0]}, {"a": BINARY}),
    "both add binary content": forked({}, {"a": BINARY}, {"a": BINARY + b"\0"}),
    "the upstream switches line ends and we edit": forked(A, {"a": FAR[0]}, {"a": CRLF}),
    "we switch line ends and the upstream edits": forked(A, {"a": CRLF}, {"a": FAR[1]}),
    "we take the final newline away, the upstream edits there": forked(
        A, {"a": LOAD[:-1]}, {"a": edited(LOAD, 11, by="theirs")}
    ),
    "neither has a final newline": forked(
        {"a": b"load"}, {"a": b"load ours"}, {"a": b"load theirs"}
    ),
    "unrelated histories share a name": forked(None, A, {"a": SELL}),
    "unrelated histories share a name and most lines": forked(None, {"a": SAME[0]}, {"a": SAME[1]}),
    "criss-cross, and both change one line": crossed(
        A,
        ({"a": FAR[0]}, {"a": FAR[1]}),
        ({"a": FAR[0]}, {"a": FAR[1]}),
        ({"a": FAR[0] + b"ours\n"}, {"a": FAR[1] + b"theirs\n"}),
    ),
    "criss-cross, and the merge bases conflict": crossed(
        A,
        ({"a": SAME[0]}, {"a": SAME[1]}),
        ({"a": SAME[0]}, {"a": SAME[1]}),
        ({"a": edited(SAME[0], 6, by="ours")}, {"a": edited(SAME[1], 4, by="theirs")}),
    ),
    "criss-cross, and the merge bases are binary": crossed(
        {"a": BINARY},
        ({"a": BINARY + b"o"}, {"a": BINARY + b"t"}),
        ({"a": BINARY + b"o"}, {"a": BINARY + b"t"}),
        ({"a": BINARY + b"oo"}, {"a": BINARY + b"tt"}),
    ),
}

# What is refused by hand, beside the kind of conflict that git names.
REFUSED = {
    "we delete what the upstream changes": (
        "modify/delete",
        forked({**A, "b": b""}, {"b": b""}, {"a": SAME[1], "b": b""}),
    ),
    "we change what the upstream deletes": ("modify/delete", forked(A, {"a": SAME[0]}, {})),
    "we make executable what the upstream deletes": (
        "modify/delete",
        forked(A, {"a": executable(LOAD)}, {}),
    ),
    "we rename what the upstream deletes": ("rename/delete", forked(A, {"b": LOAD}, {})),
    "we delete what the upstream renames": ("rename/delete", forked(A, {}, {"b": LOAD})),
    "both rename one file to different names": (
        "rename/rename",
        forked(A, {"b": LOAD}, {"c": LOAD}),
    ),
    "we move a folder, the upstream adds to the old one": (
        "file location",
        forked(FOLDER, MOVED, {**FOLDER, "d/new": b"new\n"}),
    ),
    "the upstream moves a folder, we add to the old one": (
        "file location",
        forked(FOLDER, {**FOLDER, "d/new": b"new\n"}, MOVED),
    ),
    "the upstream moves a folder, we rename into the old one": (
        "file location",
        forked(
            {**FOLDER, "a": b"x\n" * 9}, {**FOLDER, "d/new": b"x\n" * 9}, {**MOVED, "a": b"x\n" * 9}
        ),
    ),
    "we move two folders into one, the upstream adds one name to both": (
        "implicit dir rename",
        forked(
            {"d/a": LOAD, "e/b": SELL},
            {"f/a": LOAD, "f/b": SELL},
            {"d/a": LOAD, "d/new": b"1\n", "e/b": SELL, "e/new": b"2\n"},
        ),
    ),
    "we move two folders into one, and both change a line of another file": (
        "implicit dir rename",
        forked(
            {"d/a": LOAD, "e/b": SELL, "f/c": lines("keep")},
            {"f/a": LOAD, "f/b": SELL, "f/c": edited(lines("keep"), 5, by="ours")},
            {
                "d/a": LOAD,
                "d/new": b"1\n",
                "e/b": SELL,
                "e/new": b"2\n",
                "f/c": edited(lines("keep"), 5, by="theirs"),
            },
        ),
    ),
    "we split a folder in two, the upstream adds to the old one": (
        "directory rename split",
        forked(
            {"d/a": LOAD, "d/b": SELL},
            {"e/a": LOAD, "f/b": SELL},
            {"d/a": LOAD, "d/b": SELL, "d/new": b"new\n"},
        ),
    ),
    "the upstream moves a folder to where we have what we add to the old one": (
        "implicit dir rename",
        forked(
            {"a": SELL, "d/e/b": LOAD},
            {"a": SELL, "d/e/b": LOAD, "d/e/a": SELL, "d/a": SELL},
            {"a": SELL, "d/b": LOAD},
        ),
    ),
    "we make a file, the upstream a folder of one name": (
        "file/directory",
        forked({}, {"a": LOAD}, {"a/b": SELL}),
    ),
    "we make a folder, the upstream a file of one name": (
        "file/directory",
        forked({}, {"a/b": SELL}, {"a": LOAD}),
    ),
    "we edit a link of which the upstream makes a file": (
        "distinct types",
        forked({"a": link(b"b")}, {"a": link(b"c")}, {"a": LOAD}),
    ),
    "we edit a file of which the upstream makes a link": (
        "distinct types",
        forked(A, {"a": SAME[0]}, {"a": link(b"b")}),
    ),
    "both add one name, a file and a link": (
        "distinct types",
        forked({}, {"a": LOAD}, {"a": link(b"b")}),
    ),
    "both move a submodule on": (
        "submodule",
        forked({"m": module(1)}, {"m": module(2)}, {"m": module(3)}),
    ),
    "both add a submodule": ("submodule", forked({}, {"m": module(2)}, {"m": module(3)})),
    "we move on a submodule that the upstream deletes": (
        "modify/delete",
        forked({"m": module(1)}, {"m": module(2)}, {}),
    ),
    "both add one name, a file and a submodule": (
        "distinct types",
        forked({}, {"m": LOAD}, {"m": module(1)}),
    ),
    "both add one name, a submodule and a folder": (
        "file/directory",
        forked({}, {"m": module(1)}, {"m/a": LOAD}),
    ),
    "unrelated histories, a file and a folder of one name": (
        "file/directory",
        forked(None, {"a": LOAD}, {"a/b": SELL}),
    ),
    "we delete all, the upstream changes a file": ("modify/delete", forked(A, {}, {"a": SAME[1]})),
    "criss-cross, and we delete what the upstream changes": (
        "modify/delete",
        crossed(A, ({"a": SAME[0]}, {}), (A, A), ({}, {"a": SAME[1]})),
    ),
}


@pytest.mark.parametrize("situation", CLEAN)
def test_a_merge_without_conflict_is_the_one_by_hand(empty: Path, situation: str):
    _, merged = compare(empty, CLEAN[situation])
    assert isinstance(merged, Merged)
    assert not merged.overwrites


@pytest.mark.parametrize("situation", SETTLED)
def test_a_conflict_is_settled_for_the_upstream_as_by_hand(empty: Path, situation: str):
    _, merged = compare(empty, SETTLED[situation])
    assert isinstance(merged, Merged)
    assert merged.overwrites


@pytest.mark.parametrize("situation", REFUSED)
def test_what_is_refused_by_hand_is_refused(empty: Path, situation: str):
    kind, pair = REFUSED[situation]
    by_hand, merged = compare(empty, pair)
    assert f"CONFLICT ({kind}" in by_hand.said
    assert isinstance(merged, Unmerged)


WITH_MODULE = {"d/m": module(1), "a": LOAD}


@pytest.mark.parametrize(
    "pair",
    [
        forked({"d/a": LOAD}, {"a": LOAD}, {"d/b": LOAD, "d/d/a/a": SELL}),
        crossed(
            WITH_MODULE,
            ({**WITH_MODULE, "a": SAME[0]}, {**WITH_MODULE, "b": LOAD}),
            ({**WITH_MODULE, "a": SAME[0]}, WITH_MODULE),
            ({"a": SAME[0], "m": module(1)}, {**WITH_MODULE, "d/b": LOAD}),
        ),
    ],
    ids=["a file where a folder moves away", "criss-cross, and a folder moves"],
)
def test_where_git_dies_by_hand_nothing_is_merged(empty: Path, pair: Pair):
    compare(empty, pair)  # a later git may have mended it, and merge both ways


def test_a_conflict_about_folders_stays_one_where_deletions_follow_the_upstream(empty: Path):
    pair = forked(
        {"d/a": LOAD, "d/b": SELL, "deleted": LOAD},
        {"e/a": LOAD, "f/b": SELL, "deleted": SAME[0]},
        {"d/a": LOAD, "d/b": SELL, "d/new": b"new\n"},
    )
    with world(empty, pair) as made:
        how = Merge(modify_delete=ModifyDelete.UPSTREAM)
        assert isinstance(merge(made.store, made.ours, made.theirs, how), Unmerged)


# --- names ------------------------------------------------------------------------------------


def called(*names: bytes, held: bytes) -> dict[str | bytes, bytes | Entry]:
    """Return a file of each name, and one in a folder of each."""
    return {path: held for name in names for path in (name, b"in " + name + b"/" + name)}


def test_names_that_mean_something_elsewhere_mean_nothing_to_a_merge(empty: Path):
    held = (called(*ODD, held=text) for text in (LOAD, *SAME))
    _, merged = compare(empty, forked(*held))
    assert isinstance(merged, Merged)
    assert len(merged.overwrites) == 2 * len(ODD)


def test_names_that_mean_something_elsewhere_are_moved_as_others(empty: Path):
    base, ours = (called(*ODD, held=text) for text in (LOAD, FAR[0]))
    theirs = {b"moved/" + path: LOAD for path in base}
    compare(empty, forked(base, ours, theirs))


def test_names_that_mean_something_elsewhere_are_refused_as_others(empty: Path):
    base, ours = (called(*ODD, held=text) for text in (LOAD, SAME[0]))
    _, merged = compare(empty, forked(base, ours, {}))
    assert isinstance(merged, Unmerged)


# --- the one difference -----------------------------------------------------------------------

ATTRIBUTES = [
    "* merge=union",
    "* merge=binary",
    "* -merge",
    "* merge=ours",
    "* merge=nobody-defined-it",
    "[attr]both merge=union\n* both",
    "* text eol=crlf",
    "* text=auto",
    "* working-tree-encoding=UTF-16",
    "* filter=it ident conflict-marker-size=3",
]


def test_attributes_of_a_repository_defeat_the_upstream_by_hand_and_not_here(empty: Path):
    union = {".gitattributes": b"* merge=union\n"}
    pair = forked({**union, **A}, {**union, "a": SAME[0]}, {**union, "a": SAME[1]})
    with world(empty, pair) as made:
        by_hand, merged = made.pull(), made.merge()
        assert "load 4\nours 5\ntheirs 5\nload 6\n" in made.show(by_hand.tree, "a")
        assert made.show(merged.tree, "a") == SAME[1].decode().rstrip("\n")


BASE = {"far": LOAD, "same": LOAD, "ends": LOAD, "binary": BINARY}
OURS = {"far": FAR[0], "same": SAME[0], "ends": CRLF, "binary": BINARY + b"ours"}
THEIRS = {"far": FAR[1], "same": SAME[1], "ends": LOAD, "binary": BINARY + b"theirs"}


@pytest.fixture(scope="session")
def without_attributes(empty: Path) -> set[str]:
    """Return the entries of a merge in which there are no attributes."""
    with world(empty, forked(BASE, OURS, THEIRS)) as made:
        merged = made.merge()
        assert merged.tree == made.pull().tree
        return made.entries(merged.tree)


@pytest.mark.parametrize("holder", ["both", "ours", "theirs"])
@pytest.mark.parametrize("attributes", ATTRIBUTES)
def test_a_merge_is_the_one_by_hand_without_attributes(
    empty: Path, without_attributes: set[str], attributes: str, holder: str
):
    held = {".gitattributes": f"{attributes}\n".encode()}
    base = {**BASE, **held} if holder == "both" else BASE
    ours = OURS if holder == "theirs" else {**OURS, **held}
    theirs = THEIRS if holder == "ours" else {**THEIRS, **held}
    with world(empty, forked(base, ours, theirs)) as made:
        found = made.entries(made.merge().tree)
    assert {
        entry for entry in found if not entry.endswith("\t.gitattributes")
    } == without_attributes
