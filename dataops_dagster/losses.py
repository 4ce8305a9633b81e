"""What a promotion overwrites: the target's own lines that its result lacks, and who wrote them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dataops_dagster.git import Access, TooMuch
from dataops_dagster.meltano.redaction import masked
from dataops_dagster.model import DroppedLine, Overwrite
from dataops_dagster.objects import shown
from dataops_dagster.store import Store
from dataops_dagster.text import inert

_FILES = 100
"""For how many files lines are told; of others only the path is."""

_LINES = 20
"""How many lines of a file are told; all are counted."""

_WIDTH = 200
_SUBMODULE = "160000"
_HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? ", re.MULTILINE)
_LOGIN = re.compile(r"://[^/\s]+@")
_SECRET = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[_-]?key|private[_-]?key|credential)[\w-]*[\"']?\s*[:=])\s*\S.*"
)


@dataclass(frozen=True)
class _Sides:
    """The target's commit and its tree, the upstream's commit, and the tree of the result."""

    store: Store
    ours: str
    own: str
    theirs: str
    result: str
    access: Access


def overwrites(
    store: Store,
    ours: str,
    theirs: str,
    result: str,
    paths: Iterable[bytes],
    *,
    before: str | None,
    access: Access,
) -> tuple[Overwrite, ...]:
    """Name the lines that the commit `ours` alone has and the tree `result` lacks, by path.

    Lines that `theirs` wrote too are no loss. `before` is the tree that both began with, `access`
    where a partial cache may ask.
    """
    paths = sorted(paths)
    if not paths:
        return ()
    sides = _Sides(store, ours, store.commit(ours).tree, theirs, result, access)
    differences = store.differences(sides.own, result)
    files = {d.path for d in differences if d.before and d.before.mode != _SUBMODULE}
    former = _former_names(sides, {d.path for d in differences if d.before is None}, before)
    found = []
    for path in paths[:_FILES]:
        # What goes under its old name is told there.
        old = path if former.get(path) in paths else former.get(path, path)
        found.append(_overwrite(sides, old, path) if old in files else Overwrite(shown(path), 0))
    return (*found, *(Overwrite(shown(path), None) for path in paths[_FILES:]))


def _overwrite(sides: _Sides, old: bytes, path: bytes) -> Overwrite:
    try:
        lines = _lost(sides, old, path)
    except TooMuch:  # the file is huge; that its lines are lost is said all the same
        return Overwrite(shown(path), None)
    return Overwrite(shown(path), len(lines), tuple(lines[:_LINES]))


def _former_names(
    sides: _Sides, added: Collection[bytes], before: str | None
) -> dict[bytes, bytes]:
    """Find where files stood in the target that stand elsewhere in the result."""
    if not added:
        return {}
    # A file that was rewritten is recognized by what both sides began with.
    names = _renames(sides, before) if before else {}
    return names | _renames(sides, sides.own)


def _renames(sides: _Sides, tree: str) -> dict[bytes, bytes]:
    options = ("-r", "-z", "--find-renames", "--diff-filter=R", "--name-status")
    listed = sides.store.git(
        "diff-tree", *options, tree, sides.result, access=sides.access, lazy=True
    )
    fields = listed.stdout.split(b"\0")[:-1]
    return dict(zip(fields[2::3], fields[1::3], strict=True))


def _lost(sides: _Sides, old: bytes, path: bytes) -> list[DroppedLine]:
    removed = _removed(sides, {old, path})
    if not removed:
        return []
    blamed = sides.store.git(
        *("blame", "--porcelain", "--root", sides.ours, f"^{sides.theirs}", "--", _argument(old)),
        access=sides.access,
        lazy=True,
    ).stdout
    return [line for number, line in _own_lines(blamed) if number in removed]


def _removed(sides: _Sides, names: Iterable[bytes]) -> set[int]:
    """Return the numbers of the target's lines that the result lacks; none for binary files."""
    options = ("--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")
    done = sides.store.git(
        *("diff-tree", "--patch", *options, sides.own, sides.result, "--"),
        *(f":(literal){_argument(name)}" for name in names),
        access=sides.access,
        lazy=True,
    )
    numbers: set[int] = set()
    for first, count in _HUNK.findall(done.stdout):
        numbers.update(range(int(first), int(first) + int(count or 1)))
    return numbers


def _own_lines(blamed: bytes) -> Iterable[tuple[int, DroppedLine]]:
    """Read `git blame --porcelain`: the lines that no shared history wrote, by number."""
    authors: dict[str, str] = {}
    shared: set[str] = set()
    commit, number = "", 0
    for line in blamed.split(b"\n"):
        if line.startswith(b"\t"):
            if commit not in shared:
                yield number, DroppedLine(_shown(line[1:]), commit, authors.get(commit, ""))
            continue
        word, _, rest = line.partition(b" ")
        if word == b"author":
            authors[commit] = inert(rest.decode("utf-8", "replace"))[:_WIDTH]
        elif word == b"boundary":
            shared.add(commit)
        elif re.fullmatch(rb"[0-9a-f]{40}", word):
            commit, number = word.decode(), int(rest.split(b" ")[1])


def _argument(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _shown(line: bytes) -> str:
    """Return a line as people may see it: inert, short, and without what looks like a secret."""
    text = inert(line.decode("utf-8", "replace"))
    return masked(_LOGIN.sub("://*****@", _SECRET.sub(r"\1 *****", text)))[:_WIDTH]
