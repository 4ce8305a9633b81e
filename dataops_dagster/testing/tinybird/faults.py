"""What goes wrong on purpose, and when. Decides only; the server and the deployments obey."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What matches is answered wrongly: from the `nth` request on, `times` times.

    `status` is the answer's; without one the request is only delayed, by `seconds`.
    """

    method: str
    path: str
    nth: int = 1
    times: int = 1
    status: int | None = 500
    error: str = "Internal server error"
    seconds: float = 0.0
    seen: int = field(default=0, init=False)
    """How many requests matched."""
    hits: int = field(default=0, init=False)
    """How many of them were answered wrongly."""

    def strikes(self, method: str, path: str) -> bool:
        """Say whether this request is hit; each that matches is counted."""
        if method != self.method or not re.fullmatch(self.path, path):
            return False
        self.seen += 1
        hit = self.nth <= self.seen < self.nth + self.times
        self.hits += hit
        return hit


@dataclass
class Faults:
    """What goes wrong from now on; change it at any time."""

    requests: list[Fault] = field(default_factory=list)
    deployments: list[str] = field(default_factory=list)
    """Errors of the next deployments: each is taken once, and fails one after it was submitted."""
    refuse_creation: str | None = None
    """What whoever creates a workspace is told, such as in Classic outside Enterprise."""

    def strike(self, method: str, path: str) -> Fault | None:
        """Return what this request is hit by."""
        # All count it, also those that stand behind the one that strikes.
        return next((f for f in [f for f in self.requests if f.strikes(method, path)]), None)

    def fail_deployment(self) -> str | None:
        """Return the error that the deployment that was just submitted will fail with."""
        return self.deployments.pop(0) if self.deployments else None
