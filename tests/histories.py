"""Pairs of histories that collide, and git's own importer to write them.

Names and contents come from small alphabets: two sides that know nothing of each other shall often
touch the same path and the same line.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import assume
from hypothesis import strategies as st

from tests.repositories import ENVIRONMENT

FILE, EXECUTABLE, LINK, MODULE = "100644", "100755", "120000", "160000"


class Entry(NamedTuple):
    """What a path holds: a file's bytes, a link's target, or the commit of a submodule."""

    content: bytes
    mode: str = FILE


def executable(content: bytes) -> Entry:
    return Entry(content, EXECUTABLE)


def link(target: bytes) -> Entry:
    return Entry(target, LINK)


def module(digit: int) -> Entry:
    """Return a submodule at a commit that nobody has."""
    return Entry(b"%d" % digit * 40, MODULE)


def lines(word: str, count: int = 12) -> bytes:
    """Return a text whose lines all differ, long enough for git to know it after an edit."""
    return b"".join(b"%s %d\n" % (word.encode(), i) for i in range(count))


Tree = dict[bytes, Entry]
Files = Mapping[str | bytes, bytes | Entry]


def tree_of(files: Files) -> Tree:
    """Return the tree of files that a test wrote in short."""
    return {
        path.encode() if isinstance(path, str) else path: held
        if isinstance(held, Entry)
        else Entry(held)
        for path, held in files.items()
    }


def put(tree: Tree, path: bytes, entry: Entry) -> Tree:
    """Return the tree with the entry; a file gives way to a folder of its name, and vice versa."""
    kept = {
        name: held
        for name, held in tree.items()
        if not (name + b"/").startswith(path + b"/") and not path.startswith(name + b"/")
    }
    return {**kept, path: entry}


# --- histories, and how they come into a repository -------------------------------------------


@dataclass(frozen=True)
class Revision:
    """A commit: what it holds, and the places of its parents in the list of all."""

    tree: Tree
    parents: tuple[int, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Two histories: every commit of both, the last of each, and what happened on the way."""

    revisions: tuple[Revision, ...]
    ours: int
    theirs: int
    happened: frozenset[str] = frozenset()

    def stream(self) -> bytes:
        """Return the commands for `git fast-import`; the branches are `ours` and `main`."""
        parts = [part for place, held in enumerate(self.revisions) for part in _commit(place, held)]
        for branch, tip in ((b"ours", self.ours), (b"main", self.theirs)):
            parts.append(b"reset refs/heads/%s\nfrom :%d\n" % (branch, tip + 1))
            parts.append(b"get-mark :%d\n" % (tip + 1))
        return b"".join(parts)


def forked(base: Files | None, ours: Files, theirs: Files) -> Pair:
    """Return one commit a side on top of a common one; two roots if there is no base."""
    if base is None:
        return Pair((Revision(tree_of(ours)), Revision(tree_of(theirs))), 0, 1)
    tips = (Revision(tree_of(files), (0,)) for files in (ours, theirs))
    return Pair((Revision(tree_of(base)), *tips), 1, 2)


def crossed(base: Files, *sides: tuple[Files, Files]) -> Pair:
    """Return two sides: what each had, what each made of merging the other's, and what came last.

    They have two merge bases.
    """
    held = (base, *(files for both in sides for files in both))
    parents = ((), (0,), (0,), (1, 2), (2, 1), (3,), (4,))
    return Pair(tuple(map(Revision, map(tree_of, held), parents)), 5, 6)


def _commit(place: int, revision: Revision) -> Iterable[bytes]:
    # A reset without `from` lets the next commit be a root.
    yield b"reset refs/heads/main\ncommit refs/heads/main\nmark :%d\n" % (place + 1)
    yield b"committer Grace <grace@example.com> %d +0000\ndata 0\n" % (1_700_000_000 + place)
    for word, parent in zip((b"from", b"merge"), revision.parents, strict=False):
        yield b"%s :%d\n" % (word, parent + 1)
    yield b"deleteall\n"
    for path, (content, mode) in revision.tree.items():
        name = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
        if mode == MODULE:
            yield b'M %s %s "%s"\n' % (mode.encode(), content, name)
        else:
            yield b'M %s inline "%s"\n' % (mode.encode(), name)
            yield b"data %d\n%s\n" % (len(content), content)


