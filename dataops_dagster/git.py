"""The one door to git: bare caches, merges without a work tree, publishing by compare-and-swap.

Treats everything a repository holds as hostile, and never reads a git configuration but its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import git as gitpython
from filelock import FileLock
from typing_extensions import Self

from dataops_dagster import process
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.model import Change, Commit, Project, Workspace

LOCAL_SECONDS = 120.0
NETWORK_SECONDS = 300.0
"""Deadlines of one git command, without and with a server at the other end."""

# Every call gets these; the reasons are in docs/security.md.
_SETTINGS = {
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.useReplaceRefs": "false",
    "commit.gpgSign": "false",
    "credential.helper": "",
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.recurseSubmodules": "no",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "push.recurseSubmodules": "no",
    "rerere.enabled": "false",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
    "tag.gpgSign": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "transfer.fsckObjects": "true",
    "protocol.allow": "never",
}
# Attributes inside a repository may not change a merge (merge=union defeats -X theirs) or an
# export; these lines outrank them.
_ATTRIBUTES = (
    "* !merge !conflict-marker-size !diff !filter !ident !text !eol !crlf"
    " !working-tree-encoding !export-ignore !export-subst\n"
)
_ASKPASS = Path(__file__).with_name("askpass.sh")
_RETRYABLE = re.compile(
    r"could not resolve|timed? ?out|connection|hung up|early eof|http 5\d\d|error: 5\d\d"
    r"|operation too slow|unable to access|cannot lock|unable to create",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"authentication failed|could not read (username|password)|permission denied"
    r"|terminal prompts disabled|error: 40[13]",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"not found|does not appear to be a git repository|error: 404|no such file", re.IGNORECASE
)


@dataclass(frozen=True)
class Access:
    """How one repository is reached: its URL, the protocols allowed, and a login if it needs one.

    `where` names the place in the configuration, for errors.
    """

    url: str
    where: str
    protocols: tuple[str, ...]
    username: str = ""
    password_variable: str = ""

    @classmethod
    def of(cls, project: Project, workspace: Workspace) -> Access:
        """Return the access that the configuration gives to a workspace's repository."""
        credential = workspace.credential
        return cls(
            workspace.repository,
            f"workspaces.{workspace.name}",
            project.protocols,
            credential.username if credential else "",
            credential.password_variable if credential else "",
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that may stand in no output."""
        value = os.environ.get(self.password_variable, "") if self.password_variable else ""
        return (value,) if value else ()

    def environment(self) -> dict[str, str]:
        """Return what git needs to reach the server; raises `ConfigError` without the secret."""
        if not self.password_variable:
            return {}
        if not self.secrets:
            raise ConfigError.at(
                f"{self.where}.credential.password_variable",
                f"the environment variable {self.password_variable} is not set",
                "set it where Dagster's processes, or this command, are started",
            )
        parts = urlsplit(self.url)
        return {
            "GIT_ASKPASS": str(_ASKPASS),
            "DATAOPS_ASKPASS_SCHEME": parts.scheme,
            "DATAOPS_ASKPASS_HOST": parts.netloc,
            "DATAOPS_ASKPASS_USERNAME": self.username,
            "DATAOPS_ASKPASS_PASSWORD": self.secrets[0],
        }


@dataclass(frozen=True)
class Merged:
    """A merge's tree, and the paths where a conflict was settled for the other side."""

    tree: str
    overwrites: tuple[str, ...]


@dataclass(frozen=True)
class Unmerged:
    """Paths that no content merge can settle: deleted, replaced or renamed on one side."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class PushRejected:
    """The server did not take the push; `moved` says that the branch is not where it was."""

    reason: str
    moved: bool


class HardenedGit(gitpython.Git):
    """GitPython's command class with our environment, settings and deadline.

    GitPython lets a child inherit our whole environment; here it gets one built from nothing.
    """

    protocols: tuple[str, ...] = ()

    def execute(  # type: ignore[override]  # GitPython's overloads promise more than it calls
        self, command: Sequence[str], *, as_process: bool = False, **options: Any
    ) -> Any:
        """Run git for GitPython's own object readers; ours call `command`."""
        if as_process:  # its `cat-file --batch`, which answers until the repository is closed
            spawned = subprocess.Popen(
                command,
                env=self._child_environment({}),
                stdin=options.get("istream"),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            return self.AutoInterrupt(spawned, command)
        return self.command(*command[1:]).stdout.decode("utf-8", "surrogateescape").strip("\n")

    def command(
        self,
        *arguments: str,
        access: Access | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        allow: Iterable[int] = (0,),
    ) -> process.Completed:
        """Run one git command; with `access` it may reach that server.

        Raises `ToolError` when it ends with a code that is not allowed, or at its deadline.
        """
        extra = {**(env or {}), **(access.environment() if access else {})}
        done = process.run(
            ["git", *arguments],
            env=self._child_environment(extra, access),
            cwd=Path("/"),
            stdin=stdin,
            deadline=NETWORK_SECONDS if access else LOCAL_SECONDS,
        )
        if done.code in tuple(allow) and not done.timed_out:
            return done
        raise _error(arguments[0], done, access)

    def _child_environment(
        self, extra: Mapping[str, str], access: Access | None = None
    ) -> dict[str, str]:
        settings = dict(_SETTINGS)
        for protocol in access.protocols if access else ():
            settings[f"protocol.{protocol}.allow"] = "always"
        inherit = ("SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY", "no_proxy") if access else ()
        values = {
            "HOME": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for i, (key, value) in enumerate(settings.items()):
            values[f"GIT_CONFIG_KEY_{i}"] = key
            values[f"GIT_CONFIG_VALUE_{i}"] = value
        return process.environment(inherit, {**values, **self.environment(), **extra})


class _HardenedRepo(gitpython.Repo):
    GitCommandWrapperType = HardenedGit


def _error(name: str, done: process.Completed, access: Access | None) -> ToolError:
    text = done.stderr.decode("utf-8", "replace")[-4000:]
    lines = [process.inert(line) for line in text.splitlines()]
    tail = process.redact("\n  ".join(lines), access.secrets if access else ())
    hint = ""
    if access and _LOGIN.search(tail):
        hint = f"check {access.where}.credential, or the ssh key and known_hosts of this user"
    elif access and _ABSENT.search(tail):
        hint = f"check {access.where}.repository"
    if done.timed_out:
        tail = f"no answer within {NETWORK_SECONDS if access else LOCAL_SECONDS:g} s\n  {tail}"
    where = f" for {access.where} ({access.url})" if access else ""
    return ToolError(
        f"git {name}{where}",
        done.code,
        tail,
        retryable=done.timed_out or (not hint and bool(_RETRYABLE.search(tail))),
        hint=hint,
    )


def version() -> str:
    """Return what `git --version` prints."""
    return HardenedGit().command("--version").stdout.decode().strip()


def remote_refs(access: Access, *names: str) -> dict[str, str]:
    """Ask a server for refs by full name or `prefix/*`; returns name to object id.

    An annotated tag also appears as `NAME^{}`, with the commit it points to.
    """
    done = HardenedGit().command("ls-remote", "--end-of-options", access.url, *names, access=access)
    patterns = re.compile("|".join(re.escape(n).replace(r"\*", ".*") for n in names))
    found = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        id_, _, name = line.partition("\t")
        # git matches a name's end too, so refs/x/refs/heads/main would pass for the branch.
        if patterns.fullmatch(name.removesuffix("^{}")):
            found[name] = _object_id(id_)
    return found


def branch_ref(branch: str) -> str:
    """Return the full name of a branch; a bare name would mean a tag of that name first."""
    return f"refs/heads/{branch}"


_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def _object_id(text: str) -> str:
    if not _OBJECT_ID.fullmatch(text):
        raise ToolError("git", 0, f"expected an object id, got {process.inert(text[:80])!r}")
    return text


class Store:
    """A bare cache of one project's repositories: what they share is fetched once.

    Deleting it at any time costs a fetch, nothing else.
    """

    def __init__(self, root: Path, project: str) -> None:
        self.folder = root / f"{project}.git"
        self._lock = FileLock(f"{self.folder}.lock", timeout=NETWORK_SECONDS)

    @cached_property
    def _repo(self) -> _HardenedRepo:
        if not (self.folder / "HEAD").exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._lock:
                if not (self.folder / "HEAD").exists():
                    self._make()
        repo = _HardenedRepo(str(self.folder))
        repo.git.update_environment(GIT_DIR=str(self.folder))
        return repo

    def _make(self) -> None:
        """Make the cache aside and move it into place whole: a crash leaves no half of it."""
        fresh = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix="making-"))
        HardenedGit().command("init", "--quiet", "--bare", "--template=", str(fresh))
        (fresh / "info").mkdir(exist_ok=True)
        (fresh / "info" / "attributes").write_text(_ATTRIBUTES)
        shutil.rmtree(self.folder, ignore_errors=True)
        fresh.rename(self.folder)

    def _git(self, *arguments: str, **options: Any) -> process.Completed:
        git: HardenedGit = self._repo.git  # type: ignore[assignment]  # see _HardenedRepo
        return git.command(*arguments, **options)

    def _text(self, *arguments: str, **options: Any) -> str:
        return self._git(*arguments, **options).stdout.decode("utf-8", "replace").strip("\n")

    def close(self) -> None:
        """End the reading process that GitPython keeps open."""
        if "_repo" in self.__dict__:
            self._repo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading ------------------------------------------------------------------------------

    def has(self, commit: str) -> bool:
        """Say whether the commit is in the cache."""
        return self._git("cat-file", "-e", f"{commit}^{{commit}}", allow=(0, 1, 128)).code == 0

    def fetch(self, access: Access, branch: str, commit: str) -> None:
        """Bring a workspace's branch into the cache; it must contain `commit` then."""
        if self.has(commit):
            return
        origin = hashlib.sha256(access.url.encode()).hexdigest()[:16]
        self._fetch(access, f"+{branch_ref(branch)}:refs/dataops/{origin}/{branch}")
        if not self.has(commit):
            raise ToolError(
                f"git fetch for {access.where}",
                0,
                f"{branch} no longer contains {commit}",
                retryable=True,
            )

    def fetch_tags(self, access: Access, prefix: str) -> None:
        """Bring the tags below `prefix` into the cache, and drop those that are gone."""
        self._fetch(access, f"+{prefix}/*:{prefix}/*", "--prune")

    def _fetch(self, access: Access, refspec: str, *options: str) -> None:
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", *options)
        repo = self._repo  # made before the lock is taken, which making it takes too
        with self._lock:
            git: HardenedGit = repo.git  # type: ignore[assignment]  # see _HardenedRepo
            git.command("fetch", *options, "--end-of-options", access.url, refspec, access=access)

    def commit(self, id_: str) -> Commit:
        """Read one commit; text that is not in its declared encoding is replaced, not refused."""
        found = gitpython.Commit(self._repo, bytes.fromhex(id_))
        message = found.message
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        subject = message.strip().split("\n", 1)[0]
        return Commit(
            id=id_,
            tree=found.tree.hexsha,
            author=process.inert(found.author.name or "")[:200],
            subject=process.inert(subject)[:200],
            time=found.committed_date,
            parents=tuple(parent.hexsha for parent in found.parents),
        )

    def missing_from(self, base: str | None, tip: str, *, limit: int) -> list[str]:
        """Return ids of at most `limit` commits of `tip` that `base` lacks, newest first."""
        exclude = [f"^{base}"] if base else []
        listed = self._text("rev-list", "--topo-order", f"--max-count={limit}", tip, *exclude)
        return listed.split()

    def contains(self, tip: str, commit: str) -> bool:
        """Say whether `commit` is `tip` or an ancestor of it."""
        done = self._git("merge-base", "--is-ancestor", commit, tip, allow=(0, 1))
        return done.code == 0

    def related(self, one: str, other: str) -> bool:
        """Say whether two commits share history."""
        if self._git("merge-base", one, other, allow=(0, 1)).code == 0:
            return True
        # With a missing commit git before 2.44 also answers "none"; only a full walk proves it.
        self._git("rev-list", "--count", one, other)
        return False

    def changes(self, before: str | None, after: str) -> tuple[Change, ...]:
        """Compare two trees (None is the empty one), path by path, without rename detection."""
        old = before or self._text("hash-object", "-t", "tree", "/dev/null")
        listed = self._git("diff-tree", "-r", "-z", "--name-status", "--no-renames", old, after)
        fields = listed.stdout.decode("utf-8", "backslashreplace").split("\0")
        return tuple(
            Change(status, process.inert(path))
            for status, path in zip(fields[::2], fields[1::2], strict=False)
        )

    def tags(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield name and message of the annotated tags below `prefix` that are in the cache."""
        listed = self._text(
            "for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", prefix
        )
        for line in listed.splitlines():
            kind, id_, name = line.split(" ", 2)
            if kind == "tag":
                tag = gitpython.TagObject(self._repo, bytes.fromhex(id_))
                yield name.removeprefix("refs/tags/"), tag.message

    # --- writing into the cache ---------------------------------------------------------------

    def merge(self, ours: str, theirs: str) -> Merged | Unmerged:
        """Merge as `git merge -X theirs --allow-unrelated-histories` would, without a work tree."""
        done = self._git(
            "merge-tree",
            "--write-tree",
            "--allow-unrelated-histories",
            "--no-messages",
            "--name-only",
            "-z",
            ours,
            theirs,
            allow=(0, 1),
        )
        tree, *names = done.stdout.decode("utf-8", "backslashreplace").rstrip("\0").split("\0")
        if done.code == 0:
            return Merged(_object_id(tree), ())
        return self._merge_theirs(ours, theirs, tuple(sorted({n for n in names if n})))

    def _merge_theirs(
        self, ours: str, theirs: str, conflicts: tuple[str, ...]
    ) -> Merged | Unmerged:
        """Let the real merge settle the conflicts, in an index whose every path is sparse.

        merge-tree takes no -X before git 2.44. Only conflicted files are ever written, and only
        into a folder that goes with this call.
        """
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="merge-") as folder:
            scratch = Path(folder)
            (scratch / "refs").mkdir()
            (scratch / "tree").mkdir()
            (scratch / "info").mkdir()
            (scratch / "HEAD").write_text(f"{ours}\n")
            (scratch / "info" / "attributes").write_text(_ATTRIBUTES)
            (scratch / "info" / "sparse-checkout").write_text("!/*\n")
            (scratch / "config").write_text("[core]\n\tsparseCheckout = true\n\tbare = false\n")
            env = {
                "GIT_DIR": folder,
                "GIT_WORK_TREE": str(scratch / "tree"),
                "GIT_OBJECT_DIRECTORY": str(self.folder / "objects"),
                **_identity("dataops", 0),
            }
            self._git("read-tree", "-m", "-u", "HEAD", env=env)
            done = self._git(
                "merge",
                "--quiet",
                "--no-commit",
                "--no-ff",
                "--strategy-option=theirs",
                "--allow-unrelated-histories",
                "--end-of-options",
                theirs,
                env=env,
                allow=(0, 1),
            )
            unmerged = self._git("ls-files", "--unmerged", "-z", env=env).stdout
            paths = {
                entry.partition("\t")[2]
                for entry in unmerged.decode("utf-8", "backslashreplace").split("\0")
                if entry
            }
            if paths:
                return Unmerged(tuple(process.inert(path) for path in sorted(paths)))
            if done.code:
                raise _error("merge", done, None)
            tree = self._text("write-tree", env=env)
        return Merged(_object_id(tree), tuple(process.inert(path) for path in conflicts))

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, *, name: str, time: int
    ) -> str:
        """Write a commit whose id depends on nothing but these arguments."""
        arguments = [word for parent in parents for word in ("-p", parent)]
        return _object_id(
            self._text(
                "commit-tree",
                tree,
                *arguments,
                stdin=message.encode(),
                env=_identity(name, time),
            )
        )

    def write_tag(self, tag: str, commit: str, message: str, *, name: str, time: int) -> str:
        """Write an annotated tag object without a ref; returns its id."""
        identity = f"{name} <{_EMAIL}> {time} +0000"
        text = f"object {commit}\ntype commit\ntag {tag}\ntagger {identity}\n\n{message}"
        return _object_id(self._text("mktag", stdin=text.encode()))

    # --- writing to the server ----------------------------------------------------------------

    def publish(
        self,
        access: Access,
        branch: str,
        *,
        base: str | None,
        commit: str,
        tag: str,
        tag_object: str,
    ) -> PushRejected | None:
        """Move the branch from `base` to `commit` and record `tag`, both or neither.

        A compare-and-swap: the lease names the one head for which the push may happen, and
        `commit` descends from it, so the branch only ever moves forward.
        """
        ref = branch_ref(branch)
        done = self._git(
            "push",
            "--porcelain",
            "--atomic",
            f"--force-with-lease={ref}:{base or ''}",
            "--end-of-options",
            access.url,
            f"{commit}:{ref}",
            f"{tag_object}:refs/tags/{tag}",
            access=access,
            allow=(0, 1),
        )
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        refused = [process.inert(line.split("\t")[2]) for line in lines if line.startswith("!")]
        if not refused and done.code == 0:
            return None
        if not refused:
            raise _error("push", done, access)
        moved = any(_MOVED.search(reason) for reason in refused)
        said = _remote_lines(done.stderr)
        return PushRejected("; ".join([*dict.fromkeys(refused), *said]), moved)

    # --- files --------------------------------------------------------------------------------

    def export(self, commit: str, folder: Path) -> None:
        """Write the commit's files into an empty folder, without anything of git's own."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="export-") as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder)}
            self._git("read-tree", commit, env=env)
            self._git("checkout-index", "--all", "--quiet", env=env)


_MOVED = re.compile(
    r"stale info|non-fast-forward|fetch first|already exists|cannot lock ref"
    r"|failed to (update|lock)|incorrect old value"
)
_EMAIL = "dataops@localhost"


def _remote_lines(stderr: bytes) -> list[str]:
    lines = stderr.decode("utf-8", "replace").splitlines()
    told = [process.inert(line).strip() for line in lines if line.startswith("remote:")]
    return [line for line in told if line != "remote:"][:10]


def _identity(name: str, time: int) -> dict[str, str]:
    date = f"@{time} +0000"
    return {
        **{f"GIT_{role}_NAME": name for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": _EMAIL for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_DATE": date for role in ("AUTHOR", "COMMITTER")},
    }


@contextlib.contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """Give a folder that only this user may enter, and that goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
