"""How we log in to Meltano Cloud: by a token from a variable, or by one that an API key is good for.

Secrets are read when they are needed, and written nowhere.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataops_dagster.errors import ConfigError
from dataops_dagster.exchange import Exchange
from dataops_dagster.settings_steps import MeltanoCloudStep

_SECRET = re.compile(r"[!-~]+")
_MARGIN_SECONDS = 60.0
_got: dict[tuple[KeyLogin, str], tuple[str, float]] = {}


@dataclass(frozen=True)
class TokenLogin:
    """A token of the API. Source: <https://www.matatika.com/docs/security>."""

    variable: str

    @property
    def refused(self) -> str:
        """What helps when the token is not taken."""
        return f"put a fresh token into {self.variable}; one of the app's lasts two hours"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown."""
        return (_given(self.variable),)

    def token(self) -> str:
        """Return the token; raises `ConfigError` if there is none."""
        return _required(self.variable)


@dataclass(frozen=True)
class KeyLogin:
    """An API key, which its vendor's own programs give to Auth0 for a token of the API.

    Source: <https://docs.meltano.com/reference/cloud/api/resources/apikeys> for the key; for what is
    asked with it, `auth.py` of the package matatika and `meltano/core/cloud/config.py` of meltano.
    """

    id_variable: str
    secret_variable: str
    identity_url: str
    audience: str

    @property
    def refused(self) -> str:
        """What helps when the key, or the token that it was good for, is not taken."""
        return f"check the API key in {self.id_variable} and {self.secret_variable}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown."""
        known = (token for (login, _), (token, _) in _got.items() if login == self)
        return (_given(self.secret_variable), *known)

    def token(self) -> str:
        """Return a token that this process got before and that still counts, or a new one."""
        secret = _required(self.secret_variable)
        token, end = _got.get((self, secret), ("", 0.0))
        if time.monotonic() < end:
            return token
        token, seconds = self._get(secret)
        _got[self, secret] = token, time.monotonic() + seconds - _MARGIN_SECONDS
        return token

    def _get(self, secret: str) -> tuple[str, float]:
        exchange = asked("POST", f"{self.identity_url}/oauth/token", {}, self)
        answer: Any = exchange.json(
            {
                "client_id": _required(self.id_variable),
                "client_secret": secret,
                "audience": self.audience,
                "grant_type": "client_credentials",
            }
        )
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not _SECRET.fullmatch(token):
            raise exchange.error(None, "its answer holds no token")
        seconds = answer.get("expires_in")
        return token, float(seconds) if isinstance(seconds, int) else 0.0


def login_of(step: MeltanoCloudStep) -> TokenLogin | KeyLogin:
    """Return how a step logs in."""
    if step.client_id_variable and step.client_secret_variable:
        return KeyLogin(
            step.client_id_variable, step.client_secret_variable, step.identity_url, step.url
        )
    return TokenLogin(step.token_variable)


def _given(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _required(variable: str) -> str:
    found = _given(variable)
    if _SECRET.fullmatch(found):
        return found
    problem = "holds what cannot be one" if found else "is not set"
    raise ConfigError.at(
        "meltano_cloud",
        f"the environment variable {variable} {problem}",
        "set it to a token, or a part of an API key, where Dagster's processes, or this command,"
        " are started",
    )


def asked(
    method: str, url: str, headers: Mapping[str, str], login: TokenLogin | KeyLogin
) -> Exchange:
    """Return a request to Meltano Cloud, whose errors hold nothing of a login.

    Source: <https://docs.meltano.com/reference/cloud/api/errors>.
    """
    hints = {
        300: "write the URL that it sends to as url, if it is Meltano Cloud's",
        401: login.refused,
        403: "ask for the role of an owner or administrator of the workspace",
    }
    return Exchange(method, url, headers, login.secrets, "Meltano Cloud", hints, "message")
