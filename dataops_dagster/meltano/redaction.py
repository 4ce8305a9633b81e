"""Which values of a configuration are secret, and what people see of a value. Pure.

A value that only names variables is no secret: the secret is elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from itertools import islice, pairwise
from typing import Any

from dataops_dagster.meltano.model import Setting
from dataops_dagster.text import one_line

HIDDEN = "*****"
_WIDTH = 100
_PARTS = 10_000
_LONGEST = 100_000
"""Of what is larger, the begin is looked at."""

_KINDS = ("password", "oauth")
_SECRET = re.compile(
    r"passwords?|passwd|passphrase|pwd|secrets?|tokens?|credentials?|apikey|authorization|bearer"
    r"|private|pat"
)
_OPEN_KEY = re.compile(
    r"bookmark|business|cluster|dedup|foreign|group|hash|incremental|join|merge|natural|order"
    r"|partition|primary|public|record|replication|sort|state|unique"
)
_ABOUT = re.compile(
    r"columns?|count|enabled|endpoint|env|expires|expiration|expiry|fields?|file|format|header|ids?"
    r"|length|lifetime|limit|location|method|name|path|prefix|provider|required|size|timeout|ttl"
    r"|type|uri|url|version"
)
"""Last words of names that only tell something about a secret."""

_WORDS = re.compile(r"[^a-z0-9]+")
_CAMEL = re.compile(r"([a-z0-9])([A-Z])")
_VARIABLE = re.compile(r"(?<!\\)\$(?:[A-Z_][A-Z0-9_]*|\{\w+\})")
_TELLING = re.compile(
    r"://[^/\s:@]*:[^/\s@]+@"  # a login in a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:password|pwd|accountkey|secret|token|signature)=[^;&\s]{3,}"
    r"|(?i:\b(?:bearer|basic) )[\w+/=.-]{8,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|[sr]k_live_)\w{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.[\w-]{5,}"
)
_HTTP_LOGIN = re.compile(r"https?://(?!git@)[^/\s@]+@")
_LOGIN = re.compile(r"://[^/\s@]+@")
_UUID = re.compile(r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_ENTROPY = 3.0
_TURNS = 0.25


class Secrecy(str, Enum):
    """Whether a value is a secret, the surest first."""

    CERTAIN = "certain"
    LIKELY = "likely"
    NONE = "none"


def secrecy(setting: Setting) -> Secrecy:
    """Say whether a setting's value is a secret, by its declaration, its name, or itself."""
    said = [(name, own) for name, leaf in _leaves(setting.value) if (own := _own(leaf))]
    if not said:
        return Secrecy.NONE
    if setting.sensitive or setting.kind in _KINDS or is_secret_name(setting.name):
        return Secrecy.CERTAIN
    if any(is_secret_name(name) or _TELLING.search(own) for name, own in said):
        return Secrecy.CERTAIN
    return Secrecy.LIKELY if any(_is_random(own) for _, own in said) else Secrecy.NONE


def is_secret_name(name: str) -> bool:
    """Say whether a value behind this dotted name is a secret: `api_token` is, `token_url` is not."""
    parts = [_WORDS.split(_CAMEL.sub(r"\1_\2", part).lower()) for part in name.split(".")]
    if name.startswith("_"):  # what an extra tells is about streams, whatever they are called
        parts = parts[-1:]
    last = parts[-1]
    if last[0] in ("max", "min", "num") or _ABOUT.fullmatch(last[-1]):
        return False
    return any(any(map(_SECRET.fullmatch, words)) or _ends_in_key(words) for words in parts)


def _ends_in_key(words: list[str]) -> bool:
    return words[-1] == "key" and len(words) > 1 and not _OPEN_KEY.fullmatch(words[-2])


def shown(setting: Setting | None) -> str:
    """Return a value as people may see it: short, inert, and without a secret; empty for none."""
    if setting is None:
        return ""
    return HIDDEN if secrecy(setting) is not Secrecy.NONE else brief(setting.value)


def without_login(url: str) -> str:
    """Return a URL without what stands before the host."""
    return _LOGIN.sub("://*****@", url)


def has_login(url: str) -> bool:
    """Say whether a URL has a login in it that is no mere variable; `git` alone is none."""
    return bool(_HTTP_LOGIN.search(_own(url)))


def brief(value: Any) -> str:
    """Return a value that is no secret on one short line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = one_line(text[: 10 * _WIDTH])
    return f"{text[: _WIDTH - 1]}…" if len(text) > _WIDTH else text


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a value, each with its key; no level of it is a call."""

    def walk() -> Iterator[tuple[str, Any]]:
        waiting = [("", value)]
        while waiting:
            name, found = waiting.pop()
            if isinstance(found, dict):
                waiting += [(str(key), inner) for key, inner in found.items()]
            elif isinstance(found, list | tuple):
                waiting += [(name, inner) for inner in found]
            else:
                yield name, found

    return islice(walk(), _PARTS)


def _own(leaf: Any) -> str:
    """Return what a value says itself: nothing if it only names variables, or says yes or no."""
    if leaf is None or isinstance(leaf, bool):
        return ""
    return _VARIABLE.sub("", str(leaf)[:_LONGEST]).strip(" \t\n'\"")


def _is_random(text: str) -> bool:
    """Say whether a long word of the text has digits and letters in no order, as keys have."""
    words = _LONG_WORD.findall(_UUID.sub("", text))
    return any(any(c.isdigit() for c in word) and _is_disordered(word) for word in words)


def _is_disordered(word: str) -> bool:
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in word if c.isalnum()]
    turns = sum(one != other for one, other in pairwise(kinds))
    shares = [count / len(word) for count in Counter(word).values()]
    entropy = -sum(share * math.log2(share) for share in shares)
    return entropy > _ENTROPY and turns > _TURNS * len(word)
