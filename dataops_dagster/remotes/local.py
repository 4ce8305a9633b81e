"""A repository on this machine: git's own server programs answer, one request each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from dataops_dagster import process
from dataops_dagster.git import BOUNDS, MEMORY_BYTES, Access, TooMuch, error_of
from dataops_dagster.remotes.wire import ANSWER_LIMIT_BYTES


class LocalService:
    """The repository behind a file URL."""

    def __init__(self, access: Access, scratch: str | None = None) -> None:
        """Take the way to the repository; large answers go through a file in `scratch`."""
        self.access = access
        self.scratch = scratch
        self.path = unquote(urlsplit(access.url).path)

    def advertise(self, program: str, seconds: float) -> IO[bytes]:
        """Ask what the server can; returns the answer, to be closed by the caller."""
        return self._run(program, ["--advertise-refs"], b"", seconds)

    def call(
        self,
        program: str,
        request: bytes | IO[bytes],
        seconds: float,
        *,
        most: int = ANSWER_LIMIT_BYTES,
    ) -> IO[bytes]:
        """Send a request to one of git's programs; returns the answer, of `most` bytes."""
        return self._run(program, [], request, seconds, most=most)

    def _run(
        self,
        program: str,
        options: list[str],
        request: bytes | IO[bytes],
        seconds: float,
        *,
        most: int = ANSWER_LIMIT_BYTES,
    ) -> IO[bytes]:
        answer = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115  # the caller closes it
        done = process.run(
            ["git", program.removeprefix("git-"), "--stateless-rpc", *options, self.path],
            # The server's side: the repository's own settings and hooks hold, as they would for
            # anybody's push.
            env=process.environment((), _ENVIRONMENT),
            cwd=Path("/"),
            stdin=request,
            stdout=answer,
            deadline=seconds,
            memory=MEMORY_BYTES,
            # Who reads writes nothing but the answer; a push may be of any size.
            file_bytes=most + 1 if program == "git-upload-pack" else None,
            # A push runs the repository's hooks, which may wait for whatever they like.
            guarded=program == "git-receive-pack" and not options,
        )
        if answer.seek(0, os.SEEK_END) > most:
            answer.close()
            raise TooMuch.said_by(program.removeprefix("git-"))
        if done.code or done.timed_out:
            answer.close()
            raise error_of(program.removeprefix("git-"), done, self.access, seconds)
        answer.seek(0)
        return answer


_SETTINGS = {"uploadpack.allowFilter": "true", "receive.advertiseAtomic": "true", **BOUNDS}
_ENVIRONMENT = {
    "HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_PROTOCOL": "version=2",
    "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(_SETTINGS.values())},
}
