"""Hands a token over in a file that only its owner reads; never prints one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dataops_dagster.errors import ConfigError


@contextlib.contextmanager
def reserved(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Make a new file at once, so that nothing is done for a token that nobody could get.

    Gives what writes a token into it, or does nothing without a path. A file that got no token goes
    again. Raises `ConfigError` for one that is there already, or cannot be made.
    """
    if path is None:
        yield lambda _token: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "name a new file, in a folder that you may write to"
        raise ConfigError.at(str(path), f"cannot be made: {error.strerror}", hint) from None
    is_written = False

    def write(token: str) -> None:
        nonlocal is_written
        os.write(descriptor, f"{token}\n".encode())
        is_written = True

    try:
        yield write
    finally:
        os.close(descriptor)
        if not is_written:
            path.unlink(missing_ok=True)
