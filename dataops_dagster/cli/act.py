"""Commands that write: promote, rollback, backport, and what people decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from dataops_dagster import backport as backports
from dataops_dagster import clock, promotion, signatures
from dataops_dagster import rollback as rollbacks
from dataops_dagster.cli import options
from dataops_dagster.cli.session import Session, end, progress
from dataops_dagster.cli.shown import escape
from dataops_dagster.errors import ConfigError
from dataops_dagster.git import Access
from dataops_dagster.model import Allowance, Answer, Considered, Held, Override, Plan, Ready
from dataops_dagster.plan import is_digest
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of
from dataops_dagster.text import one_line


@dataclass(frozen=True)
class Asked:
    """What a person says about one promotion."""

    commit: str | None = None
    override: Override | None = None
    allow: tuple[Allowance, ...] = ()


def consider(session: Session, project: Project, workspace: Workspace, asked: Asked) -> Considered:
    """Plan a promotion, and show that it takes a moment."""
    with progress(session, f"planning a promotion into {workspace.name}"):
        return promotion.consider(
            project,
            workspace,
            store=store_of(project),
            book=session.book,
            now=clock.now(),
            **vars(asked),
        )


@click.command()
@options.target
@options.commit
@options.allow
@click.option("--plan", "digest", metavar="DIGEST", help="Publish this plan, or nothing.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--override", metavar="REASON", help="Pass over a closed gate; recorded.")
@click.pass_obj
def promote(
    session: Session,
    target: str,
    *,
    commit: str | None,
    allow: tuple[str, ...],
    digest: str | None,
    override: str | None,
    dry_run: bool,
) -> None:
    """Promote into TARGET what its gate allows."""
    project, workspace = session.target(target)
    if override is not None and not one_line(override):
        raise ConfigError.at("--override", "is empty", "say why the gate may be passed over")
    if digest is not None and not is_digest(digest):
        raise ConfigError.at(
            "--plan", "is no plan's digest", "copy it from `dataops plan`: sha256:…"
        )
    decision = Override(one_line(override)) if override else None
    asked = Asked(commit, decision, tuple(map(Allowance, allow)))
    if dry_run:
        considered = consider(session, project, workspace, asked)
        end(session, promotion.agreed(considered, digest))
    with progress(session, f"promoting into {workspace.name}"):
        answer = promotion.promote(
            project,
            workspace,
            store=store_of(project),
            book=session.book,
            now=clock.now(),
            digest=digest,
            **vars(asked),
        )
    end(session, answer)


@click.command()
@options.target
@click.option(
    "--to", metavar="RELEASE", help="The release's tag.  [default: the one before the last]"
)
@options.reason
@options.by
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.pass_obj
def rollback(
    session: Session, target: str, *, to: str | None, reason: str, by: str, dry_run: bool
) -> None:
    """Bring TARGET back to an earlier release's files; automation then waits for `dataops lift`."""
    project, workspace = session.target(target)
    store = store_of(project)
    with progress(session, f"rolling {workspace.name} back"):
        answer: Considered | Answer = rollbacks.consider(
            project, workspace, store=store, to=to, by=by, reason=reason, now=clock.now()
        )
        if isinstance(answer, Ready) and not dry_run:
            answer = promotion.publish(project, answer, store=store, now=clock.now())
    end(session, answer)


@click.command()
@options.target
@click.option("--to", metavar="WORKSPACE", help="Which upstream.  [default: the first]")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.pass_obj
def backport(session: Session, target: str, *, to: str | None, dry_run: bool) -> None:
    """Bring what TARGET got by itself into its upstream, as a promotion the other way round."""
    project, workspace = session.target(target)
    upstreams = {upstream.name: upstream for upstream in project.upstreams_of(workspace)}
    if to is not None and to not in upstreams:
        known = ", ".join(upstreams)
        raise ConfigError.at("--to", f"{to} is no upstream of {target}", f"name one of {known}")
    upstream = upstreams[to or next(iter(upstreams))]
    store = store_of(project)
    with progress(session, f"bringing {workspace.name}'s own changes into {upstream.name}"):
        refused = backports.refused(project, workspace, store=store)
        turned, receives = backports.turned(project, workspace, upstream)
        now, ask = clock.now(), promotion.consider if dry_run else promotion.promote
        answer: Considered | Answer = refused or ask(
            turned, receives, store=store, book=session.book, now=now
        )
    end(session, answer)


