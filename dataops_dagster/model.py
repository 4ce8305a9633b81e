"""What we find and answer, as frozen values; nothing of ours lies below, and nothing does I/O.

The glossary in `docs/glossary.md` says what each word means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol, TypeAlias

from dataops_dagster.configuration import Changes

# --- what we find -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Commit:
    """One commit as its author wrote it; `time` is the committer's, in UTC seconds."""

    id: str
    tree: str
    author: str
    subject: str
    time: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One changed path: git's status letter (A, D, M, T) and the path, as text."""

    status: str
    path: str


class Outcome(str, Enum):
    """How a run of a workspace ended; one that `errored` could not find out, and proves nothing."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"


@dataclass(frozen=True)
class Stream:
    """A stream that a run moved; `rows` is None when nobody counted them."""

    extractor: str
    name: str
    rows: int | None = None


@dataclass(frozen=True)
class Failing:
    """A plug-in that made a run fail, and the exit code it ended with."""

    plugin: str
    exit_code: int


@dataclass(frozen=True)
class Operation:
    """One thing that a deployment does to one resource of a platform: a verb, a kind, a name.

    `detail` says in words what changes, where anybody knows.
    """

    verb: str
    kind: str
    name: str
    is_destructive: bool = False
    detail: str = ""

    @property
    def note(self) -> str:
        """What people should know of it, in words."""
        return ": ".join(filter(None, ("destructive" if self.is_destructive else "", self.detail)))


@dataclass(frozen=True)
class Effects:
    """What a deployment does to a platform; `digest` names exactly it, and can be approved.

    `where` says in words to which of its workspaces, `problem` why it would not be done as it
    stands, or why nobody could say.
    """

    where: str
    digest: str = ""
    operations: tuple[Operation, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Facts:
    """What a run told about itself beside its outcome, which none of it decides."""

    streams: tuple[Stream, ...] = ()
    failing: tuple[Failing, ...] = ()
    effects: Effects | None = None


@dataclass(frozen=True)
class Evidence:
    """The recorded outcome of one run of a workspace at one commit in one environment.

    `ran` says in words what was run; `digest` names exactly it (see `what_ran`), and is empty for a
    job of the user's own. Of two runs the one that was asked for later has the greater `place`: a
    clock may be put back between them. It is 0 where nobody knows.
    """

    workspace: str
    commit: str
    tree: str
    environment: str
    outcome: Outcome
    run_id: str
    time: datetime
    ran: str
    detail: str = ""
    digest: str = ""
    place: int = 0


class DecisionKind(str, Enum):
    """What a person, or a rollback, decided about a target."""

    APPROVE = "approve"
    HOLD = "hold"
    REJECT = "reject"
    LIFT = "lift"


@dataclass(frozen=True)
class Decision:
    """One recorded decision about a target.

    An approval is bound to the digest of a `plan`; a rejection names a `commit` and its `tree`; what
    lifts names in `lifts` the id of a hold or a rejection, or the commit of a rollback. `signed`
    says that `by` is who holds the key, not only who said so.
    """

    id: str
    kind: DecisionKind
    target: str
    by: str
    reason: str
    time: datetime
    expires: datetime | None = None
    plan: str = ""
    commit: str = ""
    tree: str = ""
    lifts: str = ""
    signed: bool = False


class Book(Protocol):
    """Where evidence and decisions are looked up; orchestration keeps them in Dagster's instance."""

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return all evidence for `commits` of the workspace in the environment, any order."""

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return what runs of the user's own jobs say about what was deployed to the workspace."""

    def decisions(self, project: str, target: str) -> Sequence[Decision]:
        """Return all that was decided about the target, the oldest first."""


class State(str, Enum):
    """Where a condition of a gate stands."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True)
class Verdict:
    """One condition's answer: why, who can change it, and the earliest time it can pass.

    `parts` are the answers that it was made of.
    """

    condition: str
    state: State
    reason: str
    who: str
    earliest: datetime | None = None
    parts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Override:
    """A person's decision to promote although the gate is closed."""

    reason: str


# --- the plan ---------------------------------------------------------------------------------


class Equality(str, Enum):
    """How much the result equals what the upstream holds, strongest first.

    A difference is explained when the target declared that it owns what differs.
    """

    SAME_COMMIT = "same commit"
    SAME_TREE = "same tree"
    SAME_SCOPE = "same on scope"
    EXPLAINED = "explained"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class DroppedLine:
    """A line of the target's own that a promotion drops, and the commit that wrote it."""

    text: str
    commit: str
    author: str


