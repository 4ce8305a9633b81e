"""What each setting is in each environment, and which layer says so."""

from __future__ import annotations

import json

import pytest

from dataops_dagster.meltano.dotenv import read_dotenv
from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.model import Configuration, Layer
from dataops_dagster.meltano.printed import Part, Unprintable, printed
from dataops_dagster.meltano.project import load
from dataops_dagster.meltano.resolving import Secrets, resolve, resolve_all
from tests.meltano_cases import AUTH0

LAYERS = """\
env: {TAP_X_SHADOWED: of the project}
environments:
- name: dev
  env: {TAP_X_NAMED: '$WHO'}
  config:
    plugins:
      extractors:
      - name: tap-x
        config:
          b: environment
          c: ${SECRET}
plugins:
  extractors:
  - name: tap-x
    namespace: tap_x
    settings:
    - {name: a, value: default}
    - {name: count, kind: integer, sensitive: true}
    config:
      b: base
      shadowed: base
      named: base
      count: $COUNT
      d: {e: [$ONE, '\\$TWO']}
    select: [$STREAM.*]
  - name: heir
    inherit_from: tap-x
    config: {own: 1}
"""


def asked(text: str, environment: str | None = None, name: str = "tap-x", **given) -> Configuration:
    project = load(GivenFiles({"meltano.yml": text}))
    plugin = project.plugin("extractors", name)
    assert plugin
    return resolve(project, plugin, environment, **given)


def test_the_example_that_everybody_starts_with_holds():
    project = load(GivenFiles(AUTH0))
    told = {
        c.environment: {
            name: (c.settings[name].value, c.settings[name].layer.value)
            for name in ("domain", "client_id")
        }
        for c in resolve_all(project, [None, "dev", "staging", "prod"])
    }
    staging = ("matatika-staging.eu.auth0.com", "base")
    assert told == {
        None: {"domain": staging, "client_id": (None, "default")},
        "dev": {"domain": staging, "client_id": ("client-of-dev", "environment")},
        "staging": {"domain": staging, "client_id": ("client-of-staging", "environment")},
        "prod": {
            "domain": ("matatika.eu.auth0.com", "environment"),
            "client_id": ("client-of-prod", "environment"),
        },
    }


def test_each_value_says_which_layer_it_came_from_and_where_it_stands():
    found = asked(LAYERS, "dev").settings
    told = {name: (s.layer, s.value, s.place and s.place.line) for name, s in found.items()}
    assert told["a"] == (Layer.DEFAULT, "default", 17)
    assert told["b"] == (Layer.ENVIRONMENT, "environment", 10)
    assert told["count"] == (Layer.BASE, "$COUNT", 23)
    assert told["shadowed"] == (Layer.VARIABLE, "of the project", 1)
    assert told["_select"] == (Layer.BASE, ["$STREAM.*"], 25)
    assert found["count"].sensitive


def test_without_variables_their_names_stay_and_are_listed():
    found = asked(LAYERS, "dev").settings
    assert {name: s.variables for name, s in found.items() if s.variables} == {
        "named": ("WHO",),
        "count": ("COUNT",),
        "c": ("SECRET",),
        "d.e": ("ONE",),
        "_load_schema": ("MELTANO_EXTRACTOR_NAMESPACE",),
        "_select": ("STREAM",),
    }
    assert found["named"].value == "$WHO"
    assert found["d.e"].value == ["$ONE", r"\$TWO"]


def test_without_variables_no_process_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAP_X_B", "of the process")
    monkeypatch.setenv("SECRET", "of the process")
    assert "of the process" not in str(asked(LAYERS, "dev"))


def test_with_variables_values_are_put_in():
    given = {"SECRET": "s3", "COUNT": "7", "ONE": "1", "TAP_X_A": "given"}
    found = asked(LAYERS, "dev", variables=given, dotenv={"ONE": "file"}).settings
    assert (found["c"].value, found["count"].value) == ("s3", 7)
    assert found["d.e"].value == ["1", "$TWO"]
    assert (found["a"].layer, found["a"].value) == (Layer.VARIABLE, "given")
    assert (found["named"].layer, found["named"].value) == (Layer.VARIABLE, "")


def test_a_dotenv_file_is_a_layer_below_the_process():
    dotenv = read_dotenv(
        "TAP_X_A='file'\nTAP_X_D_E=[1]\nexport WHO=\"me, ${USER}\"\n", {"USER": "ada"}
    )
    assert dotenv["WHO"] == "me, ada"
    found = asked(LAYERS, variables={"TAP_X_D_E": "[2]"}, dotenv=dotenv).settings
    assert (found["a"].layer, found["a"].value) == (Layer.DOTENV, "file")
    assert (found["d.e"].layer, found["d.e"].value) == (Layer.VARIABLE, [2])


def test_an_inherited_value_says_whose_it_is():
    found = asked(LAYERS, "dev", "heir").settings
    assert {n: (found[n].plugin, found[n].layer) for n in ("a", "b", "own")} == {
        "a": ("tap-x", Layer.DEFAULT),
        "b": ("tap-x", Layer.ENVIRONMENT),
        "own": ("heir", Layer.BASE),
    }


def test_what_meltano_fails_for_is_a_failure_and_no_exception():
    clash = "plugins: {extractors: [{name: tap-x, namespace: x, config: {a: 1}}]}\n"
    failure = asked(clash, variables={"TAP_X_A": "1", "X_A": "1"}).failure
    assert failure == "a is set by several variables: TAP_X_A, X_A"
    assert asked(clash, "nowhere").failure == "the environment nowhere is not defined"
    with pytest.raises(Unprintable, match="nowhere"):
        printed(asked(clash, "nowhere"))


def test_a_failure_never_repeats_a_value():
    found = asked(LAYERS, variables={"COUNT": "hunter2"})
    assert found.failure == "the value of count is no integer"
    assert "hunter2" not in str(found)


def test_printing_is_nested_without_nulls_and_extras_are_printed_alone():
    found = asked(LAYERS, "dev", variables={"COUNT": "7"})
    assert json.loads(printed(found)) == {
        "a": "default", "b": "environment", "count": 7, "shadowed": "of the project", "named": "",
        "d": {"e": ["", "$TWO"]},
    }  # fmt: skip
    assert json.loads(printed(found, Part.EXTRAS))["_select"] == [".*"]


def test_secrets_may_be_stars():
    found = asked(LAYERS, variables={"COUNT": "7"}, secrets=Secrets.STARRED)
    assert found.settings["count"].value == "*****"
    assert asked(LAYERS, variables={"COUNT": "7"}).settings["count"].value == 7
