"""How git calls ssh for a repository, whether ssh can use its key, and what ssh's complaints mean.

Reads no key: `ssh` and `ssh-keygen` do.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataops_dagster import process
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings import SSH_READS_OTHERWISE, Ssh

CONNECT_SECONDS = 10
"""How long a server may take until it has shown who it is."""

KEYGEN_SECONDS = 60.0  # a key on a token waits for a touch

_OTHERS = 0o077
_NO_USER = re.compile(r"no user exists for", re.IGNORECASE)
_LINE_FOR_USER = "give this user a line in /etc/passwd"
_REFUSED = re.compile(
    r"permission denied \(|denied to deploy key|marked as read only", re.IGNORECASE
)
_HINTS = {
    _NO_USER: _LINE_FOR_USER,
    re.compile(r"remote host identification has changed", re.IGNORECASE): (
        "its key is not the one in KNOWN_HOSTS: before you put the new one there ask who runs the"
        " server, as it may be another one that answers"
    ),
    re.compile(r"host key verification failed", re.IGNORECASE): (
        "put the server's key into KNOWN_HOSTS, if its fingerprint is the one that the host publishes"
    ),
}
"""What ssh's words mean, for the workspace WHERE."""


def command(ssh: Ssh | None) -> str:
    """Return the command by which git calls ssh, as a shell reads it.

    With a key of the workspace's own no other key, no agent and no configuration of ssh's applies.
    """
    options = {"BatchMode": "yes", "StrictHostKeyChecking": "yes"}
    # No agent and no display for the server, and no connection that others opened, or that stays:
    # whatever ~/.ssh/config says.
    words = ["ssh", "-a", "-x", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    if ssh:
        words += ["-F", "/dev/null"]
        options |= {
            "ConnectTimeout": str(CONNECT_SECONDS),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": _quoted(ssh.key),
            "UpdateHostKeys": "no",
        }
    if ssh and ssh.known_hosts:
        options |= {
            "GlobalKnownHostsFile": "/dev/null",
            "UserKnownHostsFile": _quoted(ssh.known_hosts),
        }
    words += (word for key, value in options.items() for word in ("-o", f"{key}={value}"))
    return shlex.join(words)


def _quoted(path: str) -> str:
    # ssh parts an option's value at spaces, outside of its own quotes.
    return f'"{path}"'


def check(ssh: Ssh, where: str) -> None:
    """See that ssh can use the files that a workspace names; raises `ConfigError`."""
    at = f"{where}.ssh.key"
    found = _check_file(ssh.key, at)
    if ssh.known_hosts:
        _check_file(ssh.known_hosts, f"{where}.ssh.known_hosts")
    is_public = ssh.key.endswith(".pub")
    if found.st_uid == os.getuid() and found.st_mode & _OTHERS and not is_public:
        problem = f"{ssh.key} may be used by others, and then ssh does not use it"
        raise ConfigError.at(at, problem, f"run `chmod 600 {ssh.key}`")
    done = keygen("-y", "-P", "", "-f", ssh.key)
    if b"incorrect passphrase" in done.stderr:
        hint = "nobody is asked for it: make a key without one, for this repository alone"
        raise ConfigError.at(at, f"{ssh.key} needs a passphrase", hint)
    if done.code:
        hint = "name the file of the private key, the one without .pub"
        raise ConfigError.at(at, f"{ssh.key} is no private key that ssh reads", hint)


def _check_file(path: str, where: str) -> os.stat_result:
    if SSH_READS_OTHERWISE.search(path):
        problem = f'{path} has %, ", \\ or ${{, which ssh reads as something else'
        raise ConfigError.at(where, problem, "let neither the file nor its folders have them")
    return must_be_readable(Path(path), where, "a path begins at the folder of dataops.yaml")


def must_be_readable(path: Path, where: str, hint: str) -> os.stat_result:
    """See that a file is there, without reading it; returns its status, or raises `ConfigError`."""
    try:
        # What is no file, such as a pipe, would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        said = error.strerror
    else:
        if stat.S_ISREG(found.st_mode):
            return found
        said = "it is no file"
    named = "" if where == str(path) else f"{path} "
    raise ConfigError.at(where, f"{named}cannot be read: {said}", hint)


def keygen(
    *arguments: str,
    allow: Iterable[str] = (),
    values: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> process.Completed:
    """Run `ssh-keygen`, which asks nobody; raises `ToolError` when it cannot tell."""
    done = process.run(
        ["ssh-keygen", "-q", *arguments],
        env=process.environment(allow, {"SSH_ASKPASS_REQUIRE": "never", **(values or {})}),
        stdin=stdin,
        deadline=KEYGEN_SECONDS,
    )
    if done.timed_out:
        problem, hint = f"no answer within {KEYGEN_SECONDS:.0f} s", ""
    elif _NO_USER.search(done.stderr.decode("utf-8", "replace")):
        problem, hint = "No user exists for our uid", _LINE_FOR_USER
    else:
        return done
    said = " ".join(("ssh-keygen", *arguments[:2])).strip()
    raise ToolError(said, done.code, problem, retryable=done.timed_out, hint=hint)


def hint(said: str, ssh: Ssh | None, where: str) -> str:
    """Return what to do about what ssh said; empty if it is none of its complaints that we know."""
    known_hosts = f"{where}.ssh.known_hosts" if ssh and ssh.known_hosts else "known_hosts"
    found = next((text for words, text in _HINTS.items() if words.search(said)), "")
    if not found and ssh and _REFUSED.search(said):
        found = (
            "is the public part of WHERE.ssh.key a deploy key of that repository, with write access"
            " if this is a target?"
        )
    return found.replace("WHERE", where).replace("KNOWN_HOSTS", known_hosts)