@dataclass(frozen=True)
class Overwrite:
    """A path where a promotion takes the upstream's side.

    `line_count` of the target's own lines are lost, `lines` are the first of them. No line is lost
    in binary files, or where the target had only deleted some; None says that nobody looked.
    """

    path: str
    line_count: int | None = 0
    lines: tuple[DroppedLine, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A path in which the result differs from the upstream's tree; `explained` by a keep rule."""

    path: str
    explained: bool


class Allowance(str, Enum):
    """What a person may allow for one promotion that is otherwise refused."""

    UNRELATED = "unrelated"
    REWRITTEN = "rewritten"
    THEIRS = "theirs"


@dataclass(frozen=True)
class Plan:
    """What a promotion would do, computed without writing to any workspace.

    `base` is the target's head that the plan was made for, None for a branch yet to be made.
    `commits` are the newest of `commit_count`, `overwrites` the paths where the target loses something,
    `keeps` what the tested upstream's tree does not have like this; `hotfixes` are commits that the
    target got by itself since its last release, `skipped` heads of the upstream that this one
    overtakes; `tag` is what will record the release. `configuration` is what it changes in a Meltano
    project, if it does. A rollback's upstream is the target itself.
    """

    project: str
    target: str
    upstream: str
    base: str | None
    upstream_commit: str
    commit: str
    tree: str
    equality: Equality
    commit_count: int
    commits: tuple[Commit, ...]
    changes: tuple[Change, ...]
    overwrites: tuple[Overwrite, ...]
    keeps: tuple[Kept, ...]
    tag: str
    hotfixes: tuple[Commit, ...] = ()
    skipped: tuple[str, ...] = ()
    configuration: Changes | None = None
    digest: str = field(default="")

    @property
    def is_rollback(self) -> bool:
        """Whether this brings back what the target had before."""
        return self.upstream == self.target


@dataclass(frozen=True)
class Release:
    """One recorded promotion, as the annotated tag in the target's repository says it."""

    tag: str
    plan: str
    target: str
    upstream: str
    upstream_commit: str
    commit: str
    tree: str
    equality: str
    time: datetime
    base: str = ""
    evidence: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    override: str = ""

    @property
    def is_rollback(self) -> bool:
        """Whether this brought back what the target had before."""
        return self.upstream == self.target


# --- the answers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class NothingToDo:
    """The target already contains the upstream's commit."""

    target: str
    head: str
    upstream_commit: str


@dataclass(frozen=True)
class Ready:
    """The gate is open: this plan may be published."""

    plan: Plan
    verdicts: tuple[Verdict, ...]
    evidence: tuple[Evidence, ...] = ()
    override: Override | None = None


@dataclass(frozen=True)
class Held:
    """Not yet: the conditions that are not passed say what is waited for.

    `plan` is what would land, as far as there is something that could.
    """

    target: str
    verdicts: tuple[Verdict, ...]
    plan: Plan | None = None

    @property
    def reason(self) -> str:
        """One line: what is waited for and why."""
        waits = (v for v in self.verdicts if v.state is not State.PASSED)
        return "; ".join(f"{v.condition}: {v.reason}" for v in waits)


@dataclass(frozen=True)
class Rejected:
    """No: this promotion will not happen as it stands; `hint` says what would change that."""

    target: str
    reason: str
    hint: str


_PATHS = 10
"""How many paths a one-line reason names."""


@dataclass(frozen=True)
class Conflicted:
    """No: both sides changed the same, and the policy does not settle it; a person must decide."""

    target: str
    upstream_commit: str
    paths: tuple[str, ...]

    @property
    def hint(self) -> str:
        """What a person can do."""
        return (
            f"make these paths in {self.target} what they are to be in its upstream, or choose another"
            f" workspaces.{self.target}.merge"
        )

    @property
    def reason(self) -> str:
        """One line naming the paths."""
        shown = ", ".join(self.paths[:_PATHS]) + (", …" if len(self.paths) > _PATHS else "")
        return f"the merge cannot be settled for {len(self.paths)} path(s): {shown}"


@dataclass(frozen=True)
class Promoted:
    """The target's branch now is at the planned commit, and the release is recorded."""

    ready: Ready
    release: Release


@dataclass(frozen=True)
class Raced:
    """Someone moved the target between plan and publish; nothing was written.

    `lock` is a file of the server's that stood in the way: somebody was at work there, or died there.
    """

    target: str
    expected: str | None
    lock: str = ""

    @property
    def reason(self) -> str:
        """One line, for when it was lost time and again."""
        if self.lock:
            return (
                f"the server of {self.target} found {self.lock} in the way time and again; nothing was"
                " written. If no git works there, one was killed there: remove that file"
            )
        return f"{self.target} was moved by others time and again; nothing was written"


Refusal: TypeAlias = Held | Rejected | Conflicted
Considered: TypeAlias = Ready | NothingToDo | Refusal
Answer: TypeAlias = Promoted | NothingToDo | Refusal | Raced
