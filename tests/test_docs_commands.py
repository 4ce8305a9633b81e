"""The commands in the documentation: those of `sh` are run, and each of ours is one that there is."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import pytest

from dataops_dagster import clock
from dataops_dagster.orchestration.instance import HomeInstance
from tests.conftest import WORKSPACES, Shop, fill, make_shop, promote_all_the_way, shop_at
from tests.pages import BLOCKS, DEMO, ROOT, Block, blocks, run
from tests.repositories import git
from tests.test_meltano_cloud import cloud

__all__ = ["cloud"]  # a fixture

# --- run --------------------------------------------------------------------------------------

CHANGES = ("source: users\ntarget: lake\n", "source: people\ntarget: lake\n", "target: vault\n")
PROJECT = {
    str(path.relative_to(DEMO / "project")): path.read_text()
    for path in (DEMO / "project").rglob("*")
    if path.is_file()
}


def is_ours(block: Block) -> bool:
    return all(line.startswith("dataops ") for line in block.text.splitlines())


RUN = [block for block in blocks("sh") if is_ours(block)]
SECTIONS = [list(found) for _, found in groupby(RUN, key=lambda b: (b.page, b.section))]
"""The blocks that are run one after the other in the same world."""


@pytest.fixture(scope="session")
def world_once(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A Meltano project that went to production four times, with news in a green staging and in dev."""
    shop = promote_all_the_way(fill(make_shop(tmp_path_factory.mktemp("shown"))))
    for files in (PROJECT, *({"pipeline.yml": text} for text in CHANGES)):
        shop.promote("prod")
        shop.dev.commit(files, "Change what is loaded")
        shop.promote("staging")
        shop.prove(shop.staging)
    shop.dev.commit({"users.yml": "id: 1\n"}, "Name the users")
    return shop


@pytest.fixture
def world(world_once: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same, for one section of a page."""
    shutil.copytree(world_once.root, tmp_path, dirs_exist_ok=True)
    shop, now = shop_at(tmp_path), clock.now()
    shop.book.evidence = [dataclasses.replace(e, time=now) for e in world_once.book.evidence]
    monkeypatch.setattr(HomeInstance, "find", lambda _, *asked: shop.book.find(*asked))
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((DEMO / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.chdir(tmp_path)
    return shop


WRITES = re.compile(r"dataops (promote|rollback|backport) (?!.*--dry-run)")
RELEASE = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{12}\b")
DIGEST, COMMIT = re.compile(r"\bsha256:[0-9a-f]{64}\b"), re.compile(r"\b[0-9a-f]{40}\b")


def in_the_world(line: str, shop: Shop) -> str:
    """Put the shop's own commit, plan and release in the place of those that the page names."""
    if RELEASE.search(line):
        # By the branch: several releases may be of one second.
        log = ("log", "--first-parent", "--reverse", "--decorate-refs=refs/tags", "--format=%D")
        first, *_ = RELEASE.findall(git(shop.prod.bare, *log, "main"))
        line = RELEASE.sub(first, line)
    if DIGEST.search(line):
        (planned,) = set(DIGEST.findall(run("dataops --json plan prod").stdout))
        line = DIGEST.sub(planned, line)
    return COMMIT.sub(shop.staging.head, line)


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(
            found, id=f"{found[0]}", marks=() if found[0].page == "README.md" else pytest.mark.slow
        )
        for found in SECTIONS
    ],
)
def test_commands_that_are_shown_end_well(world: Shop, section: list[Block]):
    if any("backport" in block.text for block in section):
        world.prod.commit({"grants.sql": "grant select\n"}, "Let them read")
    for block in section:
        for line in block.text.splitlines():
            done = run(in_the_world(line, world))
            assert done.exit_code == 0, f"{block}: {line}\n{done.output}"
            assert "release dataops/" in done.output or not WRITES.match(line), done.output


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_what_is_marked_sh_is_run_here_or_is_a_task_of_dev_py(block):
    assert is_ours(block) or block.text.startswith("python3 dev.py ")


# --- parsed -----------------------------------------------------------------------------------

OURS = {"dataops", "dagster", "dagster-daemon", "dagster-webserver", "dg"}
"""Programs that say themselves whether they would take a line."""

OTHERS = {
    *(".ci/run", "celery", "export", "git", "helm", "jq", "kubectl", "pip"),
    *("ssh-keygen", "ssh-keyscan", "uv"),
}
"""Programs that nobody asks here."""


