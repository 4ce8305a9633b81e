"""Text from repositories, servers and programs, made inert before anybody reads it; and moments. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def inert(text: str) -> str:
    """Drop what could steer a terminal or reorder text: control, escape and bidi characters."""
    return "".join(c for c in text if c == "\t" or (c.isprintable() and c not in _BIDI))


def inert_lines(text: str) -> str:
    """Make a text inert line by line; its lines stay apart."""
    return "\n".join(map(inert, text.split("\n")))


def one_line(text: str) -> str:
    """Keep text on its line and inert: what it says could otherwise pass for another line."""
    return " ".join(filter(None, map(inert, text.split())))


def moment(when: datetime) -> str:
    """Write a moment for people, in UTC and to the minute."""
    return f"{when.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def span(length: timedelta) -> str:
    """Write a length of time as it stands in a configuration: 1d 2h."""
    seconds = int(length.total_seconds())
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or "0s"
