"""Merge two commits as git would, by a policy and without a work tree; writes only objects.

What no merge of contents settles is reported with its paths: never a half-merged anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataops_dagster import git, process, scratch
from dataops_dagster.cache import ATTRIBUTES
from dataops_dagster.errors import ToolError
from dataops_dagster.git import Access, error_of, object_id
from dataops_dagster.objects import Entry, identity, shown
from dataops_dagster.settings import Merge, ModifyDelete, Policy
from dataops_dagster.store import Store

_BASE, _OURS, _THEIRS = "1", "2", "3"
_OPTION_X_SINCE = (2, 43)
"""The first git whose merge-tree takes -X."""

_STRUCTURAL = re.compile(rb"way of directory rename|rename collision|unclear split")

Stages = Mapping[str, Entry]
"""What stands at an unmerged path: in the merge base, ours and theirs, where it does."""


@dataclass(frozen=True)
class Merged:
    """A merge's tree, and the paths where a conflict was settled for the other side."""

    tree: str
    overwrites: tuple[bytes, ...]


@dataclass(frozen=True)
class Unmerged:
    """Paths of a conflict that the policy does not settle."""

    paths: tuple[str, ...]


def merge(
    store: Store, ours: str, theirs: str, how: Merge | None = None, *, access: Access | None = None
) -> Merged | Unmerged:
    """Merge the commit `theirs` into `ours`; contents that a partial cache lacks are asked for."""
    how = how or Merge()
    if how.policy is Policy.EXACT:
        return Merged(store.commit(theirs).tree, ())
    lenient = how.policy is Policy.THEIRS
    first = last = _merge_tree(store, ours, theirs, access)
    if not first.clean and lenient and not first.structural:
        if git.version_number() >= _OPTION_X_SINCE:
            last = _merge_tree(store, ours, theirs, access, "--strategy-option=theirs")
        else:
            try:
                last = _merge_in_index(store, ours, theirs, access)
            except ToolError as error:
                # A few merges make git 2.39 abort, by hand too; what conflicts is known by now.
                if error.code is None or error.code >= 0:
                    raise
    settled = _settled(last.unmerged, how.modify_delete if lenient else ModifyDelete.REFUSE)
    nameless = not last.clean and not last.unmerged
    if settled is None or first.structural or nameless:
        # Conflicts about folders leave no path unmerged; only the first try's messages name them.
        paths = first.structural or _names(last.unmerged or first.unmerged, ours, theirs)
        return Unmerged(tuple(sorted(map(shown, paths))))
    overwrites = _names(first.unmerged, ours, theirs)
    return Merged(store.write_tree(last.tree, settled), tuple(sorted(overwrites)))


@dataclass(frozen=True)
class _Attempt:
    """What a merge came to: `structural` are paths of conflicts that no contents settle."""

    tree: str
    clean: bool
    unmerged: Mapping[bytes, Stages]
    structural: frozenset[bytes] = frozenset()


def _merge_tree(
    store: Store, ours: str, theirs: str, access: Access | None, *options: str
) -> _Attempt:
    done = store.git(
        *("merge-tree", "--write-tree", "--allow-unrelated-histories", "--messages", "-z"),
        *options,
        *(ours, theirs),
        allow=(0, 1),
        access=access,
        lazy=True,
    )
    tree, _, rest = done.stdout.partition(b"\0")
    entries, _, messages = rest.partition(b"\0\0") if done.code else (b"", b"", b"")
    if rest.startswith(b"\0"):
        entries, messages = b"", rest[1:]
    return _Attempt(
        object_id(tree.decode()),
        done.code == 0,
        _unmerged(entries.split(b"\0")),
        frozenset(_structural(messages)) if done.code else frozenset(),
    )


def _structural(messages: bytes) -> Iterator[bytes]:
    """Yield the paths of messages, each `COUNT PATH... TYPE TEXT`, about folders in the way."""
    fields = iter(messages.split(b"\0")[:-1])
    for count in fields:
        paths = [next(fields) for _ in range(int(count))]
        kind, _ = next(fields), next(fields)
        if _STRUCTURAL.search(kind):
            yield from paths


def _merge_in_index(store: Store, ours: str, theirs: str, access: Access | None) -> _Attempt:
    """Let the real merge settle the conflicts, in an index whose every path is sparse.

    For a git whose merge-tree takes no -X. Only conflicted files are ever written, and only into a
    folder that goes with this call.
    """
    with scratch.folder("merge") as folder:
        for name in ("refs", "tree", "info"):
            (folder / name).mkdir()
        (folder / "HEAD").write_text(f"{ours}\n")
        (folder / "info" / "attributes").write_text(ATTRIBUTES)
        (folder / "info" / "sparse-checkout").write_text("!/*\n")
        (folder / "config").write_text("[core]\n\tsparseCheckout = true\n\tbare = false\n")
        env = {
            "GIT_DIR": str(folder),
            "GIT_WORK_TREE": str(folder / "tree"),
            "GIT_OBJECT_DIRECTORY": str(store.folder / "objects"),
            **identity("dataops", 0),  # nothing is committed, but git asks who would
        }

        def run(*arguments: str, **options: object) -> process.Completed:
            return store.git(*arguments, env=env, access=access, lazy=True, **options)

        run("read-tree", "-m", "-u", "HEAD")
        done = run(
            *("merge", "--quiet", "--no-commit", "--no-ff", "--strategy-option=theirs"),
            *("--allow-unrelated-histories", "--end-of-options", theirs),
            allow=(0, 1),
        )
        unmerged = _unmerged(run("ls-files", "--unmerged", "-z").stdout.split(b"\0"))
        if done.code and not unmerged and b"CONFLICT" not in done.stdout:
            raise error_of("merge", done, None)
        removed = b"".join(b"0 " + b"0" * 40 + b"\t" + path + b"\0" for path in unmerged)
        run("update-index", "-z", "--index-info", stdin=removed)
        tree = object_id(run("write-tree").stdout.decode().strip())
        return _Attempt(tree, done.code == 0, unmerged)


def _unmerged(entries: Sequence[bytes]) -> dict[bytes, Stages]:
    """Read `MODE ID STAGE<tab>PATH` entries."""
    found: dict[bytes, dict[str, Entry]] = {}
    for entry in filter(None, entries):
        facts, _, path = entry.partition(b"\t")
        mode, id_, stage = facts.decode().split(" ")
        found.setdefault(path, {})[stage] = Entry(mode, id_)
    return dict(found)


def _names(unmerged: Mapping[bytes, Stages], ours: str, theirs: str) -> set[bytes]:
    """Return the paths without what git adds to a file that a folder of its name moves aside."""
    aside = rb"~(%s)(_\d+)?$" % f"HEAD|{ours}|{theirs}".encode()
    return {
        path if {_OURS, _THEIRS} <= stages.keys() else re.sub(aside, b"", path)
        for path, stages in unmerged.items()
    }


def _settled(
    unmerged: Mapping[bytes, Stages], modify_delete: ModifyDelete
) -> dict[bytes, Entry | None] | None:
    """Do as the upstream where one side deleted what the other changed; None if that is refused."""
    settled = {
        path: stages.get(_THEIRS)
        for path, stages in unmerged.items()
        if _BASE in stages and not {_OURS, _THEIRS} <= stages.keys()
    }
    if unmerged and (modify_delete is ModifyDelete.REFUSE or len(settled) < len(unmerged)):
        return None
    return settled
