"""Make the README's pictures anew: tell the demo, open Dagster's UI on it, let Chromium look.

python docs/screenshots.py        (needs chromium on PATH)
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from rich.console import Console

from dataops_dagster.demo import daemon, story
from dataops_dagster.demo.world import World

IMAGES = Path(__file__).parent / "images"
PORT = 3979
PAGES = {
    "asset-graph": f"/locations/{daemon.DEFINITIONS}/asset-groups/shop",
    "failed-staging-run": "/assets/shop/staging?view=checks&checkDetail=run",
}
CHROMIUM = [
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1500,800",
    "--virtual-time-budget=60000",
]


def main() -> None:
    """Write one picture a page into docs/images."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dataops-screenshots-") as folder:
        home = Path(folder) / "demo"
        story.tell(home, Console(), keep_open=False, port=PORT)
        world = World(home)
        arguments = ("-m", daemon.DEFINITIONS, "-h", "127.0.0.1", "-p", str(PORT))
        command = (daemon.program("dagster-webserver"), *arguments)
        with daemon.running(*command, env=world.environment(), log=home / "webserver.log"):
            wait_for_server()
            for name, page in PAGES.items():
                subprocess.run(
                    [
                        *CHROMIUM,
                        f"--user-data-dir={folder}/{name}",
                        f"--screenshot={IMAGES / name}.png",
                        f"http://127.0.0.1:{PORT}{page}",
                    ],
                    check=True,
                    capture_output=True,
                )


def wait_for_server() -> None:
    """Wait until the webserver answers."""
    end = time.monotonic() + 60
    while not answers():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.3)


def answers() -> bool:
    """Say whether the webserver answers."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT}/server_info", timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
