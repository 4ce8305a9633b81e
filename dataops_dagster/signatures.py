"""Approvals that whoever operates Dagster cannot forge: tags that people sign with their ssh keys.

An approval is an annotated tag in the upstream's repository, on the commit that the plan promotes.
Who signed it is what the allowed-signers file says of the key. A tag that anything is wrong with
is no approval, and no error either. Never asks for a passphrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from dataops_dagster import process, scratch, ssh
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.git import NETWORK_SECONDS, Access
from dataops_dagster.model import Decision, DecisionKind
from dataops_dagster.plan import is_digest
from dataops_dagster.remotes import Remote
from dataops_dagster.store import Store
from dataops_dagster.text import one_line

_TIME = "%Y%m%dT%H%M%SZ"
_KEYS = ("Plan", "Target", "Expires", "Reason")
_NAMESPACE = "git"  # what git itself signs in

_TAGS = 1000
"""How many tags are looked at: the newest by their own dates, as their names are anybody's choice.

Who crowds others out with dates in the future may write tags there, and withholds approvals only.
"""

_LARGEST = 16 * 1024
"""A larger tag is no approval."""

# All up to the signature is signed, and nothing follows it. The signature holds no "-", so it is
# the last one, which is where git, too, takes it to begin.
_SIGNED_TAG = re.compile(
    rb"(?P<payload>object (?P<commit>[0-9a-f]{40})\ntype commit\ntag (?P<tag>[^\n]+)\n"
    rb"tagger [^\n]* (?P<time>[0-9]{1,10}) [+-][0-9]{4}\n\n(?P<message>.*\n))"
    rb"(?P<signature>-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+"
    rb"\n-----END SSH SIGNATURE-----\n)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Claim:
    """What a tag says, before anybody knows who signed it; `payload` is all that is signed."""

    commit: str
    plan: str
    reason: str
    time: datetime
    expires: datetime | None
    payload: bytes
    signature: bytes


def prefix(project: str, target: str) -> str:
    """Return the full ref prefix that approvals of a target's plans stand under."""
    return f"refs/tags/dataops-approvals/{project}/{target}"


def message(project: str, target: str, *, plan: str, expires: datetime | None, reason: str) -> str:
    """Write what is signed: a subject, then one `Key: value` a line."""
    lines = [f"Approve {_short(plan)} for {target}", ""]
    lines += [f"Plan: {plan}", f"Target: {project}/{target}"]
    if expires:
        lines.append(f"Expires: {expires.astimezone(timezone.utc):{_TIME}}")
    if reason := one_line(reason):
        lines.append(f"Reason: {reason}")
    return "\n".join(lines) + "\n"


def parse(name: str, data: bytes, *, project: str, target: str) -> Claim | None:
    """Read the tag object that the tag `name` points to; None if it approves nothing here.

    The name also stands in the object: signed for one target, it says nothing about another.
    """
    match = _SIGNED_TAG.fullmatch(data)
    folder = prefix(project, target).removeprefix("refs/tags/")
    if not match or match["tag"] != name.encode() or not name.startswith(f"{folder}/"):
        return None
    said = _said(match["message"].decode("utf-8", "replace"))
    if said.get("Target") != f"{project}/{target}" or not is_digest(said.get("Plan", "")):
        return None
    try:
        expires = _moment(said["Expires"]) if "Expires" in said else None
    except ValueError:
        return None
    return Claim(
        commit=match["commit"].decode(),
        plan=said["Plan"],
        reason=one_line(said.get("Reason", "")),
        time=datetime.fromtimestamp(int(match["time"]), timezone.utc),
        expires=expires,
        payload=match["payload"],
        signature=match["signature"],
    )


def approvals(
    store: Store,
    access: Access,
    project: str,
    target: str,
    allowed_signers: Path,
    *,
    plan: str = "",
) -> list[Decision]:
    """Return the signed approvals in the upstream's repository, the oldest first.

    With `plan` only those of that plan: no time is spent on signatures under others. One that has
    expired, or is dated in the future, is among them; the clock is the caller's.
    """
    hint = "name a file as in ssh-keygen(1), ALLOWED SIGNERS"
    ssh.must_be_readable(allowed_signers, str(allowed_signers), hint)
    store.fetch_tags(access, prefix(project, target))
    found = []
    for id_, name, data in _tags(store, prefix(project, target)):
        claim = parse(name, data, project=project, target=target)
        if claim and plan in ("", claim.plan) and (by := _signer(claim, allowed_signers)):
            found.append(
                Decision(
                    id=id_,
                    kind=DecisionKind.APPROVE,
                    target=target,
                    by=by,
                    reason=claim.reason,
                    time=claim.time,
                    expires=claim.expires,
                    plan=claim.plan,
                    commit=claim.commit,
                    signed=True,
                )
            )
    return sorted(found, key=lambda decision: decision.time)


