"""What the shim does at the call that was chosen: kill the caller before, in or after it, or lie to it.

Runs as a script beside the shim and imports nothing of ours. The caller is the subject of the sweep,
also where another program, such as our guard, stands in between.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
GHOST_SECONDS = 0.1
"""How long a program that outlived its caller waits: the next attempt is at work by then."""


def main(number: str, program: list[str]) -> int:
    """Strike as the file `mode` says; returns the exit code to end with."""
    mode, _, seconds = (HERE / "mode").read_text().partition(" ")
    if (HERE / "caller").exists():
        if not is_called_by((HERE / "caller").read_text()):
            os.execv(program[0], program)
        (HERE / "subject").write_text(str(os.getppid()))
    if mode == "measure":
        begin = time.monotonic()
        code = subprocess.call(program)
        (HERE / "calls" / f"{number}.seconds").write_text(str(time.monotonic() - begin))
        return code
    (HERE / "at").write_text("0\n")  # once
    (HERE / "struck").touch()
    return globals()[mode](program, float(seconds or 0))


def before(_program: list[str], _seconds: float) -> int:
    """Kill the caller; the program never starts."""
    kill_caller()
    return 1


def during(program: list[str], seconds: float) -> int:
    """Kill the caller and the program, as a machine does that dies."""
    subprocess.Popen(program)
    time.sleep(seconds)
    kill_caller()
    os.killpg(0, signal.SIGKILL)
    return 1


def after(program: list[str], _seconds: float) -> int:
    """Kill the caller when the program is done, and before it hears of that."""
    code = subprocess.call(program)
    kill_caller()
    return code


def orphan(program: list[str], _seconds: float) -> int:
    """Kill the caller only; the program works on, beside the next attempt."""
    given = sys.stdin.buffer.read() if not sys.stdin.seekable() else None
    kill_caller()
    time.sleep(GHOST_SECONDS)
    return subprocess.run(program, input=given, check=False).returncode


def term(program: list[str], seconds: float) -> int:
    """Ask the caller to end, as a pod that is evicted; the program works on."""
    running = subprocess.Popen(program)
    time.sleep(seconds)
    kill_caller(signal.SIGTERM)
    return running.wait()


def fail(_program: list[str], _seconds: float) -> int:
    """Say that it failed, without having done anything."""
    print("the sweep lets it fail", file=sys.stderr)
    return 1


def fail_after(program: list[str], _seconds: float) -> int:
    """Say that it failed, having done all of it."""
    subprocess.call(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print("the sweep lets it fail", file=sys.stderr)
    return 1


def kill_caller(number: int = signal.SIGKILL) -> None:
    """Kill the subject."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((HERE / "subject").read_text()), number)


def is_called_by(part: str) -> bool:
    """Say whether a part of the caller's arguments is this."""
    return part in arguments_of(os.getppid())


def arguments_of(process: int) -> str:
    """Return a process's arguments."""
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
