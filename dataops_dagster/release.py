"""The record of a promotion as the text of an annotated tag, written and read back; pure."""

from __future__ import annotations

import re
from collections.abc import Container
from datetime import datetime, timezone
from itertools import count

from dataops_dagster.model import Ready, Release
from dataops_dagster.text import one_line

_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-(?P<commit>[0-9a-f]{12})(-[0-9]+)?")


def prefix(project: str, target: str) -> str:
    """Return the full ref prefix that a target's releases stand under."""
    return f"refs/tags/dataops/{project}/{target}"


def tag_of(project: str, target: str, commit: str, time: int, *, taken: Container[str]) -> str:
    """Return the tag that records a promotion to `commit`, made at `time` in UTC seconds.

    Only the commit, its date and the tags `taken` decide: two workers that publish one plan
    cannot record it twice, and a target that was set back can be promoted to again.
    """
    folder = prefix(project, target).removeprefix("refs/tags/")
    moment = datetime.fromtimestamp(time, timezone.utc).strftime(_TIME)
    name = f"{folder}/{moment}-{commit[:12]}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def is_tag(tag: str, commit: str, *, project: str, target: str) -> bool:
    """Say whether `tag_of` may have named it for the commit; any other name could be anything."""
    folder = prefix(project, target).removeprefix("refs/tags/")
    match = _NAME.fullmatch(tag.removeprefix(f"{folder}/"))
    return match is not None and commit.startswith(match["commit"])


def of(ready: Ready, now: datetime) -> Release:
    """Return the release that publishing this plan at `now` makes."""
    plan = ready.plan
    return Release(
        tag=plan.tag,
        plan=plan.digest,
        target=plan.target,
        upstream=plan.upstream,
        upstream_commit=plan.upstream_commit,
        commit=plan.commit,
        tree=plan.tree,
        equality=plan.equality.value,
        time=now.astimezone(timezone.utc).replace(microsecond=0),
        base=plan.base or "",
        skipped=plan.skipped,
        evidence=tuple(
            f"{e.workspace} {e.commit} {e.outcome.value} in {e.environment}, run {e.run_id}"
            for e in ready.evidence
        ),
        gate=tuple(f"{v.condition} {v.state.value}: {v.reason}" for v in ready.verdicts),
        override=ready.override.reason if ready.override else "",
    )


def message(release: Release) -> str:
    """Write the record: a subject, then one `Key: value` a line."""
    what = f"Promote {release.upstream} to {release.target}"
    lines = [f"Roll {release.target} back" if release.is_rollback else what, ""]
    for key, field in _FIELDS.items():
        lines.append(f"{key}: {one_line(str(getattr(release, field)))}")
    lines.append(f"Time: {release.time.strftime(_TIME)}")
    if release.base:
        lines.append(f"Base: {release.base}")
    lines += [f"Skipped: {commit}" for commit in release.skipped]
    lines += [f"Evidence: {one_line(item)}" for item in release.evidence]
    lines += [f"Gate: {one_line(item)}" for item in release.gate]
    if release.override:
        lines.append(f"Override: {one_line(release.override)}")
    return "\n".join(lines) + "\n"


def parse(tag: str, text: str) -> Release | None:
    """Read a record back; None for a tag that is not one of ours."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon:
            found.setdefault(key, []).append(one_line(value))
    try:
        return Release(
            tag=tag,
            **{field: found[key][0] for key, field in _FIELDS.items()},
            time=datetime.strptime(found["Time"][0], _TIME).replace(tzinfo=timezone.utc),
            base=found.get("Base", [""])[0],
            skipped=tuple(found.get("Skipped", ())),
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
