"""Runs a program for as long as who started it lives, and ends its process group after that.

Started as a script of its own (see `process.run`), so it imports nothing of ours: a worker that
is killed cannot clean up, but the pipe that it held closes by itself.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time


def main(lifeline: int, grace: float, command: list[str]) -> int:
    """Run `command`; end the group when the pipe `lifeline` closes. Returns the exit code."""

    def watch() -> None:
        os.read(lifeline, 1)  # returns when the other end is gone
        os.killpg(0, signal.SIGTERM)
        time.sleep(grace)
        os.killpg(0, signal.SIGKILL)

    # The group is asked to end as a whole; we stay until the program did, or grace is over.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    program = subprocess.Popen(command)
    threading.Thread(target=watch, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    code = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    if code < 0:  # end by the signal that the program ended by
        with contextlib.suppress(OSError):  # SIGKILL has no handler to set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
