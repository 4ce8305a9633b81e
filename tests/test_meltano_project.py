"""A Meltano project is read from its files: what it has, and what in it could not be taken in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dataops_dagster.committed import CommittedFiles
from dataops_dagster.git import Access
from dataops_dagster.meltano.files import LARGEST, GivenFiles
from dataops_dagster.meltano.matching import BadPattern, matching
from dataops_dagster.meltano.project import Project, load
from dataops_dagster.meltano.resolving import resolve, resolve_all
from dataops_dagster.store import Store
from tests.meltano_cases import AUTH0
from tests.repositories import make_workspace

CUSTOM = "plugins:\n  extractors:\n  - {name: tap-x, namespace: tap_x, config: {a: 1}}\n"


def project(text: str | bytes, **files: str) -> Project:
    return load(GivenFiles({"meltano.yml": text, **files}))


def problems(found: Project) -> list[str]:
    return [f"{p.place.path}:{p.place.line}: {p.reason}" for p in found.problems]


def test_a_project_has_what_its_files_name():
    found = project(
        """\
project_id: p-1
default_environment: dev
env: {A: 1}
environments:
- {name: dev, env: {B: x}, state_id_suffix: $S}
- name: prod
  config: {plugins: {extractors: [{name: tap-x}], loaders: [{name: target-x}]}}
plugins:
  extractors:
  - {name: tap-x, namespace: tap_x, pip_url: ./tap, executable: bin/tap, capabilities: [state]}
  - {name: tap-y, inherit_from: tap-x, variant: null}
  mappers:
  - {name: mapper, namespace: mapper, mappings: [{name: hide, config: {}}]}
