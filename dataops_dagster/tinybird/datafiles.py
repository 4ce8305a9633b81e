"""Does a definition reach for what is not the data project's? Pure; knows no other syntax of it.

Classic puts variables of its environment, which holds the token, and files of this machine into them.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection

INCLUDED = ".incl"
_REFERENCE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
INCLUDE = re.compile(r"^[ \t]*include[ \t].*$", re.IGNORECASE | re.MULTILINE)
_NEWLINE = re.compile(r"\r\n?")


def overreach(path: str, text: str, *, hidden: Collection[str]) -> str:
    """Say what of a definition must not be read; empty when all may.

    `path` is seen from the data project's folder, `hidden` are names of variables.
    """
    for name in _REFERENCE.findall(text):
        if name in hidden:
            return f"takes the value of the variable {name}"
    lines = INCLUDE.findall(_NEWLINE.sub("\n", text))
    return next((problem for line in lines if (problem := _included(path, line))), "")


def _included(path: str, line: str) -> str:
    # Words as Classic finds them, which takes a line that does not fit for one word.
    words = shlex.shlex(line)
    words.whitespace_split = True
    try:
        _, file, *values = list(words)
    except ValueError:
        return ""
    file = file.strip("\"'")
    # What an included file includes is looked up from the folder of whoever included it.
    folder = "" if path.endswith(INCLUDED) else posixpath.dirname(path)
    found = posixpath.normpath(posixpath.join(folder, file))
    if "$" in file or found.startswith(("/", "../")):
        return f"includes {file}, which is not in the data project"
    if posixpath.splitext(found)[1] not in ("", INCLUDED):
        return f"includes {file}, which is no {INCLUDED} file"
    if any("=" in value for value in values):
        return f"includes {file} with values, of which any variable's name can be made"
    return ""
