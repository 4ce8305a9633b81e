"""Serves a stand-in until Ctrl-C, to try `tb` by hand: prints what the shell has to know."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress

from dataops_dagster.testing.tinybird.account import Dialect
from dataops_dagster.testing.tinybird.server import StandIn


def main() -> None:
    """Serve one workspace of the dialect that the first argument names, Forward by default."""
    named = sys.argv[1] if len(sys.argv) > 1 else Dialect.FORWARD.value
    known = [dialect.value for dialect in Dialect]
    if named not in known:
        sys.exit(f"{named} is no dialect: use {' or '.join(known)}")
    # Also where a script's `&` shut it off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with StandIn() as stand_in, suppress(KeyboardInterrupt):
        workspace = stand_in.create_workspace("staging_acme", Dialect(named))
        told = {
            "TB_HOST": stand_in.url,
            "TB_TOKEN": workspace.token,
            "TB_USER_TOKEN": stand_in.user_token,
            "TB_VERSION_WARNING": "0",
            "TB_CLI_TELEMETRY_OPTOUT": "1",
        }
        lines = [f"export {name}={value}\n" for name, value in told.items()]
        sys.stdout.write("".join(lines))
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