@click.command()
@options.target
@click.option("--plan", "digest", metavar="DIGEST", required=True, help="The plan to approve.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sign by this ssh key, as a tag in the upstream's repository; needs no Dagster, and"
    " --commit where the plan is not about the upstream's head.",
)
@options.commit
@options.reason_if_any
@options.expires
@options.by
@click.pass_obj
def approve(
    session: Session,
    target: str,
    *,
    digest: str,
    key: Path | None,
    commit: str | None,
    reason: str,
    expires: str,
    by: str,
) -> None:
    """Approve exactly one plan of a promotion into TARGET."""
    if key is None:
        given = {"decision": "approve", "plan": digest, "reason": reason, "expires": expires}
        _decide(session, target, by=by, **given)
        return
    project, workspace = session.target(target)
    planned = _planned(session, project, workspace, digest, commit)
    tag = signatures.approve(
        store_of(project),
        Access.of(project, project.workspaces[planned.upstream]),
        project=project.name,
        target=workspace.name,
        plan=digest,
        commit=planned.upstream_commit,
        key=key,
        name=by,
        now=clock.now(),
        expires=clock.later(expires) if expires else None,
        reason=reason,
    )
    session.show({"tag": tag}, f"approved: {escape(tag)}")


def _planned(
    session: Session, project: Project, target: Workspace, digest: str, commit: str | None
) -> Plan:
    """Return the plan that would be approved; a person signs what is there, or nothing.

    Which commit the gate takes is not asked: who signs needs no Dagster.
    """
    ungated = target.model_copy(update={"gate": None})
    found = consider(session, project, ungated, Asked(commit))
    plan = found.plan if isinstance(found, Ready | Held) else None
    if plan is None or plan.digest != digest:
        now = f"it is {plan.digest} now" if plan else "there is none now"
        raise ConfigError.at("--plan", f"is not the plan for {target.name}: {now}", "look again")
    return plan


@click.command()
@options.target
@options.reason
@options.expires
@options.by
@click.pass_obj
def hold(session: Session, target: str, *, reason: str, expires: str, by: str) -> None:
    """Keep promotions away from TARGET until somebody lifts it, or passes it by an override."""
    _decide(session, target, decision="hold", reason=reason, expires=expires, by=by)


@click.command()
@options.target
@click.argument("commit")
@options.reason
@options.by
@click.pass_obj
def reject(session: Session, target: str, commit: str, *, reason: str, by: str) -> None:
    """Never let COMMIT, or its files under any other commit, into TARGET."""
    _decide(session, target, decision="reject", commit=commit, reason=reason, by=by)


@click.command()
@options.target
@click.argument("id", required=False, default="")
@options.reason_if_any
@options.by
@click.pass_obj
def lift(session: Session, target: str, id: str, *, reason: str, by: str) -> None:  # noqa: A002
    """Lift the hold or rejection ID of TARGET; all of its holds without one, and a rollback's."""
    _decide(session, target, decision="lift", lifts=id, reason=reason, by=by)


def _decide(session: Session, target: str, **given: str) -> None:
    from dataops_dagster.orchestration.instance import HomeInstance

    project, workspace = session.target(target)
    with progress(session, f"recording a decision about {workspace.name}"):
        HomeInstance().decide(project, {**given, "target": workspace.name})
    told = f"recorded: {given['by']}: {given['decision']} {workspace.name}"
    session.show({"recorded": {**given, "target": workspace.name}}, escape(told))
