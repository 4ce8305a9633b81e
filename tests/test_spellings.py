"""A secret is found in the spellings in which programs and servers give it away."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster import process
from dataops_dagster.spellings import all_spellings, spellings

PASSWORD = "p@ss/w0rd+é\"'<&>"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"

LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(LETTERS, max_size=5)


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "line",
    [
        PASSWORD,
        f"postgresql://ada:{quote(PASSWORD, safe='')}@host/db",
        f"GET /?{urlencode({'token': PASSWORD})}",
        quote_plus(PASSWORD),
        json.dumps({"password": PASSWORD}),
        json.dumps({"password": PASSWORD}, ensure_ascii=False),
        str({"password": PASSWORD}),
        f"Authorization: Basic {basic('ada:' + PASSWORD)}",
        f"Authorization: Basic {basic('bob.x:' + PASSWORD)}",
        f"Authorization: Basic {basic('x:' + PASSWORD)} and more",
        basic(PASSWORD),
        base64.urlsafe_b64encode(PASSWORD.encode()).decode(),
    ],
)
def test_a_password_is_cut_out_however_it_is_written(line):
    told = process.clean(line, spellings(PASSWORD))
    assert process.REDACTED in told
    assert "w0rd" not in told


@pytest.mark.parametrize("line", KEY.splitlines())
def test_each_line_of_a_key_is_cut_out(line):
    assert process.clean(f"  {line}", spellings(KEY)).strip() == process.REDACTED


def test_a_line_that_stands_everywhere_is_no_part_of_a_secret():
    told = '{\n  "private_key": "abcdefgh"\n}\n'
    assert process.clean("{ }", spellings(told)) == "{ }"


@given(before=TEXT, secret=st.text(LETTERS, min_size=8, max_size=40), after=TEXT)
def test_what_is_left_of_base64_does_not_tell_the_secret(before, secret, after):
    data = (before + secret + after).encode("utf-8", "strict")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert any(letters in encode(data).decode() for letters in spellings(secret))


def test_several_secrets_are_spelled_each_once():
    assert len(all_spellings(["a-secret", "a-secret"])) == len(spellings("a-secret"))
