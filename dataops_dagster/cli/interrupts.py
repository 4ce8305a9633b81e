"""How a command ends when it is interrupted: orderly, however often somebody presses Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Turn the first signal that ends us into `KeyboardInterrupt`; the others come to nothing.

    So what is cleaned up is cleaned up to its end. Builds are ended by SIGTERM, terminals by SIGHUP.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # What somebody chose to ignore stays so, such as SIGHUP by `nohup`.
    heeded = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