def approve(
    store: Store,
    access: Access,
    *,
    project: str,
    target: str,
    plan: str,
    commit: str,
    key: Path,
    name: str,
    now: datetime,
    expires: datetime | None,
    reason: str,
) -> str:
    """Sign an approval of a plan, and push it to the upstream's repository; returns the tag's name.

    `commit`, which the plan promotes, is in the cache. With the file of a public key ssh-agent
    signs. Raises `ConfigError` for a key that cannot sign, `ToolError` when the push is refused.
    """
    if not is_digest(plan):
        raise ConfigError.at("plan", "is no plan's digest", "take it from `dataops plan`")
    who = re.sub(r"[<>]", "", one_line(name))[:60].strip() or "somebody"
    slug = re.sub(r"[^a-z0-9]+", "-", who.lower()).strip("-") or "somebody"
    ref = f"{prefix(project, target)}/{_short(plan)}-{slug}-{now.astimezone(timezone.utc):{_TIME}}"
    tag = ref.removeprefix("refs/tags/")
    id_ = store.write_tag(
        tag,
        commit,
        message(project, target, plan=plan, expires=expires, reason=reason),
        name=who,
        time=int(now.timestamp()),
        sign=lambda payload: _sign(payload, key),
    )
    report = Remote(access, str(store.folder)).push(
        store.git, {ref: (None, id_)}, has=[commit], seconds=NETWORK_SECONDS
    )
    if report.refused:
        said = "; ".join([*report.refused.values(), *report.said])
        hint = f"may the login of {access.where} push tags below dataops-approvals/?"
        raise ToolError(f"pushing {tag} to {access.where}", None, said, hint=hint)
    return tag


def _short(plan: str) -> str:
    return plan.removeprefix("sha256:")[:12]


def _said(text: str) -> dict[str, str]:
    """Return our keys and their values; none at all when one stands twice."""
    pairs = [line.partition(": ")[::2] for line in text.split("\n")]
    ours = [(key, value) for key, value in pairs if key in _KEYS]
    return dict(ours) if len(dict(ours)) == len(ours) else {}


def _moment(text: str) -> datetime:
    """Read a moment as `message` writes it, and no other way; raises `ValueError`."""
    moment = datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc)
    if f"{moment:{_TIME}}" != text:
        raise ValueError(text)
    return moment


def _tags(store: Store, prefix: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield id, name and object of the newest annotated tags in the cache, whole and exact."""
    form = "--format=%(objecttype) %(objectsize) %(objectname) %(refname:strip=2)"
    listed = store.text("for-each-ref", "--sort=-taggerdate", f"--count={_TAGS}", form, prefix)
    rows = [line.split(" ") for line in listed.split("\n") if line]
    tags = [(i, name) for kind, size, i, name in rows if kind == "tag" and int(size) <= _LARGEST]
    asked = "".join(f"{id_}\n" for id_, _ in tags)
    given = BytesIO(store.git("cat-file", "--batch", stdin=asked.encode()).stdout)
    for id_, name in tags:
        size = given.readline().split(b" ")[2:]  # "ID tag SIZE", or "ID missing"
        if size:
            yield id_, name, given.read(int(size[0]))
            given.readline()


def _signer(claim: Claim, allowed_signers: Path) -> str:
    """Return the principal whose key signed the claim; empty if it is nobody's in the file.

    A key counts if it was valid at the tag's own date, as for git.
    """
    with scratch.folder("signature") as folder:
        signature = folder / "signature"
        signature.write_bytes(claim.signature)
        given = (
            *("-f", str(allowed_signers.absolute()), "-s", str(signature)),
            f"-Overify-time={claim.time:%Y%m%d%H%M%S}",
        )
        found = _keygen("find-principals", *given).stdout.decode("utf-8", "replace")
        for principal in filter(None, found.split("\n")):
            who = ("-n", _NAMESPACE, "-I", principal)
            if _keygen("verify", *who, *given, stdin=claim.payload).code == 0:
                return one_line(principal)
    return ""


def _sign(payload: bytes, key: Path) -> bytes:
    hint = "name the file of your private ssh key, or of ssh-agent's public one"
    ssh.must_be_readable(key, str(key), hint)
    done = _keygen("sign", "-n", _NAMESPACE, "-f", str(key.absolute()), stdin=payload)
    if done.code == 0:
        return done.stdout
    said = one_line(done.stderr.decode("utf-8", "replace"))
    if "passphrase" in said:
        problem, hint = "needs its passphrase, which nobody asks for", f"first run `ssh-add {key}`"
    else:
        problem = f"cannot sign: {said[-500:]}"
        hint = "for a public key, ssh-agent must hold the private one (`ssh-add -l`)"
    raise ConfigError.at(str(key), problem, hint)


def _keygen(action: str, *arguments: str, stdin: bytes = b"") -> process.Completed:
    # Dates in the file that name no time zone mean the same on every machine.
    return ssh.keygen(
        *("-Y", action, *arguments), allow=["SSH_AUTH_SOCK"], values={"TZ": "UTC0"}, stdin=stdin
    )
