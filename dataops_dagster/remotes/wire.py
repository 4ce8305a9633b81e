"""git's wire protocol as bytes: what to ask a server, and what its answer says; no I/O of its own.

Look-ups and fetches speak protocol v2, pushes v0, as git does; both over any stateless service
that takes one request and gives one answer. Source: gitprotocol-v2(5), gitprotocol-pack(5).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from dataops_dagster.text import inert

_HEADER = 4
_LONGEST = 65_520
_DELIMITER = b"0001"
FLUSH = b"0000"
_PACK, _PROGRESS, _FATAL = 1, 2, 3
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}([0-9a-f]{24})?")
_SIZE = re.compile(rb"[0-9a-fA-F]{4}")
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""More than this is no answer to a look-up or a push."""

_SAID_BYTES = 65_536
_SAID_CHARACTERS = 500
"""How much is kept of what a server says to people, and of each line or reason of it."""

NOTHING = "0" * 40
"""What stands for "no object" where a ref is made or removed."""


class Unspoken(Exception):  # noqa: N818  # its name is what happened
    """The server's answer is not in this protocol."""


class ServerRefused(Exception):  # noqa: N818  # its name is what happened
    """The server said why it does not answer; its words are inert."""


class Shallow(Exception):  # noqa: N818  # its name is what happened
    """The server's repository lacks a part of its history."""


@dataclass(frozen=True)
class Report:
    """What became of a push: refused refs with the reason, and what the server's hooks said."""

    refused: Mapping[str, str]
    said: tuple[str, ...]


def line(text: str) -> bytes:
    """Return one packet."""
    data = text.encode() + b"\n"
    return b"%04x%s" % (len(data) + _HEADER, data)


