"""What can go wrong that an answer cannot carry: a mistake of the user's, or a broken world.

An expected "no" is a value (see `model`), never one of these. What they say is inert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataops_dagster.text import inert_lines


class DataOpsError(Exception):
    """Base of our exceptions; `exit_code` is what the command line ends with."""

    exit_code = 3

    def __init__(self, text: str) -> None:
        # It may name what stands in a repository, whoever raises it.
        super().__init__(inert_lines(text))


@dataclass(frozen=True)
class Problem:
    """One mistake in something the user wrote: where it is, what is wrong, how to mend it."""

    where: str
    problem: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}\n  hint: {self.hint}"


class ConfigError(DataOpsError):
    """The user must fix something; carries every problem found, not only the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    @classmethod
    def at(cls, where: str, problem: str, hint: str) -> ConfigError:
        """Return an error that holds a single problem."""
        return cls([Problem(where, problem, hint)])


class ToolError(DataOpsError):
    """An outside program or server failed us; `retryable` says whether time may heal it."""

    def __init__(
        self,
        command: str,
        code: int | None,
        tail: str,
        *,
        retryable: bool = False,
        hint: str = "",
    ) -> None:
        ending = "failed" if code is None else f"ended with code {code}"
        lines = [f"{command} {ending}", tail.strip(), f"hint: {hint}" if hint else ""]
        super().__init__("\n  ".join(line for line in lines if line))
        self.command = command
        self.code = code
        self.tail = tail
        self.retryable = retryable
        self.hint = hint
