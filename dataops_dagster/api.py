"""JSON APIs over http: one request with a Bearer token, one bounded answer.

The token goes to the configured host only, in a header: never into a URL, an error or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from dataops_dagster.errors import ToolError
from dataops_dagster.exchange import Exchange

NOT_FOUND = 404


@dataclass(frozen=True)
class Api:
    """An API: where it is, who asks, and what a person checks when it says no.

    `name` says in errors whom we ask; `where` is the key of the configuration that has the token.
    """

    url: str
    name: str
    where: str
    token: str = field(repr=False)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask for a value; raises `ToolError`, whose `code` is the answer's status."""
        return self._ask("GET", path, query)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Ask for what is no JSON; raises `ToolError`, also for an answer that is too large."""
        return self._asked("GET", path, query, None)[1]

    def find(self, path: str, query: Mapping[str, str] | None = None) -> Any | None:
        """Ask for a value; None when there is none."""
        try:
            return self.get(path, query)
        except ToolError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def post(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask to make something; not asked again unless the server did nothing."""
        return self._ask("POST", path, query, form or {})

    def delete(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask to delete something; that it is gone already is no error."""
        try:
            return self._ask("DELETE", path, query, form)
        except ToolError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        asked, answer = self._asked(method, path, query, form)
        return asked.read(answer) if answer.strip() else None

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
    ) -> tuple[Exchange, bytes]:
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        check = f"check {self.where}"
        hints = {401: check, 403: check}
        asked = Exchange(method, url, headers, [self.token], self.name, hints, "error")
        return asked, asked.answer(None if form is None else urlencode(form).encode())
