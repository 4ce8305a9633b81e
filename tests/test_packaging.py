"""What is shipped, what it depends on, and which module may know what."""

from __future__ import annotations

import ast
import os
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.version import Version

import dataops_dagster

PACKAGE = Path(dataops_dagster.__file__).parent
PYPROJECT = PACKAGE.parent / "pyproject.toml"
PROJECT = tomli.loads(PYPROJECT.read_text())
FLOORS = {Requirement(text).name: text for text in PROJECT["project"]["dependencies"]}

WITH_KNOWN_ADVISORIES = {"GitPython": "3.2.0"}
"""The newest release of a dependency that has one."""


def modules() -> list[Path]:
    """Return our modules; the demo's project is an example of a user's."""
    return sorted(p for p in PACKAGE.rglob("*.py") if PACKAGE / "demo" / "project" not in p.parents)


def imported(path: Path) -> set[str]:
    """Return the top-level names that a module imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def importers(name: str) -> set[str]:
    return {str(p.relative_to(PACKAGE)) for p in modules() if name in imported(p)}


@pytest.mark.parametrize(("name", "version"), WITH_KNOWN_ADVISORIES.items())
def test_no_release_with_a_known_advisory_is_allowed(name, version):
    specifier = Requirement(FLOORS[name]).specifier
    assert Version(version) not in specifier
    assert Version("3.1.41") not in specifier


@pytest.mark.parametrize("text", FLOORS.values(), ids=FLOORS)
def test_what_is_installed_is_what_is_asked_for(text):
    requirement = Requirement(text)
    assert any(clause.operator == ">=" for clause in requirement.specifier)
    assert requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)


def test_everything_that_is_imported_is_a_dependency_of_ours():
    distributions = metadata.packages_distributions()
    ours = {re.sub(r"[-_.]+", "-", name).lower() for name in FLOORS}
    standard = sys.stdlib_module_names
    for path in modules():
        for name in imported(path) - standard - {"dataops_dagster"}:
            # A package of one module that names no top level is called like its module.
            named = distributions.get(name, [name])
            found = {re.sub(r"[-_.]+", "-", d).lower() for d in named}
            assert found & ours, f"{path.name} imports {name}"


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_the_version_is_one():
    assert str(Version(dataops_dagster.__version__)) == dataops_dagster.__version__


def test_git_can_execute_what_answers_its_question_for_a_login():
    askpass = PACKAGE / "askpass.sh"
    assert os.access(askpass, os.X_OK)
    assert askpass.read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize("name", ["askpass.sh", "dataops.schema.json", "py.typed"])
def test_files_beside_the_modules_are_not_ignored_and_so_are_shipped(name):
    patterns = (PYPROJECT.parent / ".gitignore").read_text().splitlines()
    assert (PACKAGE / name).exists()
    assert not any(Path(name).match(pattern.strip("/")) for pattern in patterns if pattern)


def test_every_lint_that_is_ignored_has_its_reason_beside_it():
    lines = PYPROJECT.read_text().splitlines()
    start = lines.index("[tool.ruff.lint]")
    codes = re.compile(r'^\s+"([A-Z]+\d*)",')
    section = lines[start : lines.index("[tool.mypy]")]
    ignored = [line for line in section if codes.match(line)]
    assert len(ignored) > 10
    bare = [line.strip() for line in ignored if not re.search(r",\s*# \w", line)]
    assert not bare


def test_dagster_is_imported_by_orchestration_only():
    assert importers("dagster")
    assert {Path(name).parts[0] for name in importers("dagster")} <= {"orchestration"}


def test_only_public_names_of_dagster_are_imported():
    for path in modules():
        assert not re.search(r"^\s*(from|import) dagster[._]", path.read_text(), re.MULTILINE)


def test_programs_are_started_by_one_door_only():
    doors = {"process.py"}
    assert {name for name in importers("subprocess") if not name.startswith("demo/")} <= doors
    calls = re.compile(
        r"\bos\.(system|popen|exec[lv]\w*|spawn\w*|fork\w*|posix_spawn\w*)\(|\bpty\."
    )
    starters = {str(p.relative_to(PACKAGE)) for p in modules() if calls.search(p.read_text())}
    assert not starters


def test_gitpython_is_imported_by_the_git_module_only():
    assert importers("git") == {"git.py"}


@pytest.mark.parametrize("name", ["meltano", "pickle", "marshal", "shelve"])
def test_what_must_not_be_imported_is_not(name):
    assert not importers(name)


def test_no_shell_is_used():
    for path in modules():
        assert "shell=True" not in path.read_text()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_begins_with_what_it_answers(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
