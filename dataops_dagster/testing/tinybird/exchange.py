"""What is asked over http and what is answered, as values. Knows nothing of Tinybird's state."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from email.parser import BytesParser
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818  # an answer on its way up, not something that broke
    """The answer is no: an http status and what the client is told."""

    def __init__(self, status: int, error: str, **more: object) -> None:
        super().__init__(error)
        self.status = status
        self.body: Json = {"error": error, **more}


@dataclass(frozen=True)
class Part:
    """A part of a multipart body: a file has a name."""

    field: str
    filename: str
    content: bytes


@dataclass(frozen=True)
class Request:
    """One request; `groups` are what its route found in the path."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    groups: dict[str, str] = field(default_factory=dict)

    @cached_property
    def path(self) -> str:
        """The path without its query and without a slash at its end."""
        return unquote(urlsplit(self.target).path).rstrip("/") or "/"

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's parameters; of one that is repeated, the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form that was sent as body, after those of the query."""
        if "x-www-form-urlencoded" not in self.headers.get("content-type", ""):
            return self.query
        return {**self.query, **dict(parse_qsl(self.body.decode(), keep_blank_values=True))}

    @cached_property
    def json(self) -> Json:
        """The body as a JSON object; raises `Refused` when it is none."""
        try:
            told = json.loads(self.body or b"{}")
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise Refused(400, "The body is no JSON object")
        return told

    @cached_property
    def content(self) -> bytes:
        """The body as it was before it was packed."""
        packed = self.headers.get("content-encoding") == "gzip"
        return gzip.decompress(self.body) if packed else self.body

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of a multipart body; none when it is another kind of body."""
        kind = self.headers.get("content-type", "")
        if not kind.startswith("multipart/"):
            return ()
        message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.body)
        found = []
        for part in message.get_payload():
            name = part.get_param("name", "", "content-disposition")  # type: ignore[union-attr]
            content = part.get_payload(decode=True)  # type: ignore[union-attr]
            found.append(Part(str(name), part.get_filename() or "", content))  # type: ignore[union-attr,arg-type]
        return tuple(found)

    @property
    def token(self) -> str:
        """The token, from the header `Authorization` or from the query; empty when there is none."""
        bearer = self.headers.get("authorization", "").partition("Bearer ")[2]
        return bearer or self.query.get("token", "")


@dataclass(frozen=True)
class Answer:
    """One answer: a status and a body of a type."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"


def as_json(told: Json, status: int = 200) -> Answer:
    """Return an answer that is a JSON object."""
    return Answer(status, json.dumps(told).encode())


def as_text(text: str, kind: str = "text/plain") -> Answer:
    """Return an answer that is text; the clients compare its type letter by letter."""
    return Answer(200, text.encode(), kind)