def packets(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Yield an answer's packets, None for a flush or a delimiter; raises `Unspoken`."""
    while header := stream.read(_HEADER):
        if not _SIZE.fullmatch(header):
            raise Unspoken
        size = int(header, 16)
        if size < _HEADER:
            yield None
            continue
        data = stream.read(size - _HEADER) if size <= _LONGEST else b""
        if len(data) < size - _HEADER:
            raise Unspoken
        if data.startswith(b"ERR "):
            raise ServerRefused(said(data[_HEADER:].decode("utf-8", "replace")))
        yield data


def said(text: str) -> str:
    """Return what a server says as people may read it: inert, and short."""
    return inert(text).strip()[:_SAID_CHARACTERS]


# --- looking up -------------------------------------------------------------------------------


def refs_request(prefixes: Iterable[str]) -> bytes:
    """Ask for all refs that begin with one of `prefixes`."""
    head = line("command=ls-refs") + _DELIMITER + line("peel")
    return head + b"".join(line(f"ref-prefix {prefix}") for prefix in prefixes) + FLUSH


def refs(stream: IO[bytes]) -> dict[str, str]:
    """Read the refs: name to object id; an annotated tag's commit as `NAME^{}`."""
    found, ended = {}, False
    for packet in packets(stream):
        ended = packet is None
        if packet is None:
            break
        id_, name, *more = [*packet.rstrip(b"\n").split(b" "), b""]
        ref = name.decode("utf-8", "backslashreplace")
        found[ref] = _id(id_)
        for word in more:
            if word.startswith(b"peeled:"):
                found[f"{ref}^{{}}"] = _id(word.removeprefix(b"peeled:"))
    if not ended:
        raise Unspoken
    return found


def offered_refs(stream: IO[bytes]) -> set[str]:
    """Read the names of the refs that a server offers to a push."""
    lines = (packet.partition(b"\0")[0].rstrip(b"\n") for packet in packets(stream) if packet)
    return {line.partition(b" ")[2].decode("utf-8", "backslashreplace") for line in lines}


def capabilities(stream: IO[bytes]) -> dict[str, str]:
    """Read what a server says it can, from either protocol's advertisement."""
    found: dict[str, str] = {}
    for packet in packets(stream):
        if packet is None or packet.startswith(b"# service="):
            continue
        # v0 says it behind the first ref's NUL, v2 one a packet.
        text = packet.partition(b"\0")[2] if b"\0" in packet else packet
        words = (
            text.decode("utf-8", "replace").split()
            if b"\0" in packet
            else [text.decode("utf-8", "replace")]
        )
        for word in words:
            name, _, value = word.strip().partition("=")
            found[name] = value
        if b"\0" in packet:
            break
    return found


# --- fetching ---------------------------------------------------------------------------------


def fetch_request(
    wants: Iterable[str], haves: Iterable[str], *, thin: bool, without_blobs: bool
) -> bytes:
    """Ask for a pack with `wants` and their history, without what comes with `haves`."""
    lines = ["thin-pack"] if thin else []
    lines += ["no-progress", "ofs-delta"]
    lines += ["filter blob:none"] if without_blobs else []
    lines += [*(f"want {id_}" for id_ in wants), *(f"have {id_}" for id_ in haves), "done"]
    head = line("command=fetch") + _DELIMITER
    return head + b"".join(map(line, lines)) + FLUSH


def pack(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the pack's bytes from a fetch's answer; raises `Shallow`, `ServerRefused`."""
    answer = packets(stream)
    for packet in answer:
        section = (packet or b"").rstrip(b"\n")
        if section == b"shallow-info":
            raise Shallow
        if section == b"packfile":
            yield from _band(answer, bytearray())
            return
    raise Unspoken


def _band(answer: Iterator[bytes | None], told: bytearray) -> Iterator[bytes]:
    """Take the side bands apart: yield the data, collect what is for people, the begin of it."""
    for packet in answer:
        if packet is None:
            return
        kind, data = packet[0] if packet else 0, packet[1:]
        if kind == _PACK:
            yield data
        elif kind == _PROGRESS:
            told += data[: _SAID_BYTES - len(told)]
        else:
            raise ServerRefused(said(data.decode("utf-8", "replace")))
    raise Unspoken  # cut off before its end


# --- pushing ----------------------------------------------------------------------------------

PUSH_CAPABILITIES = ("report-status", "atomic", "side-band-64k")
"""What a server must offer: it says what became of each ref, and moves all of them or none."""


def push_request(updates: Mapping[str, tuple[str | None, str]]) -> bytes:
    """Ask to move each ref from the one id to the other; the pack comes right behind.

    The server compares before it swaps: a ref that is elsewhere is refused.
    """
    lines: list[str] = []
    for ref, (old, new) in updates.items():
        wanted = "" if lines else f"\0 {' '.join(PUSH_CAPABILITIES)} agent=git/dataops"
        lines.append(f"{old or NOTHING} {new} {ref}{wanted}")
    return b"".join(map(line, lines)) + FLUSH


def report(stream: IO[bytes], refs: Sequence[str]) -> Report:
    """Read what became of the push of `refs`; raises `Unspoken` when that cannot be told."""
    told = bytearray()
    inner = b"".join(_band(packets(stream), told))
    status: dict[str, str | None] = {}
    unpacked = ""
    for text in _lines(inner):
        kind, _, rest = text.partition(" ")
        name, _, reason = rest.partition(" ")
        if kind == "unpack":
            unpacked = rest
        elif kind == "ok" and rest in refs:
            status[rest] = None
        elif kind == "ng" and name in refs:
            status[name] = said(reason)
    if unpacked != "ok":
        if not unpacked:
            raise Unspoken
        status = {ref: f"unpack failed: {said(unpacked)}" for ref in refs}
    refused = {ref: status.get(ref, "the server did not say") for ref in refs}
    return Report(
        {ref: reason for ref, reason in refused.items() if reason is not None},
        tuple(filter(None, map(said, told.decode("utf-8", "replace").splitlines()))),
    )


def _lines(inner: bytes) -> Iterator[str]:
    """Yield the lines of the report, which is packets within packets."""
    for packet in packets(io.BytesIO(inner)):
        if packet is None:
            return
        yield packet.decode("utf-8", "replace").rstrip("\n")


def _id(data: bytes) -> str:
    if not _OBJECT_ID.fullmatch(data):
        raise Unspoken
    return data.decode()
