"""Makes subjects: processes that do one act each, forked from one that has imported everything.

A subject is a process group of its own, knows nothing of who made it, and may be killed. Started as a
program of its own, as nobody may fork who has threads.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from typing_extensions import Self

PATIENCE_SECONDS = 90.0
"""No act takes longer than this; one that does hangs."""


@dataclass(frozen=True)
class Ended:
    """How a subject ended: exit code, negative for a signal; None for one that hung."""

    code: int | None
    said: str


class Nursery:
    """The process that makes subjects, as seen from the sweep."""

    def __init__(self, *program: str, preload: str = "tests.dagster_shop") -> None:
        """Start it; `program` are other arguments for Python than those that run this module.

        What it imports first no subject has to; without `preload` it does not wait for Dagster.
        """
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, *(program or ("-m", "tests.sweep.nursery", preload))],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def subject(
        self, act: str, root: Path, env: Mapping[str, str], *, at: int = 0, torn: bool = False
    ) -> Ended:
        """Let a subject do an act in `root`; with `at` it dies before its write of that number."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"act": act, "root": str(root), "env": dict(env), "at": at, "torn": torn}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return Ended(told["code"], (root / "said").read_text(errors="replace"))


def main(orders: TextIO, answers: TextIO, preload: str = "") -> None:
    """Make a subject for each line of `orders`."""
    for name in ("tests.sweep.acts", *filter(None, [preload])):
        importlib.import_module(name)
    for line in orders:
        pid = os.fork()
        if not pid:
            _be_subject(json.loads(line))
        print(json.dumps({"code": _end_of(pid)}), file=answers, flush=True)


def _end_of(pid: int) -> int | None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _be_subject(order: Mapping[str, Any]) -> None:
    """Do the act in a process of its own; never returns."""
    code = 70
    try:
        os.setsid()
        root = Path(order["root"])
        os.chdir(root)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ.clear()
        os.environ.update(order["env"])
        shims = root / "shims"
        (shims / "subject").write_text(str(os.getpid()))
        code = _act(order, root, shims)
    except BaseException:  # noqa: BLE001  # what a person would see
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _act(order: Mapping[str, Any], root: Path, shims: Path) -> int:
    from tests.sweep import acts
    from tests.sweep.writes import Writes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    writes = Writes(root, shims / "struck", at=order["at"], torn=order["torn"])
    writes.listen()
    code = acts.main(order["act"])
    writes.is_listening = False
    (shims / "writes").write_text("\n".join(writes.seen))
    return code


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, *sys.argv[1:])
