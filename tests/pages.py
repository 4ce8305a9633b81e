"""The pages of the documentation, and the examples in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from click.testing import CliRunner, Result

from dataops_dagster.cli import main

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "dataops_dagster" / "demo"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], key=lambda p: str(p.relative_to(ROOT))
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """An example in a page, below a heading of the second level."""

    page: str
    number: int
    language: str
    text: str
    section: str

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


@cache
def blocks_of(page: Path) -> list[Block]:
    text, name = page.read_text(), str(page.relative_to(ROOT))
    return [
        Block(name, number, found[1], found[2], section_at(BLOCK.sub("", text[: found.start()])))
        for number, found in enumerate(BLOCK.finditer(text), 1)
    ]


def section_at(text: str) -> str:
    """Return the last heading of the second level."""
    return (re.findall(r"^## (.+)$", text, re.MULTILINE) or [""])[-1]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(language: str, start: str = "") -> list[Block]:
    return [b for b in BLOCKS if b.language == language and b.text.startswith(start)]


def answer_after(block: Block) -> str:
    """Return the text that the page shows right after an example."""
    following = next(b for b in BLOCKS if b.page == block.page and b.number == block.number + 1)
    assert following.language == "text"
    return following.text


def run(line: str) -> Result:
    """Run a line of a shell that is one command of ours, perhaps with its output in a file."""
    command, _, file = line.removeprefix("dataops ").partition(" > ")
    done = CliRunner().invoke(main, shlex.split(command, comments=True))
    if file:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(done.stdout)
    return done
