"""What a platform is given and what it answers, and how its program is run; knows no platform."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path

from dataops_dagster import process
from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Facts, Outcome
from dataops_dagster.settings import Project
from dataops_dagster.settings_steps import CommandStep, MeltanoStep
from dataops_dagster.spellings import all_spellings

# Variables that people let through and that say nothing secret.
_PUBLIC = frozenset(("HOME", "USER", "LANG", "LANGUAGE", "TZ", "PATH", "TMPDIR", "SHELL", "TERM"))
_SAYS_NOTHING = frozenset(("true", "false", "yes", "no", "on", "off", "none", "null", "0", "1"))
_OUTCOMES = {0: Outcome.PASSED, os.EX_TEMPFAIL: Outcome.ERRORED}
_DETAIL_LINES = 3
_DETAIL_CHARACTERS = 300

LOGGED_LINES = 5000
"""A run's log is kept in Dagster's database, line by line; a flood is cut, its end is kept."""


class Purpose(str, Enum):
    """What a step is executed for."""

    RUN = "run"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class Task:
    """One execution: which workspace, at which commit, in which environment, for which run.

    `folder` is private to the task and holds `files` (the commit's content), and a `home`.
    `settings` are those of the whole project. `approved` are the digests of plans of deployments
    that people approved.
    """

    settings: Project
    workspace: str
    environment: str
    commit: str
    tree: str
    run_id: str
    folder: Path
    purpose: Purpose = Purpose.RUN
    approved: frozenset[str] = frozenset()

    @property
    def project(self) -> str:
        """The project's name."""
        return self.settings.name

    @property
    def files(self) -> Path:
        """The exported commit, in which the program is started."""
        return self.folder / "files"

    @property
    def home(self) -> Path:
        """The program's home folder."""
        return self.folder / "home"


@dataclass(frozen=True)
class Result:
    """Whether the program succeeded, what was run, in few words how it ended, and how long it took.

    One that `waits_for` the approval of a plan, by its digest, did not succeed and did not fail.
    One that was `refused_by` somebody, who is at work on the same or comes first, was not even tried.
    """

    outcome: Outcome
    ran: str
    detail: str
    seconds: float = 0.0
    waits_for: str = ""
    refused_by: str | None = None
    facts: Facts = field(default_factory=Facts)

    @property
    def passed(self) -> bool:
        """Whether it succeeded."""
        return self.outcome is Outcome.PASSED


def run_program(
    arguments: Sequence[str],
    step: CommandStep | MeltanoStep,
    task: Task,
    on_line: Callable[[str], None],
    *,
    extra: Mapping[str, str],
    readable: Callable[[str], str | None] = lambda line: line,
    hidden: Iterable[str] = (),
    keep_open: Sequence[int] = (),
    spent: float = 0.0,
) -> Result:
    """Run a platform's program; only its exit code decides, whatever it prints.

    The exit code 75 (EX_TEMPFAIL of sysexits.h) says that it could not find out.

    `readable` turns a line of its output into one for people, or into None to leave it out; `hidden`
    are secrets beside the variables that are let through; `spent` is how many seconds of the
    deadline are gone. A program that had less than half of it, and was ended there, proves nothing.
    """
    for name in step.variables:
        if name not in os.environ:
            raise ConfigError.at(
                f"workspaces.{task.workspace}",
                f"the environment variable {name} is to be passed on, but is not set",
                "set it where Dagster's processes are started, or take it out of variables",
            )
    env = process.environment(
        step.variables,
        {
            "HOME": str(task.home),
            "DATAOPS_PROJECT": task.project,
            "DATAOPS_WORKSPACE": task.workspace,
            "DATAOPS_ENVIRONMENT": task.environment,
            "DATAOPS_COMMIT": task.commit,
            "DATAOPS_TREE": task.tree,
            "DATAOPS_RUN_ID": task.run_id,
            **extra,
        },
    )
    seen = variables_of(step)
    secret = (value for name, value in seen.items() if _is_secret(name, value))
    secrets = all_spellings([*secret, *hidden])
    log = Log(on_line)

    def note(line: str) -> None:
        # What is readable only now, such as a decoded string, was not looked at for secrets yet.
        log.add(process.clean(readable(line) or "", secrets))

    begin = time.monotonic()
    done = process.run(
        arguments,
        env=env,
        cwd=task.files,
        deadline=step.deadline.total_seconds() - spent,
        on_line=note,
        secrets=secrets,
        keep_open=keep_open,
    )
    log.close()
    if done.timed_out:
        ending = _ending_at(step.deadline, spent)
    elif done.code < 0:
        ending = f"was ended by signal {-done.code}"
    else:
        ending = f"ended with exit code {done.code}"
    outcome = _OUTCOMES.get(done.code, Outcome.FAILED)
    if done.timed_out:
        outcome = Outcome.ERRORED if _began_late(step.deadline, spent) else Outcome.FAILED
    detail = (
        ending if outcome is Outcome.PASSED or not log.last else f"{ending}: {' / '.join(log.last)}"
    )
    ran = " ".join([Path(arguments[0]).name, *arguments[1:]])
    return Result(outcome, ran, detail, seconds=time.monotonic() - begin)


def _began_late(deadline: timedelta, spent: float) -> bool:
    return spent > deadline.total_seconds() / 2


def _ending_at(deadline: timedelta, spent: float) -> str:
    ending = f"was ended at its deadline of {deadline}"
    if _began_late(deadline, spent):
        ending += f", of which {timedelta(seconds=round(spent))} had gone before it began"
    return ending


def _is_secret(name: str, value: str) -> bool:
    """Say whether a variable's value must not be read; a word such as true stands everywhere."""
    return name not in _PUBLIC and value.lower() not in _SAYS_NOTHING


def variables_of(step: CommandStep | MeltanoStep) -> dict[str, str]:
    """Return the variables of ours that a step's program sees, as far as they are set."""
    return {name: os.environ[name] for name in step.variables if name in os.environ}


class Log:
    """Hands lines on until there are too many, and keeps the last of them."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.on_line = on_line
        self.last: deque[str] = deque(maxlen=_DETAIL_LINES)
        self.lines = 0

    def add(self, line: str) -> None:
        """Hand on a line, unless it is blank."""
        if not line.strip():
            return
        self.last.append(line.strip()[:_DETAIL_CHARACTERS])
        self.lines += 1
        if self.lines <= LOGGED_LINES:
            self.on_line(line)
        elif self.lines == LOGGED_LINES + 1:
            self.on_line(f"… more than {LOGGED_LINES} lines; only the last are told below")

    def close(self) -> None:
        """Hand on the last lines of a flood."""
        if self.lines > LOGGED_LINES:
            for line in self.last:
                self.on_line(line)
