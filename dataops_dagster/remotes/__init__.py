"""How repositories are reached: look up refs, fetch into a cache, push by compare-and-swap.

Over http and on this machine we speak to git's server programs ourselves (`wire`); over ssh, and to
servers that speak no protocol v2, git's own commands do.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Protocol, TypeVar

from dataops_dagster import urls
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import usable
from dataops_dagster.git import LOOKUP_SECONDS, Access, Git, TooMuch, object_id
from dataops_dagster.remotes import command, wire
from dataops_dagster.remotes.http import HttpService
from dataops_dagster.remotes.local import LocalService
from dataops_dagster.remotes.wire import Report

_UPLOAD, _RECEIVE = "git-upload-pack", "git-receive-pack"
_FEW_OBJECTS = 100
"""Packs of fewer objects are unpacked if they are small: a pack each would slow down every look-up."""

_FSCK = "badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore"
"""What real old histories contain; all else that git's checks name is refused."""

_FSCK_ERROR = re.compile(r"fsck error|badTimezone|missingSpaceBeforeDate|zeroPaddedFilemode")
_PAUSES = (0.0, 0.5, 2.0)
"""Seconds before each look for what was pushed."""

_MEND = "it is dangerous or broken: take it out of the history, and `git fsck --strict` in the repository"

_GONE = re.compile(r"not our ref|not valid|no such remote ref")  # between look-up and fetch
_IN_MEMORY = 1 << 20
_PACK_HEADER = 12  # "PACK", version, number of objects
_Answer = TypeVar("_Answer")


class Service(Protocol):
    """A server that gives one answer to one request."""

    def advertise(self, program: str, seconds: float) -> IO[bytes]:
        """Ask what the server can."""

    def call(
        self,
        program: str,
        request: bytes | IO[bytes],
        seconds: float,
        *,
        most: int = wire.ANSWER_LIMIT_BYTES,
    ) -> IO[bytes]:
        """Send a request to one of git's programs; raises `TooMuch` for more than `most` bytes."""


class NotInPart(ToolError):  # noqa: N818  # its name is what happened
    """What was fetched in part cannot be checked in part; a whole fetch can."""


