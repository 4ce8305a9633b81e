"""What CI installs is locked by its hashes, and what the product is made of is written down."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tinybird import TESTED

ROOT = Path(__file__).parents[1]
LOCKED = ROOT / "locked"
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = PROJECT["project"]["dependencies"]
FILES = sorted(LOCKED.glob("*.txt"))


def pins(file: Path) -> dict[str, list[Requirement]]:
    """Return what a file locks, by name; another Python may have another version."""
    found: dict[str, list[Requirement]] = {}
    for text in file.read_text().replace("\\\n", " ").splitlines():
        requirement = Requirement(text.partition("--hash")[0])
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def versions(file: Path) -> dict[str, set[str]]:
    return {
        name: {clause.version for pin in found for clause in pin.specifier}
        for name, found in pins(file).items()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_package_is_pinned_with_its_hashes_and_names_no_place(file: Path):
    text = file.read_text()
    assert "://" not in text
    for entry in text.replace("\\\n", " ").splitlines():
        assert re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}( |$)", entry), entry


def of_groups(*groups: str) -> list[Requirement]:
    named = (text for group in groups for text in PROJECT["dependency-groups"][group])
    return [Requirement(text) for text in [*DEPENDENCIES, *named]]


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("newest.txt", of_groups(*PROJECT["dependency-groups"])),
        ("lowest.txt", of_groups("build", "test")),
    ],
)
def test_the_lock_has_all_that_the_project_asks_for(file: str, wanted: list[Requirement]):
    locked = versions(LOCKED / file)
    for requirement in wanted:
        pinned = locked[canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(version) for version in pinned), requirement


def test_the_lowest_are_the_floors():
    locked = versions(LOCKED / "lowest.txt")
    for requirement in map(Requirement, DEPENDENCIES):
        (floor,) = (clause for clause in requirement.specifier if clause.operator == ">=")
        assert floor.version in locked[canonicalize_name(requirement.name)]


def test_the_command_lines_that_are_locked_are_those_that_are_tested():
    for wanted in TESTED.values():
        name, _, version = wanted.partition("==")
        assert (LOCKED / f"{name}.in").read_text().strip() == wanted
        assert versions(LOCKED / f"{name}.txt")[canonicalize_name(name)] == {version}


def test_the_bill_of_materials_lists_what_the_product_needs_as_it_is_locked():
    bill = json.loads((LOCKED / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == (
        "CycloneDX",
        PROJECT["project"]["name"],
    )
    listed = {canonicalize_name(c["name"]): c["version"] for c in bill["components"]}
    locked = versions(LOCKED / "newest.txt")
    assert all(version in locked[name] for name, version in listed.items())
    assert {canonicalize_name(Requirement(text).name) for text in DEPENDENCIES} <= set(listed)
