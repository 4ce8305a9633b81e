"""Did Tinybird fail us, rather than the data project? Pure: read from what `tb` printed, where it says so.

Only what is beyond doubt is trouble: it takes a failure off a commit, and never makes a success.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A request that got no answer, or one that no server means: as the libraries and tb itself word it.
_NO_ANSWER = (
    "max retries exceeded with url",
    "newconnectionerror",
    "connection aborted",
    "connection refused",
    "read timed out",
    "server error, cannot parse response",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
    "gateway time-out",
)
# Where tb tells an error of its own: no row of a user's, and no name of a test, stands there.
_TOLD = ("Error:", "** Failed", "status: Error:")
_CELL = "| Error:"
_BROKEN = ("HTTPConnectionPool(", "HTTPSConnectionPool(", "('Connection aborted")
# Forward gets no answer about a pipe that is there, as whoever asks has seen to.
_SKIPPED = re.compile(r"✗ All tests skipped \(\S+ not found\)")
# A test of which the rows were compared has failed, whatever else went wrong.
_COMPARED = re.compile(r"Expected:$|Total Fail: ")


def trouble(lines: Iterable[str]) -> str:
    """Return the line that tells of a server in trouble; empty where none surely does."""
    told = [line.strip() for line in lines]
    if any(map(_COMPARED.match, told)):
        return ""
    return next(filter(_tells, told), "")


def _tells(line: str) -> bool:
    if line.startswith(_BROKEN) or _SKIPPED.fullmatch(line):
        return True
    if line.startswith("|") and _CELL in line:  # a row of a table
        line = _TOLD[0] + line.rpartition(_CELL)[2]
    return line.startswith(_TOLD) and any(words in line.lower() for words in _NO_ANSWER)