class _Deadline:
    """What is left of some seconds: one deadline for all that a call needs."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.1, self._end - time.monotonic())


@dataclass(frozen=True)
class Wanted:
    """What a fetch is to bring: ids, and the ids whose history the cache has.

    `without_blobs` leaves out the contents of files, where the server can. Old servers give what a
    `branch` has, and no ids.
    """

    ids: Sequence[str]
    branch: str = ""
    haves: Sequence[str] = ()
    without_blobs: bool = False


_SERVICES: Mapping[str, Callable[[Access, str | None], Service]] = {
    "file": LocalService,
    "http": HttpService,
    "https": HttpService,
}
_plain: set[str] = set()
"""URLs of servers that turned out to speak no protocol v2, as long as this process lives."""


class Remote:
    """One repository, as far as `access` lets us."""

    def __init__(self, access: Access, scratch: str | None = None) -> None:
        """Take the way to it; what is large goes through files in the folder `scratch`."""
        self.access = access
        self._scratch = scratch
        parsed = urls.parse(access.url)
        protocol = parsed.protocol if parsed and parsed.protocol in access.protocols else ""
        service = _SERVICES.get(protocol)
        self._service = service(access, scratch) if service and access.url not in _plain else None

    def refs(self, names: Iterable[str], seconds: float) -> dict[str, str]:
        """Look up refs by full name, or by `prefix/*`; an annotated tag's commit is `NAME^{}`."""
        names = tuple(names)
        prefixes = tuple(name.removesuffix("*") for name in names)
        deadline = _Deadline(seconds)

        def ask(service: Service) -> dict[str, str]:
            request = wire.refs_request(prefixes)
            with closing(service.call(_UPLOAD, request, deadline.left)) as answer:
                return wire.refs(answer)

        def plain() -> dict[str, str]:
            return command.refs(self.access, prefixes, deadline.left)

        found = self._asked(ask, plain, deadline)
        return {ref: object_id(id_) for ref, id_ in found.items() if _is_wanted(ref, names)}

    def fetch(self, git: Git, wanted: Wanted, *, partial: bool, room: int, seconds: float) -> None:
        """Bring objects into a bare repository, checked; raises `ToolError`.

        An answer of more than `room` bytes, and what frames them, is refused: `TooMuch`.

        `partial` says that the repository lacks the contents of some files already. Raises
        `NotInPart` when only a whole repository can take them.
        """
        deadline = _Deadline(seconds)

        def ask(service: Service) -> None:
            in_part = wanted.without_blobs and self._filters(service, deadline)
            # Deltas against contents that were left out before could not be resolved here.
            thin = in_part or not partial
            request = wire.fetch_request(wanted.ids, wanted.haves, thin=thin, without_blobs=in_part)
            with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=self._scratch) as pack:
                try:
                    answer = service.call(_UPLOAD, request, deadline.left, most=room + room // 100)
                except TooMuch:
                    raise TooMuch.held_by(self.access) from None
                with closing(answer):
                    for chunk in wire.pack(answer):
                        pack.write(chunk)
                self._ingest(git, pack, partial=partial or in_part, deadline=deadline)

        def plain() -> None:
            source = f"refs/heads/{wanted.branch}" if wanted.branch else wanted.ids[0]
            command.fetch(git, self.access, source, partial=partial, seconds=deadline.left)

        self._asked(ask, plain, deadline)

    def _ingest(self, git: Git, pack: IO[bytes], *, partial: bool, deadline: _Deadline) -> None:
        """Check a pack's objects and keep them."""
        size = pack.tell()
        pack.seek(0)
        count = int.from_bytes(pack.read(_PACK_HEADER)[8:], "big")
        if size > _PACK_HEADER and not count:
            return
        if partial:
            # git's own fetch does not look for broken links either where some are to be expected.
            how = ["index-pack", "--stdin", "--fix-thin", "--promisor", "--fsck-objects"]
        elif count < _FEW_OBJECTS and size <= _IN_MEMORY:
            how = ["unpack-objects", "-q", f"--strict={_FSCK}"]
        else:
            how = ["index-pack", "--stdin", "--fix-thin", f"--strict={_FSCK}"]
        pack.seek(0)
        try:
            done = git(
                *how,
                # Without the server: git then takes what is missing for missing, and tells of it.
                stdin=pack.read() if size <= _IN_MEMORY else pack,
                seconds=deadline.left,
            )
        except ToolError as error:
            if partial and _FSCK_ERROR.search(error.tail):
                raise NotInPart(error.command, error.code, error.tail) from None
            if _FSCK_ERROR.search(error.tail):
                what = f"taking what {self.access.where} ({self.access.url}) holds"
                raise ToolError(what, error.code, error.tail, hint=_MEND) from None
            raise
        # Beyond the pack's name it tells of what it could not check: .gitmodules left out.
        if partial and len(done.stdout.splitlines()) > 1:
            raise NotInPart("git index-pack", None, "some .gitmodules is left out")

    def push(
        self,
        git: Git,
        updates: Mapping[str, tuple[str | None, str]],
        *,
        has: Sequence[str],
        seconds: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Report:
        """Move each ref from the one id to the other, all of them or none.

        `has` are ids whose history the server is known to have: nothing of that is sent. That it was
        done is not believed before the server shows it. `meanwhile` is called, perhaps again, while
        the server works.
        """
        deadline = _Deadline(seconds)

        def ask(service: Service) -> Report:
            with (
                tempfile.TemporaryFile(dir=self._scratch) as request,
                ThreadPoolExecutor(1) as beside,
            ):
                offering = beside.submit(self._offered, service, deadline)
                request.write(wire.push_request(updates))
                request.flush()
                self._pack(git, [new for _, new in updates.values()], has, request, deadline)
                offered = offering.result()
                hidden = [ref for ref, (old, _) in updates.items() if old and ref not in offered]
                if hidden:
                    reason = "is gone, or hidden from pushes (receive.hideRefs)"
                    return Report(dict.fromkeys(updates, f"{hidden[0]} {reason}"), ())
                beside.submit(meanwhile)
                with closing(service.call(_RECEIVE, request, deadline.left)) as told:
                    return wire.report(told, tuple(updates))

        def plain() -> Report:
            meanwhile()
            return command.push(git, self.access, updates, seconds=deadline.left)

        report = self._asked(ask, plain, deadline)
        if not report.refused:
            self._prove({ref: new for ref, (_, new) in updates.items()}, deadline)
        # A server, and its hooks, know the login, and may repeat it.
        refused = {ref: self.access.clean(reason) for ref, reason in report.refused.items()}
        return Report(refused, tuple(map(self.access.clean, report.said)))

    def _prove(self, moved: Mapping[str, str], deadline: _Deadline) -> None:
        """Look whether the server has what it says it took; a copy of it may be a moment behind."""
        # A branch may have gone on meanwhile; a tag of ours is nobody else's.
        tags = {ref: id_ for ref, id_ in moved.items() if ref.startswith("refs/tags/")}
        for pause in _PAUSES:
            time.sleep(min(pause, deadline.left))
            found = self.refs(tags or moved, min(LOOKUP_SECONDS, deadline.left))
            if (tags or moved).items() <= found.items():
                return
        said = f"it said that it moved {', '.join(moved)}, and does not show that"
        raise self._error(said, retryable=True, hint="look at the repository, and try again")

    def _offered(self, service: Service, deadline: _Deadline) -> set[str]:
        """Return the refs of a server that moves all or none of them, and says what it did."""
        with closing(service.advertise(_RECEIVE, deadline.left)) as answer:
            offered = wire.capabilities(answer)
            answer.seek(0)
            refs = wire.offered_refs(answer)
        missing = [name for name in wire.PUSH_CAPABILITIES if name not in offered]
        if missing:
            raise self._error(
                f"it does not offer {', '.join(missing)} to a push",
                hint="use a server that does; git's own has it by receive.advertiseAtomic",
            )
        return refs

    def _pack(
        self,
        git: Git,
        news: Sequence[str],
        has: Sequence[str],
        into: IO[bytes],
        deadline: _Deadline,
    ) -> None:
        revisions = "".join(f"{id_}\n" for id_ in [*news, *(f"^{id_}" for id_ in has)])
        git(
            *("pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset"),
            *("--sparse", "-q"),
            stdin=revisions.encode(),
            stdout=into,
            seconds=deadline.left,
            # What an old commit had, and a new one has again, may have been left out.
            access=self.access,
            lazy=True,
        )

    # --- how ----------------------------------------------------------------------------------

    def _asked(
        self,
        fast: Callable[[Service], _Answer],
        plain: Callable[[], _Answer],
        deadline: _Deadline,
    ) -> _Answer:
        """Ask the fast way where it is known, else by git's commands."""
        service = self._service
        if service is None:
            return plain()
        try:
            with usable(self._scratch or "a file for a moment"):
                return fast(service)
        except wire.Shallow:
            raise self._error(
                "the repository is shallow: it lacks a part of its history",
                hint="run `git fetch --unshallow` in it",
            ) from None
        except wire.ServerRefused as refused:
            if self._speaks(service, deadline):
                retryable = bool(_GONE.search(str(refused)))
                raise self._error(str(refused), retryable=retryable) from None
        except wire.Unspoken:
            if self._speaks(service, deadline):
                raise self._error(
                    "its answer broke off, or is not git's",
                    retryable=True,
                    hint=f"check {self.access.where}.repository, and what its login may see",
                ) from None
        _plain.add(self.access.url)
        self._service = None
        return plain()

    def _speaks(self, service: Service, deadline: _Deadline) -> bool:
        """Say whether the server speaks protocol v2; raises `ToolError` for one we cannot read."""
        try:
            with closing(service.advertise(_UPLOAD, deadline.left)) as answer:
                offered = wire.capabilities(answer)
        except (wire.Unspoken, wire.ServerRefused):
            return False
        if offered.get("object-format", "sha1") != "sha1":
            raise self._error(
                f"the repository's object format is {offered['object-format']}",
                hint="only sha1 is supported: make it anew with `git init --object-format=sha1`",
            )
        return "ls-refs" in offered

    def _filters(self, service: Service, deadline: _Deadline) -> bool:
        with closing(service.advertise(_UPLOAD, deadline.left)) as answer:
            return "filter" in wire.capabilities(answer).get("fetch", "").split()

    def _error(self, text: str, *, retryable: bool = False, hint: str = "") -> ToolError:
        where = f"asking the server of {self.access.where} ({self.access.url})"
        return ToolError(where, None, self.access.clean(text), retryable=retryable, hint=hint)


def _is_wanted(ref: str, names: Iterable[str]) -> bool:
    name = ref.removesuffix("^{}")
    return any(
        name.startswith(wanted[:-1]) if wanted.endswith("*") else name == wanted for wanted in names
    )
