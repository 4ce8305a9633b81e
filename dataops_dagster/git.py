"""The one door to git: every call in a child of its own, with our settings and a deadline.

Treats what servers and repositories say as hostile; reads no git configuration but its own.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit

import git as gitpython

from dataops_dagster import process, ssh
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.folders import NO_ROOM
from dataops_dagster.settings import Project, Ssh, Workspace
from dataops_dagster.spellings import all_spellings
from dataops_dagster.text import inert

OLDEST, RENEWED = (2, 39), (2, 50, 2)
"""The first git that we support, and the first with all the security updates that we know of."""

LOCAL_SECONDS = 120.0
NETWORK_SECONDS = 300.0
"""Deadlines of one git command, without and with a server at the other end."""

LOOKUP_SECONDS = 15.0
"""Deadline of asking a server for refs: a sensor, which has a minute, asks many servers."""

MEMORY_BYTES = 2 * 1024**3
"""What a process of git may take: a tree of few objects can stand for more files than fit anywhere."""

BOUNDS = {
    "core.deltaBaseCacheLimit": "32m",
    "core.packedGitLimit": "64m",
    "core.packedGitWindowSize": "8m",
    "gc.bigPackThreshold": "64m",
    "pack.deltaCacheSize": "32m",
    "pack.threads": "2",
    "pack.windowMemory": "32m",
}
"""What keeps git's memory and work small, however large the repository is."""

# Every call gets these; the reasons are in docs/security.md.
_SETTINGS = {
    **BOUNDS,
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.fsync": "none",
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
    "fetch.unpackLimit": "1",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "push.recurseSubmodules": "no",
    "repack.writeBitmaps": "false",
    "rerere.enabled": "false",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
    "tag.gpgSign": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "transfer.fsckObjects": "true",
    "protocol.allow": "never",
}
PROMISOR = "dataops"
"""The remote's name for a git command that may ask it for what a partial cache lacks."""