jobs:
- {name: all, tasks: [tap-x hide target-x, [dbt:run, dbt:test]]}
schedules:
- {name: nightly, interval: '@daily', job: all, env: {C: 1}}
- {name: old, interval: 0 1 * * *, extractor: tap-x, loader: target-x, transform: skip}
"""
    )
    assert (found.project_id, found.default_environment, found.env) == ("p-1", "dev", {"A": 1})
    assert [(p.type, p.name, p.place.line) for p in found.plugins] == [
        ("extractors", "tap-x", 10),
        ("extractors", "tap-y", 11),
        ("mappers", "mapper", 13),
        ("mappers", "hide", 13),
    ]
    tap, heir, _, mapping = found.plugins
    assert (tap.pip_url, tap.executable, tap.capabilities) == ("./tap", "bin/tap", ("state",))
    assert (heir.inherit_from, heir.namespace, heir.pip_url) == ("tap-x", "tap_y", "./tap")
    assert mapping.parent == "mapper"
    assert [e.name for e in found.environments] == ["dev", "prod"]
    assert found.environments[0].state_id_suffix == "$S"
    assert set(found.environments[1].plugins) == {("extractors", "tap-x"), ("loaders", "target-x")}
    assert found.jobs[0].tasks == (("tap-x", "hide", "target-x"), ("dbt:run", "dbt:test"))
    assert [s.runs for s in found.schedules] == [("all",), ("tap-x", "target-x")]
    assert not found.problems
    assert not found.failure


def test_a_lock_file_defines_a_plug_in():
    (plugin,) = load(GivenFiles(AUTH0)).plugins
    assert plugin.definition == "plugins/extractors/tap-auth0--matatika.lock"
    assert plugin.namespace == "tap_auth0"
    assert plugin.capabilities == ("catalog", "discover", "state")


def test_a_plug_in_that_only_a_hub_knows_is_told_apart():
    found = project("plugins: {extractors: [{name: tap-y}]}\n")
    assert found.plugins[0].is_unlocked
    assert "would ask the hub" in resolve(found, found.plugins[0], None).failure


def test_of_two_entries_the_later_is_dead():
    found = project(
        "environments: [{name: dev}, {name: dev}]\n"
        "plugins: {loaders: [{name: t, namespace: a}, {name: t, namespace: b}]}\n"
    )
    assert [(p.name, p.namespace) for p in found.plugins] == [("t", "a")]
    assert len(found.environments) == 1
    assert [type(dead).__name__ for dead in found.dead] == ["Plugin", "Environment"]


def test_a_project_may_live_in_a_folder_of_its_repository():
    files = {f"data/{name}": content for name, content in AUTH0.items()}
    found = load(GivenFiles({**files, "meltano.yml": "no: project here"}), "data")
    assert found.plugins[0].definition == "data/plugins/extractors/tap-auth0--matatika.lock"
    assert found.plugins[0].place.path == "data/meltano.yml"


@pytest.mark.parametrize("without_blobs", [False, True], ids=["whole", "partial"])
def test_a_project_is_read_from_a_commit_without_a_checkout(tmp_path: Path, *, without_blobs: bool):
    workspace = make_workspace(tmp_path, "dev")
    commit = workspace.commit({**AUTH0, "big.yml": " " * (LARGEST + 1), "\u00e4/x.yml": "a: 1"})
    store = Store(tmp_path / "cache", "shop")
    access = Access(workspace.url, "workspaces.dev", ("file",))
    store.fetch(access, "main", commit, without_blobs=without_blobs)
    assert store.is_partial is without_blobs
    files = CommittedFiles(store, commit, access)
    assert load(files) == load(GivenFiles(AUTH0))
    assert "\u00e4/x.yml" in files.kinds()
    assert set(files.contents(["meltano.yml", "big.yml"])) == {"meltano.yml"}


def test_a_partial_cache_asks_for_all_lock_files_at_once(tmp_path: Path):
    workspace = make_workspace(tmp_path, "dev")
    lock = AUTH0["plugins/extractors/tap-auth0--matatika.lock"]
    plugins = ", ".join(f"{{name: tap-{n}}}" for n in range(9))
    locks = {
        f"plugins/extractors/tap-{n}--default.lock": lock.replace("tap-auth0", f"tap-{n}")
        for n in range(9)
    }
    commit = workspace.commit({"meltano.yml": f"plugins: {{extractors: [{plugins}]}}\n", **locks})
    store = Store(tmp_path / "cache", "shop")
    access = Access(workspace.url, "workspaces.dev", ("file",))
    store.fetch(access, "main", commit, without_blobs=True)
    before = set((store.folder / "objects").glob("pack/*.promisor"))
    assert not any(
        c.failure for c in resolve_all(load(CommittedFiles(store, commit, access)), [None])
    )
    assert len(set((store.folder / "objects").glob("pack/*.promisor")) - before) == 2


def test_a_link_is_told_and_not_followed(tmp_path: Path):
    workspace = make_workspace(tmp_path, "dev")
    (workspace.clone / "meltano.yml").symlink_to("/etc/passwd")
    commit = workspace.commit({"other.yml": CUSTOM})
    store = Store(tmp_path / "cache", "shop")
    store.fetch(Access(workspace.url, "workspaces.dev", ("file",)), "main", commit)
    found = load(CommittedFiles(store, commit))
    assert problems(found) == ["meltano.yml:1: this is a symbolic link, which is not followed"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
HOSTILE = {
    "aliases that multiply": (BOMB, "it has more than 200000 values"),
    "an alias inside its anchor": ("a: &a [*a]\n", ":1: the alias *a stands inside its own anchor"),
    "an alias of nothing": ("a: *b\n", "no anchor &b stands before"),
    "an object's tag": (
        "x: 1\na: !!python/object/apply:os.system [ls]\n",
        ":2: the tag tag:yaml.org",
    ),
    "deep nesting": ("a: " + "[" * 100_000, "nested deeper than 60"),
    "deep blocks": ("- " * 100_000, "nested deeper than 60"),
    "no utf-8": (b"a: 1\nb: \xff\n", ":2: this is no UTF-8"),
    "a control character": ("a: 1\nb: \0\n", ":2: this is no YAML"),
    "too large": (" " * (LARGEST + 1), "larger than"),
    "no yaml": ("a: 1\nb: [\n", "this is no YAML"),
    "an impossible date": ("a: 1\nb: 2024-13-99\n", ":2: this is no timestamp"),
    "an enormous number": ("b: " + "9" * 500_000, "this is no int"),
    "two documents": ("a: 1\n---\nb: 1\n", "a second document"),
    "an include beyond the project": ("include_paths: [../x.yml]\n", "leaves the project"),
    "an absolute include": ("include_paths: [/etc/passwd]\n", "leaves the project"),
    "many patterns": ("include_paths: [" + "'**/*/**/*'," * 9000 + "]\n", "more than 50 patterns"),
    "plug-ins that inherit in a circle": (
        "x: {<<: 5}\nplugins: {extractors: [{name: a, inherit_from: b}, {name: b, inherit_from: a}]}\n",
        "names something that is no mapping",
    ),
    "an endless key": ("x" * 500_000 + ": 1\n", "this is no YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hostile_file_holds_is_named_within_bounds(name: str):
    text, reason = HOSTILE[name]
    started = time.process_time()
    found = project(text)
    list(resolve_all(found, [None]))
    assert any(reason in problem for problem in problems(found)), problems(found)
    assert all(len(problem) < 300 for problem in problems(found))
    assert time.process_time() - started < 10
    if name != "an object's tag":
        assert found.failure


def test_a_problem_never_repeats_a_value():
    found = project("a: 1\nsecret: 2024-99-99\n")
    assert "2024" not in str(found.problems)


def test_the_rest_of_a_project_is_still_shown():
    found = project(
        "include_paths: ['*.inc']\n"
        + CUSTOM
        + "  loaders: [{name: 5}, {name: target-x, namespace: t}]\n",
        **{"bad.inc": "a: [", "good.inc": "environments: [{name: dev, env: {TAP_X_A: 2}}]\n"},
    )
    assert [p.place.path for p in found.problems] == ["bad.inc", "meltano.yml"]
    assert [p.name for p in found.plugins] == ["tap-x", "target-x"]
    configuration = resolve(found, found.plugins[0], "dev")
    assert configuration.failure.startswith("bad.inc:")  # Meltano would answer nothing
    assert configuration.settings["a"].value == 2


def test_a_value_that_cannot_be_read_spoils_only_its_plug_in():
    found = project(CUSTOM + "  loaders: [{name: t, namespace: t, config: {a: !x y}}]\n")
    assert "the tag !x is not read" in resolve(found, found.plugins[1], None).failure
    assert resolve(found, found.plugins[0], None).settings["a"].value == 1


def test_chains_and_objects_are_followed_within_bounds():
    chain = "".join(f"  - {{name: t{i}, inherit_from: t{i + 1}}}\n" for i in range(1500))
    objects = "".join(f"    - {{name: {'a.' * i}a, kind: object}}\n" for i in range(1, 300))
    found = project(
        f"plugins:\n  extractors:\n{chain}  loaders:\n  - name: t\n    namespace: t\n    settings:\n{objects}"
    )
    started = time.process_time()
    assert sum(bool(c.failure) for c in resolve_all(found, [None])) >= 1500
    assert time.process_time() - started < 10


def test_objects_in_objects_are_not_put_together_beyond_bounds():
    objects = "".join(f"\n    - {{name: {'.'.join('a' * n)}, kind: object}}" for n in range(1, 61))
    found = project(f"{CUSTOM}  - name: tap-o\n    namespace: o\n    settings:{objects}\n")
    started = time.process_time()
    failures = [c.failure for c in resolve_all(found, [None])]
    assert time.process_time() - started < 2
    assert failures[0] == ""
    assert "repeat over 20000 values" in failures[1]


@pytest.mark.parametrize("value", ["[" * 500 + "]" * 500, '{"a":' * 500 + "1" + "}" * 500])
def test_a_lock_file_that_is_nested_deeply_is_told_and_not_followed(value: str):
    path = "plugins/extractors/tap-l--default.lock"
    lock = '{"plugin_type": "extractors", "name": "tap-l", "namespace": "l", "x": ' + value + "}"
    found = project(f"{CUSTOM}  - name: tap-l\n", **{path: lock})
    assert problems(found) == [f"{path}:1: it is nested deeper than 60 levels"]
    assert [bool(c.failure) for c in resolve_all(found, [None])] == [False, True]


def test_an_environment_after_an_empty_entry_is_not_found():
    found = project("environments:\n- name: dev\n-\n- name: prod\n" + CUSTOM)
    assert [environment.name for environment in found.environments] == ["dev"]
    assert problems(found) == [
        "meltano.yml:1: an entry is empty, and Meltano finds no environment after it"
    ]
    assert not found.failure


def test_values_do_not_grow_beyond_bounds():
    found = project(
        f"env: {{A: {'x' * 100_000}}}\nplugins: {{extractors: [{{name: t, namespace: t, config: {{a: {'$A' * 100_000}}}}}]}}\n"
    )
    assert "over 1048576 characters" in resolve(found, found.plugins[0], None, variables={}).failure


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*.yml", ["a.yml"]),
        ("**/*.yml", ["a.yml", "d/b.yml", "d/e/c.yml"]),
        ("d/**/*.yml", ["d/b.yml", "d/e/c.yml"]),
        ("./d/?.yml", ["d/b.yml"]),
        ("[ab].yml", ["a.yml"]),
        ("d", ["d"]),
        ("none/*", []),
    ],
)
def test_a_pattern_takes_in_what_it_does_for_meltano(pattern: str, taken: list[str]):
    assert matching(["a.yml", "d", "d/b.yml", "d/e", "d/e/c.yml"], pattern) == taken


@pytest.mark.parametrize("pattern", ["", ".", "../a", "/a", "a/../../b", "a**"])
def test_a_pattern_that_leaves_the_project_is_refused(pattern: str):
    with pytest.raises(BadPattern):
        matching(["a"], pattern)
