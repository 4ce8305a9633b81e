"""Reads and writes the objects of one bare repository; reaches no server by itself."""

from __future__ import annotations

import contextlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitdb import IStream, LooseObjectDB  # type: ignore[import-untyped]

from dataops_dagster import process, scratch
from dataops_dagster.git import Access, TooMuch, object_id
from dataops_dagster.model import Change, Commit
from dataops_dagster.text import inert

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_EMAIL = "dataops@localhost"
_AT_ONCE = 16 * 1024 * 1024
_BLOCK = 4096
"""What a file takes on a disk at least, in bytes; so we count one for an empty one, too."""

HISTORY = 100_000
"""How far back a branch is looked through."""


@dataclass(frozen=True)
class Entry:
    """What stands at a path of a tree: git's octal mode, and an object's id."""

    mode: str
    id: str

    @property
    def is_file(self) -> bool:
        """Whether it is a file, and no folder, link or submodule."""
        return self.mode.startswith("100")


@dataclass(frozen=True)
class Difference:
    """What stands at a path in one tree and in another; `status` is git's letter."""

    path: bytes
    status: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True)
class News:
    """Commits that `base` lacks: how many there are, and the newest of them."""

    base: Commit | None
    count: int
    commits: tuple[Commit, ...]


class Objects(ABC):
    """What a bare repository holds."""

    folder: Path
    limit: int
    """How many bytes of it this machine may keep."""

    @abstractmethod
    def git(self, *arguments: str, **options: Any) -> process.Completed:
        """Run git in the repository, with the options of `HardenedGit.command`."""

    def text(self, *arguments: str, **options: Any) -> str:
        """Run git in the cache; returns its output as text."""
        return self.git(*arguments, **options).stdout.decode("utf-8", "replace").strip("\n")

    def has(self, *commits: str) -> bool:
        """Say whether all of the commits are in the cache."""
        asked = "".join(f"{commit}\n" for commit in commits)
        told = self.text("cat-file", "--batch-check=%(objecttype)", stdin=asked.encode())
        return told.split("\n") == ["commit"] * len(commits)

    def commit(self, id_: str) -> Commit:
        """Read one commit."""
        return self.commits([id_])[0]

    def commits(self, ids: Sequence[str]) -> tuple[Commit, ...]:
        """Read commits; what is not in the encoding they declare is replaced, not refused."""
        return self._log("--no-walk=unsorted", "--end-of-options", *ids) if ids else ()

    def _log(self, *arguments: str) -> tuple[Commit, ...]:
        form = "--format=%H%n%T%n%P%n%ct%n%an%n%s"
        options = ("-z", "--encoding=UTF-8", "--no-show-signature", form)
        listed = self.text("log", *options, *arguments)
        return tuple(map(_commit, listed.rstrip("\0").split("\0"))) if listed else ()

    def authors(self, base: str | None, tip: str) -> set[str]:
        """Return names and addresses of who wrote or committed what `tip` has and `base` lacks."""
        exclude = [f"^{base}"] if base else []
        form = "--format=%an%x00%ae%x00%cn%x00%ce%x00%(trailers:key=Co-authored-by,valueonly,separator=%x00)"
        told = self.text("log", "--no-show-signature", "--encoding=UTF-8", form, tip, *exclude)
        names = {inert(name).strip() for name in re.split(r"[\0\n<>]", told)}
        return names - {""}

    def trailers(self, commit: str) -> dict[str, str]:
        """Return the `Key: value` lines at the end of a commit's message."""
        form = "--format=%(trailers:only=true,unfold=true)"
        lines = self.text("log", "--no-walk", "--no-show-signature", form, commit).split("\n")
        pairs = (line.partition(": ") for line in lines)
        return {key: value for key, colon, value in pairs if colon}

    def log(self, base: str | None, tip: str, *, limit: int, without: str | None = None) -> News:
        """Return what `tip` has that `base` lacks: how many commits, and the newest `limit`.

        What `without` has is left out, too.
        """
        # `^!` leaves out what came before `base`, but not `base`: the same call reads it, too.
        alone = [f"{base}^!"] if base else []
        exclude = [f"^{without}"] if without else []
        listed = self._log("--topo-order", f"--max-count={limit + 2}", tip, *alone, *exclude)
        found = {commit.id: commit for commit in listed}
        own = found.pop(base, None) if base else None
        count = len(found)
        if count > limit:
            exclude += [f"^{base}"] if base else []
            count = int(self.text("rev-list", "--count", tip, *exclude))
            own = own or (self.commit(base) if base else None)
        return News(own, count, tuple(found.values())[:limit])

    def heads_in(self, news: News, base: str | None, *, limit: int) -> list[str]:
        """Return the heads that the branch had since `base`, newest first, at most `limit`.

        Those are its first parents; what was merged into it was no head of its own.
        """
        tip = news.commits[0].id
        if news.count > len(news.commits):
            exclude = [f"^{base}"] if base else []
            options = ("--topo-order", "--first-parent", f"--max-count={limit}")
            return self.text("rev-list", *options, tip, *exclude).split()
        parents = {commit.id: commit.parents for commit in news.commits}
        heads = [tip]
        while parents[heads[-1]] and parents[heads[-1]][0] in parents:
            heads.append(parents[heads[-1]][0])
        return heads

    def history(self, tip: str) -> list[str]:
        """Return the commits of a branch, newest first: whatever their dates, none before its children."""
        return self.text("rev-list", "--topo-order", f"--max-count={HISTORY}", tip).split()

    def first_parents(self, tip: str, since: str | None = None) -> list[str]:
        """Return the commits that a branch had as its head, newest first; what `since` has is left out."""
        exclude = [f"^{since}"] if since else []
        options = ("--first-parent", f"--max-count={HISTORY}")
        return self.text("rev-list", *options, tip, *exclude).split()

    def contains(self, tip: str, commit: str) -> bool:
        """Say whether `commit` is `tip` or an ancestor of it."""
        done = self.git("merge-base", "--is-ancestor", commit, tip, allow=(0, 1))
        return done.code == 0

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the newest commits that two share; several after they merged criss-cross."""
        done = self.git("merge-base", "--all", one, other, allow=(0, 1))
        if done.code == 0:
            return done.stdout.decode().split()
        # With a missing commit git before 2.44 also answers "none"; only a full walk proves it.
        self.git("rev-list", "--count", one, other)
        return []

    def bases_of(self, news: News, base: str) -> list[str]:
        """Return the merge bases of `base` and the tip of what is new to it."""
        begins = {parent for commit in news.commits for parent in commit.parents}
        begins -= {commit.id for commit in news.commits}
        if news.count == len(news.commits) and len(begins) <= 1:
            return list(begins)  # all that the two share lies behind it
        return self.merge_bases(base, news.commits[0].id)

    def changes(self, before: str | None, after: str, *paths: str) -> tuple[Change, ...]:
        """Compare two trees (None is the empty one), path by path, without rename detection.

        With `paths`, only what these patterns of git's take in.
        """
        differences = self.differences(before, after, *paths)
        return tuple(Change(d.status, shown(d.path)) for d in differences)

    def differences(self, before: str | None, after: str, *paths: str) -> list[Difference]:
        """Return what differs between two trees, as git has it."""
        return self.compared([(before, after)], *paths)[0] if before != after else []

    def compared(
        self, pairs: Sequence[tuple[str | None, str]], *paths: str
    ) -> list[list[Difference]]:
        """Return what differs in each pair of trees."""
        asked = [(before or EMPTY_TREE, after) for before, after in pairs]
        patterns = ["--", *(f":(glob){path}" for path in paths)] if paths else []
        lines = "".join(f"{before} {after}\n" for before, after in asked).encode()
        options = ("--stdin", "-r", "-z", "--raw", "--no-abbrev", "--no-renames")
        fields = iter(self.git("diff-tree", *options, *patterns, stdin=lines).stdout.split(b"\0"))
        found: list[list[Difference]] = []
        for field in fields:
            *named, facts = field.split(b"\n")  # each pair is named before its differences
            found += [[] for _ in named]
            if facts:
                found[-1].append(_difference(facts, next(fields)))
        if len(found) < len(asked):
            # A tree is missing, which git only tells where it is an argument.
            for pair in asked:
                self.git("diff-tree", *pair)
        return found

    def entry(self, tree: str, path: str) -> Entry | None:
        """Return what stands at a path, if anything does."""
        literally = {"GIT_LITERAL_PATHSPECS": "1"}
        found = self.text("ls-tree", "-z", tree, "--", path, env=literally).partition("\t")[0]
        mode, _, id_ = found.split(" ") if found else ("", "", "")
        return Entry(mode, id_) if found else None

    def entries(self, tree: str) -> dict[str, Entry]:
        """Return what stands at every path of a tree; a path that is no UTF-8 is left out."""
        listed = self.git("ls-tree", "-r", "-z", "--full-tree", tree).stdout
        found = {}
        for record in listed.split(b"\0")[:-1]:
            facts, _, path = record.partition(b"\t")
            mode, _, id_ = facts.decode().split(" ")
            with contextlib.suppress(UnicodeDecodeError):
                found[path.decode()] = Entry(mode, id_)
        return found

    def read(self, blob: str, access: Access | None = None) -> bytes:
        """Read a file's contents; with `access` a partial cache may ask for them."""
        return self.git("cat-file", "blob", blob, access=access, lazy=True).stdout

    def prefetch(self, tree: str, paths: Sequence[str], access: Access) -> None:
        """Let a partial cache ask for files of a tree all at once, where reading asks for each."""
        literally = {"GIT_LITERAL_PATHSPECS": "1"}
        options = ("-r", "--numstat", "--no-renames")  # counting lines needs all of them
        given = ("diff-tree", *options, EMPTY_TREE, tree, "--", *paths)
        self.git(*given, env=literally, access=access, lazy=True)

    def contents(
        self, blobs: Iterable[str], *, largest: int, access: Access | None = None
    ) -> Iterator[tuple[str, bytes]]:
        """Yield files of at most `largest` bytes by their ids, reading many of them at once."""
        batch, total = list[str](), 0
        asked = "".join(f"{blob}\n" for blob in blobs).encode()
        form = "--batch-check=%(objectname) %(objectsize)"
        sizes = self.git("cat-file", form, stdin=asked, access=access, lazy=True)
        for told in sizes.stdout.decode().splitlines():
            blob, _, size = told.partition(" ")
            if not size.isdigit() or int(size) > largest:
                continue
            if total + int(size) > _AT_ONCE:
                yield from self._batch(batch)
                batch, total = [], 0
            batch.append(blob)
            total += int(size)
        yield from self._batch(batch)

    def _batch(self, blobs: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        asked = "".join(f"{blob}\n" for blob in blobs).encode()
        told = self.git("cat-file", "--batch=%(objectsize)", stdin=asked).stdout if blobs else b""
        start = 0
        for blob in blobs:
            begin = told.index(b"\n", start) + 1
            end = begin + int(told[start : begin - 1])
            yield blob, told[begin:end]
            start = end + 1

    def tags(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield name and message of the annotated tags below `prefix` that are in the cache."""
        form = "--format=%(objecttype)%00%(refname)%00%(contents)%00"
        fields = self.text("for-each-ref", form, prefix).split("\0")
        for kind, name, message in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
            if kind.strip() == "tag":
                yield name.removeprefix("refs/tags/"), message

    # --- writing ------------------------------------------------------------------------------

    def write_blob(self, data: bytes) -> str:
        """Write a file's contents; returns the id."""
        return self._write("blob", data)

    def write_tree(self, tree: str, entries: Mapping[bytes, Entry | None]) -> str:
        """Write a tree like `tree` with some paths set, or removed (None)."""
        if not entries:
            return tree
        lines = [
            f"{entry.mode} {entry.id} 0\t".encode() + path
            if entry
            else b"0 " + b"0" * 40 + b"\t" + path
            # Removed first: a file may stand where a folder was.
            for path, entry in sorted(entries.items(), key=lambda item: item[1] is not None)
        ]
        with scratch.folder("tree") as aside:
            env = {"GIT_INDEX_FILE": f"{aside}/index"}
            self.git("read-tree", tree, env=env)
            self.git(
                "update-index",
                "-z",
                "--replace",
                "--index-info",
                stdin=b"\0".join(lines) + b"\0",
                env=env,
            )
            return object_id(self.text("write-tree", "--missing-ok", env=env))

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, *, name: str, time: int
    ) -> str:
        """Write a commit whose id depends on nothing but these arguments."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"{role} {_signature(name, time)}" for role in ("author", "committer")]
        return self._write("commit", "\n".join([*lines, "", message]).encode())

    def write_tag(
        self,
        tag: str,
        commit: str,
        message: str,
        *,
        name: str,
        time: int,
        sign: Callable[[bytes], bytes] = lambda _: b"",
    ) -> str:
        """Write an annotated tag object without a ref, and its signature; returns its id."""
        tagger = _signature(name, time)
        text = f"object {commit}\ntype commit\ntag {tag}\ntagger {tagger}\n\n{message}".encode()
        return self._write("tag", text + sign(text))

    def _write(self, kind: str, data: bytes) -> str:
        """Write an object, whole or not at all; returns its id."""
        try:
            database = LooseObjectDB(str(self.folder / "objects"))
            written = database.store(IStream(kind, len(data), io.BytesIO(data)))
        except OSError:  # a broken cache, or a full disk: git tells which
            return object_id(self.text("hash-object", "-t", kind, "-w", "--stdin", stdin=data))
        return object_id(written.hexsha.decode())

    def export(self, commit: str, folder: Path) -> None:
        """Write the commit's files into an empty folder, without anything of git's own.

        The cache has to be `complete` for it. Raises `TooMuch` for more than `limit` bytes.
        """
        sizes = self.text("ls-tree", "-r", "--format=%(objectsize)", commit).split()
        # A small repository can stand for files without end: one content under many names.
        if sum(max(int(size), _BLOCK) for size in sizes if size.isdigit()) > self.limit:
            raise TooMuch.exported(commit)
        with scratch.folder("export") as aside:
            env = {"GIT_INDEX_FILE": f"{aside}/index", "GIT_WORK_TREE": str(folder)}
            self.git("read-tree", commit, env=env)
            self.git("checkout-index", "--all", "--quiet", env=env)


def shown(path: bytes) -> str:
    """Return a path as text; bytes that are no UTF-8 stay readable."""
    return inert(path.decode("utf-8", "backslashreplace"))


def _signature(name: str, time: int) -> str:
    return f"{name} <{_EMAIL}> {time} +0000"


def identity(name: str, time: int) -> dict[str, str]:
    """Return the environment that makes git write this name and date, in UTC seconds."""
    values = {"NAME": name, "EMAIL": _EMAIL, "DATE": f"@{time} +0000"}
    return {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in values.items()
    }


def _commit(record: str) -> Commit:
    id_, tree, parents, time, author, subject = record.split("\n", 5)
    return Commit(
        id=id_,
        tree=tree,
        author=inert(author)[:200],
        subject=inert(subject)[:200],
        time=int(time) if time.lstrip("-").isdigit() else 0,
        parents=tuple(parents.split()),
    )


def _difference(facts: bytes, path: bytes) -> Difference:
    """Read `:MODE MODE ID ID STATUS`."""
    old_mode, mode, old_id, id_, status = facts.decode()[1:].split(" ")
    return Difference(
        path,
        status[0],
        None if status == "A" else Entry(old_mode, old_id),
        None if status == "D" else Entry(mode, id_),
    )
