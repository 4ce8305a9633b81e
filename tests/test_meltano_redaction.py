"""No secret of a configuration is shown, and what is none stays readable."""

from __future__ import annotations

import time

import pytest

from dataops_dagster.meltano.model import Layer, Setting
from dataops_dagster.meltano.redaction import HIDDEN, Secrecy, is_secret_name, secrecy, shown


def setting(value, name="host", **more) -> Setting:
    return Setting(name, value, Layer.BASE, "tap-x", **more)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "clientSecret",
        "client-secret",
        "api_token",
        "accessToken",
        "api_key",
        "apikey",
        "private_key",
        "credentials",
        "credentials.client",
        "service_account_key",
        "auth.headers.Authorization",
        "secret_key_base",
        "PGPASSWORD",
        "clientsecret",
        "APIToken",
        "accesskey",
        "api_keys",
        "api_key_2",
        "password2",
        "db_pass",
        "session_cookie",
        "jwt",
        "passWord",
    ],
)
def test_a_name_tells_a_secret(name):
    assert is_secret_name(name)
    assert shown(setting("hunter2", name)) == HIDDEN
    assert shown(setting(12345, name)) == HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        "domain",
        "client_id",
        "token_url",
        "private_key_path",
        "credentials.project_id",
        "max_tokens",
        "primary_key",
        "replication-key",
        "_metadata.tokens.replication-key",
        "_select",
        "key_properties",
        "monkey",
        "public_key",
        "secret_name",
        "password_file",
        "compass",
        "compass_through",
        "sort_keys",
    ],
)
def test_a_name_that_only_sounds_like_one_tells_none(name):
    assert not is_secret_name(name)
    assert shown(setting("updated_at", name)) == "updated_at"


@pytest.mark.parametrize(
    "value",
    [
        "postgres://ada:hunter2@db.example.com/shop",
        "postgres://:hunter2@db.example.com/shop",
        "Server=db;User Id=sa;Password=hunter2;",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
        "Bearer abcdefgh12345",
        "ghp_abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        ["fine", {"x": "https://u:pw@example.com"}],
        {"outer": {"password": "short"}},
        [{"api_key": 7}],
        "postgres://ada:hun/ter2@db.example.com/shop",
        '{"user": "ada", "password": "hunter2"}',
        "https://example.com/feed?api_key=abc123",
        "https://example.blob.core.windows.net/box?sv=1&sig=abc%3D",
        "SharedAccessKey=abcdef",
        "--user ada --db-password hunter2",
        "X-API-Key: abc123def",
        "https://hooks.slack.com/services/T0/B0/abcdEFGH",
        "AIzaSyA-abcdefghij0123456789",
        [{"name": "Authorization", "value": "hunter2"}],
        [{"password": "hunter2"}, *["x"] * 20_000],
    ],
)
def test_a_value_tells_a_secret_itself(value):
    assert secrecy(setting(value)) is Secrecy.CERTAIN
    assert shown(setting(value)) == HIDDEN


@pytest.mark.parametrize(
    "value",
    [
        "39Pu9tTomnTv594VAFYnmRvkEpSlI7a6",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "account=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY9",
    ],
)
def test_a_long_random_word_is_likely_to_be_a_secret(value):
    assert secrecy(setting(value, "app")) is Secrecy.LIKELY
    assert shown(setting({"session_id": value})) == HIDDEN


@pytest.mark.parametrize("name", ["client_id", "spreadsheet_id", "outer.clientId"])
def test_what_identifies_is_shown_however_random_it_looks(name):
    value = "39Pu9tTomnTv594VAFYnmRvkEpSlI7a6"
    assert shown(setting(value, name)) == value
    assert secrecy(setting({"client_id": value}, "config")) is Secrecy.NONE


@pytest.mark.parametrize(
    "piece", ["://:a", "--", "'", '"password" ', "a-", "bearer ", "://", "pass", "sk-", "${A}"]
)
def test_a_long_value_is_looked_at_in_time_that_grows_with_its_length(piece):
    def cost(length: int) -> float:
        begin = time.process_time()
        shown(setting(piece * (length // len(piece))))
        return time.process_time() - begin

    cost(1000)
    assert cost(100_000) < 30 * max(cost(10_000), 0.01)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("matatika-staging.eu.auth0.com", "matatika-staging.eu.auth0.com"),
        ("8c07f654-6908-4b51-acef-8de3d37aecac", "8c07f654-6908-4b51-acef-8de3d37aecac"),
        ("output/staging/2026-11-22/users_by_region_v2.jsonl", None),
        ("postgres://ada@db.example.com/shop", None),
        ("analytics_warehouse_staging_2024_eu_west_1", None),
        ("2026-11-22T00:00:00+00:00", None),
        ("https://example.com:8080/users/@ada", None),
        ("arn:aws:secretsmanager:eu-west-1:1:secret:prod/db", None),
        (5000, "5000"),
        (True, "true"),
        (None, "null"),
        ("", ""),
        ([], "[]"),
        (["users.*", "!users.ssn"], '["users.*", "!users.ssn"]'),
    ],
)
def test_what_is_no_secret_is_shown(value, told):
    assert shown(setting(value)) == (value if told is None else told)


@pytest.mark.parametrize("value", ["$TAP_X_PASSWORD", "${DB_PASSWORD}", "'$A'", True, None, ""])
def test_what_only_names_a_variable_is_shown_even_where_it_is_sensitive(value):
    assert shown(setting(value, "password", sensitive=True)) != HIDDEN


def test_a_login_that_is_made_of_variables_is_shown():
    url = "postgres://ada:${PG_PASSWORD}@db.example.com/shop"
    assert shown(setting(url)) == url


@pytest.mark.parametrize("value", ["$lower_case", r"\$ESCAPED", "x$A"])
def test_what_only_resembles_a_variable_is_hidden_where_it_is_sensitive(value):
    assert shown(setting(value, sensitive=True)) == HIDDEN


@pytest.mark.parametrize("more", [{"sensitive": True}, {"kind": "password"}, {"kind": "oauth"}])
def test_what_is_declared_to_be_secret_is_hidden_whatever_it_is_called(more):
    assert shown(setting("x", "host", **more)) == HIDDEN


def test_what_is_shown_is_short_and_keeps_on_its_line():
    told = shown(setting("a\x1b[2J\nb " + "x" * 10_000))
    assert told.startswith("a[2J b x")
    assert len(told) == 100


def test_a_value_nested_without_end_is_looked_through():
    value: list = []
    for _ in range(50_000):
        value = [value]
    assert secrecy(setting(value)) is Secrecy.NONE


def test_nothing_is_shown_of_a_setting_that_is_not_there():
    assert shown(None) == ""
