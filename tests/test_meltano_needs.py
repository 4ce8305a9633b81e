"""What a run of Meltano is made of, what it moves, and what must be installed for it."""

from __future__ import annotations

import pytest

from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.needs import Need, needs_of
from dataops_dagster.meltano.pipelines import pipelines_of
from dataops_dagster.meltano.project import load
from dataops_dagster.meltano.selection import selected

PROJECT = """
environments:
- name: staging
  env: {MIRROR: from-staging}
- name: prod
  state_id_suffix: eu
env: {INDEX: "https://$MIRROR/simple"}
plugins:
  extractors:
  - {name: tap-a, namespace: tap_a, pip_url: tap-a==1, executable: tap-a}
  - {name: tap-b, namespace: tap_b, executable: ./bin/tap-b}
  - {name: tap-heir, inherit_from: tap-a}
  - {name: tap-other, inherit_from: tap-a, pip_url: tap-a==2}
  - {name: tap-same, inherit_from: tap-a, pip_url: tap-a==1}
  - {name: tap-index, namespace: t, pip_url: "tap-i --index-url $INDEX"}
  - {name: tap-locked}
  - {name: .., namespace: t, pip_url: evil}
  loaders:
  - {name: target-a, namespace: target_a, pip_url: target-a, executable: target-a}
  mappers:
  - name: mapper
    namespace: mapper
    pip_url: mapper==1
    mappings: [{name: hide, config: {}}]
  utilities:
  - {name: dbt, namespace: dbt, pip_url: dbt-core, executable: dbt}
jobs:
- {name: load, tasks: [tap-a hide target-a, "dbt:run"]}
- {name: twice, tasks: [[tap-b, target-a], [tap-a target-a]]}
- {name: one, tasks: tap-b target-a}
"""
LOCK = """{"plugin_type": "extractors", "name": "tap-locked", "namespace": "tap_locked",
"variant": "x", "pip_url": "locked==1", "settings": []}"""
FILES = {"meltano.yml": PROJECT, "plugins/extractors/tap-locked--default.lock": LOCK}


def pipelines(*run: str, environment: str = "staging") -> list[tuple[str, str]]:
    found = pipelines_of(load(GivenFiles(FILES)), run, environment)
    return [(" ".join(p.name for p in pipeline.plugins), pipeline.state_id) for pipeline in found]


def needs(*run: str, files: dict | None = None, **variables: str) -> list[Need]:
    given = GivenFiles({**FILES, **(files or {})})
    project = load(given)
    made = pipelines_of(project, run, "staging")
    return list(needs_of(project, made, "staging", files=given, variables=variables))


def key(*run: str, files: dict | None = None, **variables: str) -> str:
    (need,) = needs(*run, files=files, **variables)
    return need.key("/opt/meltano")


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (["tap-a", "target-a"], [("tap-a target-a", "staging:tap-a-to-target-a")]),
        (["load"], [("tap-a hide target-a", "staging:tap-a-to-target-a"), ("dbt", "")]),
        (
            ["twice", "dbt:test"],
            [
                ("tap-b target-a", "staging:tap-b-to-target-a"),
                ("tap-a target-a", "staging:tap-a-to-target-a"),
                ("dbt", ""),
            ],
        ),
        (["one"], [("tap-b target-a", "staging:tap-b-to-target-a")]),
        (["tap-a"], []),
        (["target-a"], []),
        (["hide", "target-a"], []),
        (["tap-a", "dbt:run"], []),
        (["dbt", "nobody", "tap-a", "target-a"], [("dbt", "")]),
    ],
)
def test_jobs_and_blocks_are_pipelines_each_with_its_state(run, found):
    assert pipelines(*run) == found


def test_a_state_id_ends_with_the_suffix_of_its_environment():
    (found,) = pipelines("one", environment="prod")
    assert found[1] == "prod:tap-b-to-target-a:eu"


def test_what_is_installed_stands_in_the_project_or_its_locks():
    found = [(n.type, n.folder, n.pip_url) for n in needs("load", "tap-locked", "target-a")]
    assert found == [
        ("extractors", "tap-a", "tap-a==1"),
        ("mappers", "mapper", "mapper==1"),
        ("loaders", "target-a", "target-a"),
        ("utilities", "dbt", "dbt-core"),
        ("extractors", "tap-locked", "locked==1"),
    ]


def test_a_plug_in_without_pip_url_needs_nothing():
    assert [need.name for need in needs("one")] == ["target-a"]


@pytest.mark.parametrize(
    ("heir", "folder"), [("tap-heir", "tap-a"), ("tap-same", "tap-a"), ("tap-other", "tap-other")]
)
def test_an_heir_uses_what_its_parent_installed_unless_it_installs_something_else(heir, folder):
    assert [need.folder for need in needs(heir, "target-a")] == [folder, "target-a"]


def test_one_folder_of_meltanos_is_needed_once():
    found = needs("tap-a", "target-a", "tap-heir", "target-a")
    assert [need.folder for need in found] == ["tap-a", "target-a"]


def test_a_name_that_leads_out_of_meltanos_folder_is_not_followed():
    assert [need.name for need in needs("..", "target-a")] == ["target-a"]


