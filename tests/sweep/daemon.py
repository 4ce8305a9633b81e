"""Dagster's daemon, which is killed at one moment of a sensor's tick: `python -m tests.sweep.daemon MOMENT`.

The moments are those that Dagster's own tests of its recovery know, and `CURSOR_WRITTEN`, before which
the runs were launched.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from dagster._daemon import sensor
from dagster._daemon.cli import main

from dataops_dagster.demo.daemon import DEFINITIONS

MOMENTS = ("TICK_CREATED", "RUN_IDS_RESERVED", "RUN_CREATED", "RUN_LAUNCHED", "CURSOR_WRITTEN")


def strike_at(moment: str) -> None:
    """Let this process be killed at a moment of the sensor that asks for what is due."""
    write = sensor.SensorLaunchContext.__exit__

    def reached(_flags: Any, key: str) -> None:
        if key == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def end(context: sensor.SensorLaunchContext, *given: Any) -> None:
        if context.run_count:
            reached(None, "CURSOR_WRITTEN")
        write(context, *given)

    sensor.check_for_debug_crash = reached
    sensor.SensorLaunchContext.__exit__ = end


if __name__ == "__main__":
    strike_at(sys.argv[1])
    sys.argv = ["dagster-daemon", "run", "-m", DEFINITIONS]
    main()
