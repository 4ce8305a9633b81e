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

from dataops_dagster.meltano.model import Layer, Setting
from dataops_dagster.text import one_line

HIDDEN = "*****"
_WIDTH = 100
_PARTS = 10_000
_LONGEST = 100_000
"""Of what is larger, the begin is looked at."""

_KINDS = ("password", "oauth")
_SECRET = re.compile(
    r"\w*(?:password|passwd|secret|token|apikey|accesskey|privatekey|secretkey)s?"
    r"|passphrase|passcode|pwd|credentials?|creds|authorization|bearer|jwt|private|pat"
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

_WORD = re.compile(r"[a-z]+")
_CAMEL = re.compile(r"([a-z0-9])([A-Z])")
_VARIABLE = re.compile(r"(?<!\\)\$(?:[A-Z_][A-Z0-9_]*|\{\w+\})")
_TELLING = re.compile(
    # A login in a URL, whose password may have a slash in it; `:8080/` is a port.
    r"://[^/\s:@]*:(?!\d+[/?#])[^\s@]{1,200}@"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?i:password|passwd|pwd|\bpass|(?:account|access|api|private|secret)[_-]?key|secret|token"
    r"|signature|\bsig)=[^;&\s]{3,}"
    r"|(?i:[\"'][\w-]{0,40}(?:password|secret|token|api_?key)[\"']\s?:\s?[\"'][^\"']{3})"
    r"|(?i:--[\w-]{0,40}(?:password|secret|token|api-?key) [^\s-]\S\S)"
    r"|(?i:\b(?:[\w-]{0,40}api-key|authorization|password): \S{3})"
    r"|(?i:\b(?:bearer|basic|token) )[\w+/=.-]{8,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|xapp-|[sr]k_live_|shp(?:at|ca|pa|ss)_"
    r"|npm_|hf_|dop_v1_|AIza|dapi(?=[0-9a-f]{20}))[\w-]{10,}"
    r"|\bsk-[\w-]{20,}|\bSG\.[\w-]{10,}\.[\w-]{10,}|hooks\.slack\.com/services/[\w/]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.[\w-]{5,}"
)
_HTTP_LOGIN = re.compile(r"https?://(?!git@)[^/\s@]+@")
_LOGIN = re.compile(r"://[^/\s@]+@")
_QUERY = re.compile(r"(?<=[?&])([\w-]{1,50}=)(?!\$)[^&#\s]+")
_NAMED = re.compile(r"(\W{0,100}([\w.-]{1,100})[\"']?\s{0,100}[:=](?!//)\s?)(.*)", re.DOTALL)
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
    # What identifies an account, a sheet or an application looks like a key, and is none.
    random = (name or setting.name for name, own in said if _is_random(own))
    return Secrecy.NONE if all(map(_is_id, random)) else Secrecy.LIKELY


def is_secret_name(name: str) -> bool:
    """Say whether a value behind this dotted name is a secret: `api_token` is, `token_url` is not."""
    parts = list(map(_words, name.split(".")))
    if name.startswith("_"):  # what an extra tells is about streams, whatever they are called
        parts = parts[-1:]
    last = parts[-1]
    if last[0] in ("max", "min", "num") or _ABOUT.fullmatch(last[-1]):
        return False
    return any(any(map(_SECRET.fullmatch, words)) or _ends_in_key(words) for words in parts)


def _words(name: str) -> list[str]:
    apart = _CAMEL.sub(r"\1_\2", name).lower()
    return _WORD.findall(apart.replace("pass_word", "password")) or [""]


def _ends_in_key(words: list[str]) -> bool:
    if words[-1] in ("pass", "cookie"):
        return True
    is_key = words[-1] in ("key", "keys") and len(words) > 1
    return is_key and not _OPEN_KEY.fullmatch(words[-2])


def _is_id(name: str) -> bool:
    words = _words(name)
    return words[-1] in ("id", "ids") and not any(
        word == "session" or _SECRET.fullmatch(word) for word in words
    )


def shown(setting: Setting | None) -> str:
    """Return a value as people may see it: short, inert, and without a secret; empty for none."""
    if setting is None:
        return ""
    return HIDDEN if secrecy(setting) is not Secrecy.NONE else brief(setting.value)


def masked(line: str) -> str:
    """Return a line of any file without what is surely a secret; a name before it stays."""
    match = _NAMED.match(line)
    begin, name, value = match.groups() if match else ("", "", line)
    is_secret = secrecy(Setting(name, value, Layer.BASE, "")) is Secrecy.CERTAIN
    return begin + HIDDEN if is_secret else line


def without_login(url: str) -> str:
    """Return a URL, or arguments of an installer, without logins and the values of queries."""
    return _QUERY.sub(rf"\1{HIDDEN}", _LOGIN.sub(f"://{HIDDEN}@", url))


def has_login(url: str) -> bool:
    """Say whether a URL has a login in it that is no mere variable; `git` alone is none."""
    return bool(_HTTP_LOGIN.search(_own(url)))


def brief(value: Any) -> str:
    """Return a value that is no secret on one short line; masks one that it has in it all the same."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = masked(one_line(text[: 10 * _WIDTH]))
    return f"{text[: _WIDTH - 1]}…" if len(text) > _WIDTH else text


def _leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what stands in a value, each with its key; no level of it is a call."""

    def walk() -> Iterator[tuple[str, Any]]:
        waiting = [("", value)]
        while waiting:
            name, found = waiting.pop()
            # The first is looked at first: of a long value people see the begin.
            if isinstance(found, dict):
                label = found.get("name") or found.get("key")  # beside a `value`
                inside = (
                    (label if key == "value" and label else key, v) for key, v in found.items()
                )
                waiting += [(str(key), inner) for key, inner in inside][::-1]
            elif isinstance(found, list | tuple):
                waiting += [(name, inner) for inner in reversed(found)]
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