def test_an_installation_is_named_by_all_that_decides_what_is_installed():
    url = PROJECT.replace("dbt-core", "dbt-core==1")
    python = PROJECT.replace("pip_url: dbt-core", "pip_url: dbt-core, python: python3.12")
    keys = [
        key("dbt"),
        key("dbt", files={"meltano.yml": url}),
        key("dbt", files={"meltano.yml": python}),
        key("dbt", files={".python-version": "3.12"}),
        key("dbt", files={"meltano.yml": "python: python3.11\n" + PROJECT}),
        key("dbt", MELTANO_PYTHON="python3.13"),
        needs("dbt")[0].key("/elsewhere/meltano"),
    ]
    assert len(set(keys)) == len(keys)


def test_nothing_else_changes_the_name_of_an_installation():
    other = PROJECT.replace("tap-a==1", "tap-a==3").replace("from-staging", "x")
    files = {"meltano.yml": other, "models/a.sql": "select 1", ".env": "A=1"}
    assert key("dbt") == key("dbt", files=files, WAREHOUSE_PASSWORD="secret")


def test_the_values_of_variables_count_also_of_those_that_variables_name():
    def index(files=None, **variables: str) -> str:
        return needs("tap-index", "target-a", files=files, **variables)[0].key("meltano")

    moved = PROJECT.replace("from-staging", "from-elsewhere")
    keys = [
        index(),
        index(INDEX="https://other"),
        index(MIRROR="other"),
        index({"meltano.yml": moved}),
        index({".env": "MIRROR=x"}),
    ]
    assert len(set(keys)) == len(keys)
    assert index(UNRELATED="x") == index()


def test_no_secret_is_in_the_name_of_an_installation_or_shown():
    (need, _) = needs("tap-index", "target-a", INDEX="https://x:t0ken-t0ken@pypi.example.com")
    assert "t0ken" not in need.key("meltano") + repr(need)
    written = Need("extractors", "t", "t", "x --index-url https://u:p4ss@h/ git+https://tok@g/r")
    assert written.secrets == ("p4ss", "tok")
    assert "p4ss" not in repr(written)


@pytest.mark.parametrize(
    ("pip_url", "is_shared"),
    [
        ("tap-a==1 requests~=2.31", True),
        ("git+https://github.com/o/r.git@v1", True),
        ("tap-a --extra-index-url=https://h/simple", True),
        ("tap @ https://h/tap-1.tar.gz", True),
        ("extract", True),
        ("-e .", False),
        ("-e extract/tap", False),
        ("--editable=extract/tap", False),
        ("./extract/tap", False),
        ("extract/tap", False),
        ("extract/tap/", False),
        ("wheel.whl", False),
        ("tap --find-links extract", False),
        ("tap --find-links=extract/tap", False),
        ("-rrequirements.txt", False),
        ("-r requirements.txt", False),
        ("-c constraints.txt tap", False),
        ("/opt/tap", False),
        ("~/tap", False),
        ("tap @ file:///opt/tap", False),
        ("git+file:///opt/tap", False),
        ("$MELTANO_PROJECT_ROOT/extract/tap", False),
        ("${MELTANO_PROJECT_ROOT}/extract/tap", False),
        ("'unclosed", False),
        ("x " * 1000, False),
    ],
)
def test_what_comes_from_the_projects_own_files_is_not_shared(pip_url, is_shared):
    paths = ["extract/tap/setup.py", "wheel.whl", "meltano.yml"]
    assert Need("extractors", "t", "t", pip_url).is_shared(paths) is is_shared


# --- streams ----------------------------------------------------------------------------------


def streams(select: str, *run: str) -> list[tuple[str, str]]:
    told = PROJECT.replace("executable: ./bin/tap-b", f"select: {select}, executable: ./bin/tap-b")
    project = load(GivenFiles({"meltano.yml": told}))
    found = selected(project, pipelines_of(project, run, "staging"), "staging")
    return [(stream.extractor, stream.name) for stream in found]


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("[users.*, orders.id, users.id]", ["users", "orders"]),
        ('["!users.ssn", "*.*", "user[s].*", "$STREAM.*", "{a,b}.*"]', []),
        (r"['public\.users.*']", ["public.users"]),
        ("[users, 5, {a: b}]", []),
        ("users.*", []),
        ('["us\\x1b[31mers.*"]', []),
    ],
)
def test_select_names_streams_where_it_is_no_pattern(select, names):
    assert streams(select, "one") == [("tap-b", name) for name in names]


def test_only_extractors_that_run_move_something():
    assert streams("[users.*]", "load") == []


def test_an_environment_selects_for_itself():
    chosen = """{name: staging, config: {plugins: {extractors: [{name: tap-b, select: [orders.*]}]}}}
"""
    told = PROJECT.replace("name: tap-b,", "name: tap-b, select: [users.*],")
    project = load(GivenFiles({"meltano.yml": told.replace("name: staging", "name: other", 1).replace(
        "environments:\n", f"environments:\n- {chosen}")}))  # fmt: skip
    found = selected(project, pipelines_of(project, ["one"], "staging"), "staging")
    assert [stream.name for stream in found] == ["orders"]
