"""Answers about a workspace's tokens: lists, creates and alters them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from dataops_dagster.testing.tinybird.account import Account, Token, Who, make_token
from dataops_dagster.testing.tinybird.datasources import own
from dataops_dagster.testing.tinybird.exchange import Answer, Json, Refused, Request, as_json


def show_all(_account: Account, _request: Request, who: Who) -> Answer:
    """List a workspace's tokens."""
    return as_json({"tokens": [_describe(token) for token in own(who).tokens.values()]})


def show(_account: Account, request: Request, who: Who) -> Answer:
    """Describe a token by its name."""
    return as_json(_describe(_find(request, who)))


def create(_account: Account, request: Request, who: Who) -> Answer:
    """Make a token of a name with scopes."""
    name = request.query.get("name", "")
    if not name or name in own(who).tokens:
        raise Refused(400, f"Auth token with name '{name}' already exists")
    made = Token(name, make_token(), _scopes(request))
    own(who).tokens[name] = made
    return as_json(_describe(made))


def alter(_account: Account, request: Request, who: Who) -> Answer:
    """Give a token other scopes."""
    found = _find(request, who)
    found.scopes = _scopes(request)
    return as_json(_describe(found))


def delete(_account: Account, request: Request, who: Who) -> Answer:
    """Delete a token."""
    del own(who).tokens[_find(request, who).name]
    return as_json({"ok": True})


def _find(request: Request, who: Who) -> Token:
    named = request.groups["name"]
    for token in own(who).tokens.values():
        if named in (token.name, token.token):
            return token
    raise Refused(404, f"Token {named} not found")


def _scopes(request: Request) -> list[Json]:
    asked = [*parse_qsl(urlsplit(request.target).query), *parse_qsl(request.body.decode())]
    return [_scope(value) for key, value in asked if key == "scope"]


def _scope(value: str) -> Json:
    parts = value.split(":")
    if value in ("ADMIN", "WORKSPACE:DEPLOY") or len(parts) < 3:  # noqa: PLR2004  # kind:right:name
        return {"type": value}
    return {"type": ":".join(parts[:2]), "resource": parts[2]}


def _describe(token: Token) -> Json:
    return {"id": token.name, "name": token.name, "token": token.token, "scopes": token.scopes}