def lines(block: Block) -> list[str]:
    """Return what is typed; each has a prompt where answers stand beside."""
    text = block.text.replace("\\\n", " ")
    prompted = re.findall(r'^\$ ((?:"[^"]*"|[^"\n])*)', text, re.MULTILINE)
    return prompted or text.splitlines()


def commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, also of those in `$(…)`, without redirections."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from commands(inner)
    words = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
    words.whitespace_split = True
    after = ""
    for is_end, part in groupby(words, key=lambda word: word in ("|", ">", "&&", ";")):
        found = list(part)
        if is_end:
            (after,) = found
        elif after != ">":
            settings = next(i for i, word in enumerate([*found, ""]) if not SETTING.match(word))
            yield found[settings:]


SETTING = re.compile(r"[A-Z_]+=")
SHOWN = [
    (f"{block}: {shlex.join(words)}", words)
    for block in BLOCKS
    if block.language in ("console", "sh")
    for line in lines(block)
    for words in commands(line)
]


def of(*programs: str) -> list[Any]:
    """Return what is shown of some programs."""
    return [
        pytest.param(words, id=name) for name, words in SHOWN if Path(words[0]).name in programs
    ]


def test_each_program_that_is_shown_is_asked_or_known_not_to_be():
    asked = {*OURS, "python", "python3"}
    assert {words[0] for _, words in SHOWN} - {".venv/bin/python"} <= asked | OTHERS


NEEDS_MORE = re.compile(r"tinybird|meltano-cloud|…")
"""What the shop does not have: a platform's service, or what the page cuts short."""


@pytest.mark.parametrize("block", blocks("console"), ids=str)
def test_what_could_be_run_is_not_marked_as_what_is_not(block):
    programs = {words[0] for line in lines(block) for words in commands(line)}
    assert programs != {"dataops"} or NEEDS_MORE.search(block.text)


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], list[click.Context]]:
    """Let a program's real command line read words, and do nothing; returns what it read."""

    def parsed(words: Sequence[str]) -> list[click.Context]:
        read: list[click.Context] = []
        monkeypatch.setattr(click.Command, "invoke", lambda _, ctx: read.append(ctx))
        monkeypatch.setattr(sys, "argv", list(words))
        (program,) = entry_points(group="console_scripts", name=words[0])
        with pytest.raises(SystemExit) as ended:
            program.load()()
        assert not ended.value.code, words
        assert not isinstance(read[-1].command, click.Group), words
        return read

    return parsed


@pytest.mark.parametrize("words", of(*OURS))
def test_a_command_that_is_shown_is_one_that_its_program_takes(parse, words):
    *groups, last = parse(words)
    if words[0] != "dataops" or any(ctx.info_name == "meltano-cloud" for ctx in groups):
        return
    for key in ("target", "workspace", "one", "other", "of"):
        name = last.params.get(key) or "prod"
        assert name.partition("@")[0] in WORKSPACES


@pytest.mark.parametrize(
    "line",
    [
        "dataops plan",
        "dataops plan prod staging",
        "dataops plan prod --drift",
        "dataops rolback prod",
        "dataops tinybird push prod",
        "dataops tinybird",
        "dagster sensor begin gates_shop",
        "dg check yaml --nothing",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(parse, line):
    with pytest.raises(AssertionError):
        parse(line.split())


@pytest.mark.parametrize("words", of("python", "python3"))
def test_a_script_or_module_that_is_shown_is_there(parse, words):
    _, first, *rest = words
    if first == "-m":
        assert importlib.util.find_spec(rest[0])
    elif first == "dev.py":
        dev = runpy.run_path(str(ROOT / first))
        task, *options = rest
        assert task in dev["GROUPS"]
        called = dev["commands"](task, options)[-1]
        assert called[0] not in OURS or parse(called)
    else:
        assert (ROOT / first).is_file()
    for word in rest:
        named = re.sub(r"\{.*\}", "*", word)
        assert not named.startswith("tests/") or list(ROOT.glob(named))


# --- run on a stand-in ------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_shown_of_meltano_cloud_ends_well_on_a_stand_in(cloud, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [words for _, words in SHOWN if words[:2] == ["dataops", "meltano-cloud"]]
    assert shown
    for _, group, verb, *rest in sorted(shown, key=lambda words: words[2] != "create"):
        done = run(shlex.join(["dataops", group, "--url", cloud.url, verb, *rest]))
        assert done.exit_code == 0, f"{verb} {rest}: {done.output}"
