"""The record of a promotion as the text of an annotated tag, written and read back; pure."""

from __future__ import annotations

from datetime import datetime, timezone

from dataops_dagster.model import Ready, Release

_TIME = "%Y%m%dT%H%M%SZ"


def prefix(project: str, target: str) -> str:
    """Return the full ref prefix that a target's releases stand under."""
    return f"refs/tags/dataops/{project}/{target}"


def of(ready: Ready, now: datetime) -> Release:
    """Return the release that publishing this plan at `now` makes."""
    plan = ready.plan
    moment = now.astimezone(timezone.utc).replace(microsecond=0)
    name = prefix(plan.project, plan.target).removeprefix("refs/tags/")
    return Release(
        tag=f"{name}/{moment.strftime(_TIME)}-{plan.commit[:12]}",
        plan=plan.digest,
        target=plan.target,
        upstream=plan.upstream,
        upstream_commit=plan.upstream_commit,
        commit=plan.commit,
        tree=plan.tree,
        equality=plan.equality.value,
        time=moment,
        evidence=tuple(
            f"{e.workspace} {e.commit} {e.outcome.value} in {e.environment}, run {e.run_id}"
            for e in ready.evidence
        ),
        gate=tuple(f"{v.condition} {v.state.value}: {v.reason}" for v in ready.verdicts),
        override=ready.override.reason if ready.override else "",
    )


def message(release: Release) -> str:
    """Write the record: a subject, then one `Key: value` a line."""
    lines = [f"Promote {release.upstream} to {release.target}", ""]
    for key, field in _FIELDS.items():
        lines.append(f"{key}: {_line(str(getattr(release, field)))}")
    lines.append(f"Time: {release.time.strftime(_TIME)}")
    lines += [f"Evidence: {_line(item)}" for item in release.evidence]
    lines += [f"Gate: {_line(item)}" for item in release.gate]
    if release.override:
        lines.append(f"Override: {_line(release.override)}")
    return "\n".join(lines) + "\n"


def parse(tag: str, text: str) -> Release | None:
    """Read a record back; None for a tag that is not one of ours."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon:
            found.setdefault(key, []).append(value)
    try:
        return Release(
            tag=tag,
            **{field: found[key][0] for key, field in _FIELDS.items()},
            time=datetime.strptime(found["Time"][0], _TIME).replace(tzinfo=timezone.utc),
            evidence=tuple(found.get("Evidence", ())),
            gate=tuple(found.get("Gate", ())),
            override=found.get("Override", [""])[0],
        )
    except (KeyError, ValueError):
        return None


_FIELDS = {
    "Target": "target",
    "Upstream": "upstream",
    "Upstream-Commit": "upstream_commit",
    "Commit": "commit",
    "Tree": "tree",
    "Equality": "equality",
    "Plan": "plan",
}


def _line(text: str) -> str:
    """Keep a value on its line: what it says could otherwise pass for another key."""
    return " ".join(text.split())
