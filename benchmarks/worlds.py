"""Repositories of one shape each, made quickly by `git fast-import`, and small changes to them.

A world is an upstream and a target that was promoted from it before. The target has a first commit
and a file of its own, so that the next promotion is a true merge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

EDITED = "pipeline.sql"
"""The small file that every change edits; it stands in the deepest folder of its world."""

OWN = "prod.md"
"""The file that only the target has."""

# What a person's git does when nothing is configured, wherever the benchmark runs.
PLAIN = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    **{f"GIT_{role}_NAME": "Grace" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "grace@example.com" for role in ("AUTHOR", "COMMITTER")},
}

_FIRST, _PACE = 1_577_836_800, 1800  # commits begin with 2020, one each half an hour
_LINES = 60  # of a model, of which a commit changes one
_BLOB_BYTES = 2_000_000
# A server lets its clients ask for parts of a history; file:// reads the repository's own word.
_SERVED = {
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "http.receivepack": "true",
}


@dataclass(frozen=True)
class World:
    """An upstream and a target: where they lie, and what they hold when nothing has changed."""

    name: str
    folder: Path
    says: str
    tip: str
    head: str
    edited: str
    end: int
    size: int

    @property
    def staging(self) -> Path:
        """The upstream's bare repository."""
        return self.folder / "staging.git"

    @property
    def prod(self) -> Path:
        """The target's bare repository."""
        return self.folder / "prod.git"

    def change(self, text: str) -> str:
        """Put one small commit on the upstream; returns its id."""
        stream = [
            *_commit(1, self.end + _PACE, f"Change {text}", ref="refs/heads/main"),
            f"from {self.tip}\n".encode(),
            *_file(self.edited, f"select '{text}' as changed\n".encode()),
        ]
        _import(self.staging, stream, "--force")
        return git(self.staging, "rev-parse", "refs/heads/main")

    def reset(self) -> None:
        """Set both branches back, and delete the target's tags."""
        git(self.staging, "update-ref", "refs/heads/main", self.tip)
        git(self.prod, "update-ref", "refs/heads/main", self.head)
        tags = git(self.prod, "for-each-ref", "--format=delete %(refname)", "refs/tags/")
        if tags:
            git(self.prod, "update-ref", "--stdin", stdin=f"{tags}\n".encode())

    def check(self, change: str) -> None:
        """Raise unless the target's head merges `change` into what it had."""
        names = ("main^1", "main^2", f"main:{self.edited}", f"{change}:{self.edited}")
        found = git(self.prod, "rev-parse", *names, f"main:{OWN}").split()
        if found[:2] != [self.head, change] or found[2] != found[3]:
            raise AssertionError(f"{self.name}: the target's head is no merge of the change")

    def copy(self, folder: Path) -> World:
        """Copy both repositories, sharing what git never changes."""
        for source in (self.staging, self.prod):
            shutil.copytree(source, folder / source.name, copy_function=_link_objects)
        return dataclasses.replace(self, folder=folder)