_ASKPASS = Path(__file__).with_name("askpass.sh")
_RETRYABLE = re.compile(
    r"could not resolve|timed? ?out|connection|hung up|early eof|http 5\d\d|error: 5\d\d"
    r"|operation too slow|unable to access|cannot lock|unable to create|not our ref",
    re.IGNORECASE,
)
_LOGIN = re.compile(
    r"authentication failed|could not read (username|password)|permission denied"
    r"|terminal prompts disabled|error: 40[13]",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(
    r"no space left|diskspace|quota exceeded|read-only file system|file too large"
    r"|(failed to|could not|couldn't|unable to) write|unable to create temporary"
    r"|insufficient permission",
    re.IGNORECASE,
)
_OTHERS = re.compile(r"dubious ownership")
_ABSENT = re.compile(
    r"not found|does not appear to be a git repository|error: 404|no such file"
    r"|is this a git repository|invalid gitfile|bad line length character",
    re.IGNORECASE,
)
_HINTS_OF_ANY = {
    re.compile(r"out of memory|cannot allocate memory|mmap failed", re.IGNORECASE): (
        f"it may take {MEMORY_BYTES // 1024**2} MiB: look for what is without measure in the"
        " repository, such as folders within folders that never end"
    ),
    # SIGXFSZ, when a server's bytes come by git's own commands; a server that hung up is another story.
    re.compile(
        r"died of signal 25|\A(?!.*(early EOF|disconnect)).*invalid index-pack output", re.DOTALL
    ): ("it may be larger than `cache_limit`: raise that, or take what is huge out of the history"),
    re.compile(r"file name too long", re.IGNORECASE): (
        "a path in the repository is longer than this system takes: shorten it"
    ),
}
"""What git's words mean for a repository, whatever was asked of it."""

_HINTS = {
    re.compile(r"mismatched (object format|algorithms)|hash algorithm"): (
        "only repositories of object format sha1 are supported; make it anew with"
        " `git init --object-format=sha1`"
    ),
    re.compile(r"bad config (line|variable|value)|bad numeric config"): (
        "mend the configuration of WHERE.repository itself"
    ),
    re.compile(r"possible repository corruption on the remote side"): (
        "WHERE.repository is broken: `git fsck` in it says where"
    ),
    re.compile(r"did not send all necessary objects"): (
        "WHERE.repository may be shallow: run `git fetch --unshallow` in it"
    ),
    re.compile(r"redirect|error: 30\d", re.IGNORECASE): (
        "the server sends us elsewhere: write the URL that it sends to as WHERE.repository, if it is"
        " yours"
    ),
    re.compile(r"matches more than one"): (
        "some ref of it is named like another's full name: remove that one"
    ),
}
"""What git's words mean for the repository that they are about."""


WITHOUT_MEASURE = "look for what is without measure in the repository: files, messages or tags"
"""What to do about an answer that is too long."""


class TooMuch(ToolError):  # noqa: N818  # its name is what happened
    """git said more than anybody takes in."""

    @classmethod
    def said_by(cls, name: str) -> TooMuch:
        """Return the error of a git command."""
        return cls(
            f"git {name}",
            None,
            "it said more than we take in",
            hint=WITHOUT_MEASURE,
        )

    @classmethod
    def exported(cls, commit: str) -> TooMuch:
        """Return the error of an export that would fill the disk."""
        problem, hint = "its files hold more than `cache_limit`", f"{WITHOUT_MEASURE}; or raise it"
        return cls(f"exporting {commit[:12]}", None, problem, hint=hint)

    @classmethod
    def held_by(cls, access: Access) -> TooMuch:
        """Return the error of a fetch that would fill the cache."""
        return cls(
            f"fetching from {access.where} ({access.url})",
            None,
            "the cache would hold more than `cache_limit`",
            hint=f"{WITHOUT_MEASURE}; or raise cache_limit; old history goes with the cache's folder",
        )


Git: TypeAlias = Callable[..., process.Completed]
"""What runs git commands in one repository, with the arguments of `HardenedGit.command`."""


@dataclass(frozen=True)
class Access:
    """How one repository is reached: its URL, the protocols allowed, a login or a key if it needs one.

    `where` names the place in the configuration, for errors.
    """

    url: str
    where: str
    protocols: tuple[str, ...]
    username: str = ""
    password_variable: str = ""
    ssh: Ssh | None = None

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
            workspace.ssh,
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that may stand in no output."""
        value = os.environ.get(self.password_variable, "") if self.password_variable else ""
        return (value,) if value else ()

    def clean(self, text: str) -> str:
        """Return what a server said as it may be shown: inert, and without the login that it knows."""
        return process.clean(text, all_spellings(self.secrets))

    def environment(self) -> dict[str, str]:
        """Return what git needs to reach the server; raises `ConfigError` without secret or key."""
        if self.ssh:
            ssh.check(self.ssh, self.where)
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


class HardenedGit(gitpython.Git):
    """GitPython's command class with our environment, settings and deadline.

    GitPython lets a child inherit our whole environment; here it gets one built from nothing.
    """

    protocols: tuple[str, ...] = ()
    file_bytes: int | None = None
    """What a file that a command writes may hold."""

    def execute(  # type: ignore[override]  # GitPython's overloads promise more than we use
        self, command: Sequence[str], **_: Any
    ) -> str:
        """Run what GitPython's own methods ask for; ours call `command`."""
        return self.command(*command[1:]).stdout.decode("utf-8", "replace").strip("\n")

    def command(
        self,
        *arguments: str,
        access: Access | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | IO[bytes] = b"",
        stdout: IO[bytes] | None = None,
        allow: Iterable[int] = (0,),
        seconds: float | None = None,
        lazy: bool = False,
    ) -> process.Completed:
        """Run one git command; with `access` it may reach that server, and ends when we are killed.

        With `lazy` git knows the server as the remote `PROMISOR` and asks it for objects that a
        partial cache lacks.
        Raises `ToolError` when it ends with a code that is not allowed, or at its deadline, and
        `TooMuch` when it said more than we take in: a part of an answer is none.
        """
        deadline = seconds or (NETWORK_SECONDS if access else LOCAL_SECONDS)
        extra = {**(env or {}), **(access.environment() if access else {})}
        done = process.run(
            ["git", *arguments],
            env=self._child_environment(extra, access, lazy=lazy),
            cwd=Path("/"),
            stdin=stdin,
            stdout=stdout,
            deadline=deadline,
            memory=MEMORY_BYTES,
            file_bytes=self.file_bytes,
            guarded=access is not None and urlsplit(access.url).scheme != "file",
        )
        if done.is_cut:
            raise TooMuch.said_by(arguments[0])
        if done.code in tuple(allow) and not done.timed_out:
            return done
        raise error_of(arguments[0], done, access, deadline)

    def _child_environment(
        self, extra: Mapping[str, str], access: Access | None = None, *, lazy: bool = False
    ) -> dict[str, str]:
        settings = dict(_SETTINGS)
        if access:
            settings |= {f"protocol.{name}.allow": "always" for name in access.protocols}
        if access and lazy:
            remote = f"remote.{PROMISOR}"
            settings |= {f"{remote}.url": access.url, f"{remote}.promisor": "true"}
            # Else git writes it into the cache's own settings, and from then on looks for a server
            # whenever something is missing.
            settings[f"{remote}.partialclonefilter"] = "blob:none"
        inherit = ["https_proxy", "HTTPS_PROXY", "no_proxy"] if access else []
        if access and not access.ssh:
            inherit.append("SSH_AUTH_SOCK")
        values = {
            "HOME": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": ssh.command(access.ssh if access else None),
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for i, (key, value) in enumerate(settings.items()):
            values[f"GIT_CONFIG_KEY_{i}"] = key
            values[f"GIT_CONFIG_VALUE_{i}"] = value
        return process.environment(inherit, {**values, **self.environment(), **extra})


def error_of(
    name: str, done: process.Completed, access: Access | None, seconds: float = 0
) -> ToolError:
    """Return what a failed git command said, without secrets, and with a hint where we know one."""
    text = done.stderr.decode("utf-8", "replace")[-4000:]
    if done.timed_out:
        text = f"no answer within {seconds:.0f} s"
    clean = access.clean if access else inert
    tail = "\n  ".join(map(clean, text.splitlines()))
    hint, retryable = "", done.timed_out
    if _NO_ROOM.search(tail) or done.code == -signal.SIGXFSZ:
        hint, retryable = NO_ROOM, True
    elif access and (said := ssh.hint(tail, access.ssh, access.where)):
        hint = said
    elif access and _LOGIN.search(tail):
        hint = f"check {access.where}.credential, or the ssh key and known_hosts of this user"
    elif access and _OTHERS.search(tail):
        # git's own advice is a setting that we do not read.
        hint = (
            f"it is another user's: give it to this one, or name {access.where}.repository by ssh"
        )
    elif access and _ABSENT.search(tail):
        hint = f"check {access.where}.repository"
        hint += f", and that {access.where}.ssh.key opens it" if access.ssh else ""
    else:
        hints = {**_HINTS_OF_ANY, **(_HINTS if access else {})}
        hint = next((text for said, text in hints.items() if said.search(tail)), "")
        hint = hint.replace("WHERE", access.where if access else "")
    where = f" for {access.where} ({access.url})" if access else ""
    return ToolError(
        f"git {name}{where}",
        done.code,
        tail,
        retryable=retryable or (not hint and bool(_RETRYABLE.search(tail))),
        hint=hint,
    )


def version() -> str:
    """Return what `git --version` prints."""
    return HardenedGit().command("--version").stdout.decode().strip()


def version_number(said: str = "") -> tuple[int, ...]:
    """Return git's version, or the one that `git --version` said, as numbers, such as (2, 39, 5)."""
    found = re.search(r"\d+(\.\d+)+", said or version())
    return tuple(map(int, found[0].split("."))) if found else ()


def unsupported(said: str) -> ConfigError | None:
    """Return what is wrong with the git that said so of itself: it is older than we support."""
    if version_number(said) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    hint = f"install git {oldest} or newer, with its vendor's security updates"
    return ConfigError.at("git", f"{said} is too old", hint)


def advice(said: str) -> str:
    """Return what a person should see to with the git that said so of itself, if anything."""
    if version_number(said) >= RENEWED:
        return ""
    renewed = ".".join(map(str, RENEWED))
    return f"{said}: see that its vendor's security updates are in; git itself has them since {renewed}"


def branch_ref(branch: str) -> str:
    """Return the full name of a branch; a bare name would mean a tag of that name first."""
    return f"refs/heads/{branch}"


_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def is_object_id(text: str) -> bool:
    """Say whether `text` is a full object id; anything else may be a name, or an option."""
    return bool(_OBJECT_ID.fullmatch(text))


def object_id(text: str) -> str:
    """Return `text` if it is a full object id; raises `ToolError`."""
    if not is_object_id(text):
        raise ToolError("git", 0, f"expected an object id, got {inert(text[:80])!r}")
    return text
