"""Did Tinybird fail us, rather than the data project? Pure: read from what `tb` printed, where it says so.

Only what is beyond doubt is trouble: it takes a failure off a commit, and never makes a success.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A request that got no answer, or one that no server means: as the libraries and tb itself word it.
_NO_ANSWER = (
    "Max retries exceeded with url",
    "NewConnectionError",
    "Connection aborted",
    "Connection refused",
    "Read timed out",
    "Server error, cannot parse response",
    "Internal server error",
    "Bad gateway",
    "Service unavailable",
    "Gateway timeout",
    "Gateway time-out",
)
# Where tb tells an error of its own: no row of a user's, and no name of a test, stands there.
_TOLD = re.compile(
    r"\s*(?:Error:|\*\* Failed|status: Error:|\|.*\| Error:|HTTPS?ConnectionPool\(|\('Connection)"
    rf".*(?:{'|'.join(map(re.escape, _NO_ANSWER))})"
    r"|\s*(?:HTTPS?ConnectionPool\(|\('Connection aborted)",
    re.IGNORECASE,
)
# A test of which the rows were compared has failed, whatever else went wrong.
_COMPARED = re.compile(r"Expected:\s*$|Total Fail: ")


def trouble(lines: Iterable[str]) -> str:
    """Return the line that tells of a server in trouble; empty where none surely does."""
    told = list(lines)
    if any(_COMPARED.match(line.strip()) for line in told):
        return ""
    return next((line.strip() for line in told if _TOLD.match(line)), "")
