"""How a secret may be spelled where people read: plain, by its lines, quoted, in base64. Pure."""

from __future__ import annotations

import html
import json
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

_SHORTEST_PART = 8
"""A line of a secret, or what base64 makes of it, that is shorter stands in too much other text."""

_GROUP, _LETTERS = 3, 4  # base64 makes four letters of three bytes


def all_spellings(secrets: Iterable[str]) -> list[str]:
    """Return the spellings of several secrets."""
    return list(dict.fromkeys(each for secret in secrets for each in spellings(secret)))


@lru_cache(maxsize=256)  # asked for with each line of a log
def spellings(secret: str) -> tuple[str, ...]:
    """Return the ways in which a program or a server may give a secret away by accident.

    A key of many lines is told line by line. In base64 it may stand anywhere in what was encoded,
    as a password does behind a user's name.
    """
    parts = [line for line in map(str.strip, secret.splitlines()) if len(line) >= _SHORTEST_PART]
    found = [form for part in (secret, *parts) for form in _quoted(part)]
    return tuple(dict.fromkeys([*found, *_encoded(secret)]))


def _quoted(text: str) -> Iterator[str]:
    yield text
    yield from (quote(text), quote(text, safe=""), quote_plus(text))
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield from (repr(text)[1:-1], html.escape(text), shlex.quote(text)[1:-1])


def _encoded(text: str) -> Iterator[str]:
    data = text.encode("utf-8", "surrogateescape")
    for before in range(_GROUP):
        # Letters that also hold bits of what stands around it are left away.
        begin = -(-before * _LETTERS // _GROUP)
        end = (before + len(data)) * _LETTERS // _GROUP
        for encode in (b64encode, urlsafe_b64encode):
            letters = encode(bytes(before) + data)[begin:end].decode()
            if len(letters) >= _SHORTEST_PART:
                yield letters