def write(pair: Pair, folder: Path) -> tuple[str, str]:
    """Write both histories into a bare repository; returns the ids of the two last commits."""
    done = subprocess.run(
        ["git", "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet"],
        cwd=folder,
        env=ENVIRONMENT,
        input=pair.stream(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "backslashreplace")
    ours, theirs = done.stdout.decode().split()
    return ours, theirs


# --- the alphabets ----------------------------------------------------------------------------

_PLAIN = (b"a", b"b", b"c", b"d", b"e")
ODD = (
    *(b" a b ", b"'", b'"', b"\\", b"new\nline", b"\t", b"\x1b[31m", b"..a", b"a.", b"~", b"$a"),
    *(b"-f", b"--help", b"*", b"?", b"[a]", b":(top)a", b"!a", b"#a", b"@{-1}", b"HEAD"),
    *("é".encode(), "日本語".encode(), "\u202e".encode(), b"a~HEAD", b"a~main", b"a.lock"),
    # No document below is attributes that git knows. `.gitmodules` is left out, for by hand it is
    # read from the work tree: "fatal: bad config line 1 in file .gitmodules".
    *(b".gitattributes", b"gitattributes", b".gitattributes.old", b".gitignore", b".gitkeep"),
    # APFS takes no name that is no UTF-8.
    *((b"\xff", b"caf\xe9", b"\xc3") if sys.platform == "linux" else ()),
)
"""Names that mean something to a shell, to git or to a terminal; each is a file's and a folder's."""

_DOCUMENTS = (
    lines("load"),
    lines("sell"),
    lines("load").replace(b"\n", b"\r\n"),
    lines("load", 8) + lines("sell", 8),  # similar to both: which of them was renamed?
    b"step {\n\n}\n\nstep {\n\n}\n\nstep {\n\n}\n",  # lines that repeat: where is the change?
    b"load 0\0\n" + lines("load"),
    b"\x89PNG\r\n\0\xff\xfe" * 9,
    b"one\n",
    b"",
)
_LINES = (b"ours\n", b"theirs\n", b"load 0\n", b"\n", b"\0\n")
_PLACES = (0, 1, 6, 11)  # the same line, the one beside it, and others
_TARGETS = (b"a", b"../b", b"/nowhere")
_MODULES = (b"1" * 40, b"2" * 40, b"3" * 40)

# What is tried, and how often: more, if it only matters beside another change.
_CHANGES = (
    *("edit",) * 18,
    *("move_folder",) * 4,
    *("add_beside",) * 4,
    *("rename", "rename_and_edit", "add", "switch_mode", "split_folder") * 2,
    *("copy", "rewrite", "delete", "clear", "link", "place_module", "make_folder"),
    *("switch_line_ends", "switch_final_newline"),
)


class _Author:
    """Whoever changes a tree, with names of the example's own."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        pool = list(self._one((_PLAIN, _PLAIN, ODD, _PLAIN + ODD)))
        a, b, c, d, e = (pool.pop(pool.index(self._one(pool))) for _ in range(5))
        self.names = [a, b, c]
        self.folders = [d, e, d + b"/" + e]
        inside = [folder + b"/" + name for folder in self.folders for name in (a, b)]
        self.paths = [a, b, c, d, e, *inside]  # a folder's name may be a file's too
        # Most of what is done is done to one path, where so two sides often meet.
        self.contested = self._one(self.paths)
        self.happened: set[str] = set()

    def first(self) -> Tree:
        """Return a tree to begin with, now and then an empty one."""
        tree: Tree = {}
        kinds = (*(self.add,) * 4, *(self.add_beside,) * 2, self.link, self.place_module)
        for _ in range(self._one((3, 4, 5, 6, 0))):
            tree = self._one(kinds)(tree)
        return tree

    def change(self, tree: Tree) -> Tree:
        """Return the tree after a few changes, some of which may find nothing to change."""
        for _ in range(self._one((2, 3, 4, 1))):
            name = self._one(_CHANGES)
            changed = getattr(self, name)(tree)
            if changed != tree:
                self.happened.add(name)
            tree = changed
        return tree

    def mix(self, one: Tree, other: Tree) -> Tree:
        """Return what a person may have made of two trees: path by path one or the other."""
        mixed = one
        for path in sorted({**one, **other}):
            if one.get(path) != other.get(path) and self.draw(st.booleans()):
                mixed = _without(mixed, path)
                if path in other:
                    mixed = put(mixed, path, other[path])
        return mixed

    # Each of these is one kind of change.

    def add(self, tree: Tree) -> Tree:
        path = self._one(self.paths)
        if self.contested not in tree and self.draw(st.booleans()):
            path = self.contested
        return put(tree, path, self._document())

    def add_beside(self, tree: Tree) -> Tree:
        path = self._one(_folders(tree)) + self._one(self.names)
        return tree if path in tree else put(tree, path, self._document())

    def edit(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return {**tree, path: self._edited(tree[path])} if path else tree

    def rewrite(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return {**tree, path: self._document()} if path else tree

    def delete(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return _without(tree, path) if path else tree

    def rename(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return put(_without(tree, path), self._one(self.paths), tree[path]) if path else tree

    def rename_and_edit(self, tree: Tree) -> Tree:
        path = self._path(tree)
        if not path:
            return tree
        return put(_without(tree, path), self._one(self.paths), self._edited(tree[path]))

    def copy(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return put(tree, self._one(self.paths), tree[path]) if path else tree

    def move_folder(self, tree: Tree) -> Tree:
        target = self._one((*(folder + b"/" for folder in self.folders), b""))
        return self._moved(tree, lambda: target)

    def split_folder(self, tree: Tree) -> Tree:
        return self._moved(tree, lambda: self._one(self.folders) + b"/")

    def make_folder(self, tree: Tree) -> Tree:
        path = self._path(tree)
        return put(tree, path + b"/" + self._one(self.names), tree[path]) if path else tree

    def clear(self, tree: Tree) -> Tree:
        return self._one((tree, tree, {}))

    def link(self, tree: Tree) -> Tree:
        path = self._path(tree) or self.contested
        return put(tree, path, Entry(self._one(_TARGETS), LINK))

    def place_module(self, tree: Tree) -> Tree:
        present = sorted(path for path, held in tree.items() if held.mode == MODULE)
        return put(tree, self._one(present or self.paths), Entry(self._one(_MODULES), MODULE))

    def switch_mode(self, tree: Tree) -> Tree:
        modes = {FILE: EXECUTABLE, EXECUTABLE: FILE}
        return self._rewritten(tree, lambda held: held._replace(mode=modes[held.mode]))

    def switch_line_ends(self, tree: Tree) -> Tree:
        def switched(held: Entry) -> Entry:
            ends = (b"\r\n", b"\n") if b"\r\n" in held.content else (b"\n", b"\r\n")
            return held._replace(content=held.content.replace(*ends))

        return self._rewritten(tree, switched)

    def switch_final_newline(self, tree: Tree) -> Tree:
        def switched(held: Entry) -> Entry:
            short = held.content.removesuffix(b"\n")
            return held._replace(content=held.content + b"\n" if short == held.content else short)

        return self._rewritten(tree, switched)

    # And these choose what is changed.

    def _one(self, choices: Iterable[Any]) -> Any:
        return self.draw(st.sampled_from(tuple(choices)))

    def _path(self, tree: Tree) -> bytes | None:
        if self.contested in tree and self._one((True, True, False)):
            return self.contested
        return self._one(sorted(tree)) if tree else None

    def _document(self) -> Entry:
        return Entry(self._one(_DOCUMENTS))

    def _edited(self, held: Entry) -> Entry:
        if held.mode in (LINK, MODULE):
            return held._replace(content=self._one(_TARGETS if held.mode == LINK else _MODULES))
        text = held.content.splitlines(keepends=True)
        place = min(self._one(_PLACES), len(text))
        replaced = self._one((1, 1, 0))
        text[place : place + replaced] = self._one((*([line] for line in _LINES), []))
        return held._replace(content=b"".join(text))

    def _moved(self, tree: Tree, target: Callable[[], bytes]) -> Tree:
        source = self._one(_folders(tree))
        moved = {path: entry for path, entry in tree.items() if path.startswith(source)}
        tree = {path: entry for path, entry in tree.items() if path not in moved}
        for path, entry in moved.items():
            tree = put(tree, target() + path.removeprefix(source), entry)
        return tree

    def _rewritten(self, tree: Tree, rewrite: Callable[[Entry], Entry]) -> Tree:
        files = {path: held for path, held in tree.items() if held.mode in (FILE, EXECUTABLE)}
        path = self._path(files)
        return {**tree, path: rewrite(tree[path])} if path else tree


def _without(tree: Tree, path: bytes) -> Tree:
    return {name: entry for name, entry in tree.items() if name != path}


def _folders(tree: Tree) -> list[bytes]:
    """Return the folders of a tree, each with its slash; the root is one."""
    return sorted({b"", *(path[: path.rfind(b"/") + 1] for path in tree)})


@st.composite
def pairs(draw) -> Pair:
    """Return two histories that each go on after whatever they share, which may be nothing."""
    author = _Author(draw)
    revisions = [Revision(author.first())]
    ours = theirs = 0

    def change(tip: int) -> int:
        revisions.append(Revision(author.change(revisions[tip].tree), (tip,)))
        return len(revisions) - 1

    def merge(tip: int, other: int) -> int:
        mixed = author.mix(revisions[tip].tree, revisions[other].tree)
        revisions.append(Revision(mixed, (tip, other)))
        return len(revisions) - 1

    if draw(st.sampled_from((False,) * 5 + (True,))):
        author.happened.add("unrelated")
        # A workspace made from the same template, or from none.
        alike = draw(st.booleans())
        revisions.append(Revision(author.change(revisions[0].tree) if alike else author.first()))
        theirs = 1
    for step in draw(st.lists(st.sampled_from(("ours", "theirs", "pull", "cross")), max_size=3)):
        author.happened.add(step)
        if step == "ours":
            ours = change(ours)
        elif step == "theirs":
            theirs = change(theirs)
        elif step == "pull":
            ours = merge(ours, theirs)
        else:
            # Each merges what the other had: what comes later has two merge bases.
            ours, theirs = change(ours), change(theirs)
            ours, theirs = merge(ours, theirs), merge(theirs, ours)
    forks, (ours, theirs) = (ours, theirs), (change(ours), change(theirs))
    # A side that changed nothing is understood soon; it is not what these are for.
    for fork, tip in zip(forks, (ours, theirs), strict=True):
        assume(revisions[fork].tree != revisions[tip].tree)
    return Pair(tuple(revisions), ours, theirs, frozenset(author.happened))