def git(repository: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git in a bare repository; returns what it prints."""
    done = subprocess.run(
        ["git", f"--git-dir={repository}", *arguments],
        input=stdin,
        env=PLAIN,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.decode('utf-8', 'replace')}")
    return done.stdout.decode().strip()


def make(name: str, scale: float, cache: Path) -> World:
    """Return the world of this name at this scale; made once below `cache`."""
    folder = cache / f"{name}-{scale:g}"
    facts = folder / "world.json"
    if not facts.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as made:
            _make(name, scale, Path(made) / "world")
            shutil.rmtree(folder, ignore_errors=True)
            (Path(made) / "world").rename(folder)
    return World(name=name, folder=folder, **json.loads(facts.read_text()))


def _make(name: str, scale: float, folder: Path) -> None:
    staging, prod = folder / "staging.git", folder / "prod.git"
    says, end, edited, stream, repack = _SHAPES[name](scale)
    _init(staging)
    _import(staging, stream)
    # As a server keeps it: one pack, with a bitmap, and a commit-graph.
    git(staging, "repack", "-a", "-d", "-q", "--write-bitmap-index", *repack)
    git(staging, "commit-graph", "write", "--reachable", "--no-progress")
    tip, tree = git(staging, "rev-parse", "refs/heads/main", "refs/heads/main^{tree}").split()
    shutil.copytree(staging, prod, copy_function=_link_objects)
    _import(prod, _promoted(tip, tree, end))
    git(prod, "update-ref", "-d", "refs/heads/own")
    facts = {
        "says": says,
        "tip": tip,
        "head": git(prod, "rev-parse", "refs/heads/main"),
        "edited": edited,
        "end": end + _PACE,
        "size": sum(path.stat().st_size for path in (staging / "objects").rglob("*")),
    }
    (folder / "world.json").write_text(json.dumps(facts))


def _init(repository: Path) -> None:
    subprocess.run(
        ["git", "init", "-q", "--bare", "--template=", "-b", "main", repository],
        env=PLAIN,
        check=True,
    )
    for key, value in _SERVED.items():
        git(repository, "config", key, value)


def _promoted(tip: str, tree: str, end: int) -> Iterator[bytes]:
    """Merge the upstream's tip into a first commit that is as old as the upstream's own."""
    yield from _commit(1, _FIRST, "Initial commit", ref="refs/heads/own")
    yield from _file(OWN, b"# prod\n")
    yield from _commit(2, end + _PACE, "Promote staging to prod", ref="refs/heads/main")
    yield f'from :1\nmerge {tip}\nM 040000 {tree} ""\n'.encode()
    yield from _file(OWN, b"# prod\n")


def _link_objects(source: str, target: str) -> None:
    if "objects" in Path(source).parts:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)


# --- the shapes -----------------------------------------------------------------------------------

_Shape = tuple[str, int, str, Iterator[bytes], tuple[str, ...]]
"""What it says, when its last commit is, the edited file, fast-import's input, repack's options."""


def _wide(scale: float) -> _Shape:
    count = max(200, round(100_000 * scale))
    names = [f"area{i // 1000:02}/team{i // 100 % 10}/model{i % 100:02}.sql" for i in range(count)]
    names.append(f"{names[count // 2].rpartition('/')[0]}/{EDITED}")

    def stream() -> Iterator[bytes]:
        yield from _commit(1, _FIRST, "Initial commit", ref="refs/heads/main")
        for name in names:
            yield from _file(name, f"-- the model {name}\n".encode())

    return f"{count:,} files", _FIRST, names[-1], stream(), ()


def _deep(scale: float) -> _Shape:
    count = max(100, round(50_000 * scale))
    names = [f"area{i // 20:02}/model{i % 20:02}.sql" for i in range(300)]
    edited = f"area07/{EDITED}"
    dice = random.Random(count)  # noqa: S311  # the same world every time

    def stream() -> Iterator[bytes]:
        models = {name: [f"  column_{i:02}," for i in range(_LINES)] for name in (*names, edited)}
        yield from _commit(1, _FIRST, "Initial commit", ref="refs/heads/main")
        for name, lines in models.items():
            yield from _file(name, "\n".join(lines).encode())
        for i in range(1, count):
            yield from _commit(i + 1, _FIRST + i * _PACE, f"Change {i}", ref="refs/heads/main")
            name = dice.choice(names)
            models[name][dice.randrange(_LINES)] = f"  coalesce(column_{i}, {i}) as column_{i},"
            yield from _file(name, "\n".join(models[name]).encode())

    return f"{count:,} commits", _FIRST + count * _PACE, edited, stream(), ()


def _large(scale: float) -> _Shape:
    count = max(2, round(250 * scale))
    edited = f"models/{EDITED}"
    dice = random.Random(count)  # noqa: S311  # the same world every time

    def stream() -> Iterator[bytes]:
        yield from _commit(1, _FIRST, "Initial commit", ref="refs/heads/main")
        yield from _file(edited, b"select * from seeds\n")
        for i in range(count):
            yield from _file(f"seeds/seed{i:03}.parquet", dice.randbytes(_BLOB_BYTES))

    # No two of these blobs resemble each other; looking for it would take minutes.
    size = count * _BLOB_BYTES // 1_000_000
    return f"{size:,} MB of blobs", _FIRST, edited, stream(), ("--window=0",)


_SHAPES: dict[str, Callable[[float], _Shape]] = {"wide": _wide, "deep": _deep, "large": _large}
NAMES = tuple(_SHAPES)
"""The worlds there are."""


# --- fast-import's language -----------------------------------------------------------------------


def _commit(mark: int, time: int, message: str, *, ref: str) -> Iterator[bytes]:
    yield f"commit {ref}\nmark :{mark}\n".encode()
    yield f"committer Grace <grace@example.com> {time} +0000\n".encode()
    yield f"data {len(message)}\n{message}\n".encode()


def _file(path: str, content: bytes) -> Iterator[bytes]:
    yield f"M 100644 inline {path}\ndata {len(content)}\n".encode()
    yield content
    yield b"\n"


def _import(repository: Path, stream: Iterable[bytes], *options: str) -> None:
    command = ["git", f"--git-dir={repository}", "fast-import", "--quiet", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=PLAIN) as importer:
        assert importer.stdin
        try:
            importer.stdin.writelines(stream)
        finally:
            importer.stdin.close()
    if importer.returncode:
        raise RuntimeError("git fast-import failed")
