"""Who promotes: a person by hand, the fewest git commands that can do it, and we."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import server, worker
from benchmarks.processes import ROOT, Cost, timed
from benchmarks.worlds import PLAIN, World, git

# The recipe: a full clone with its files, in a fresh folder.
BY_HAND = """\
set -e
git clone -q "$TARGET" work
cd work
git pull -q --no-rebase --no-edit -X theirs --allow-unrelated-histories "$UPSTREAM" main
"""
BY_HAND_PUSH = "git push -q origin HEAD:main\n"

# The two questions, asked at once; nobody can know that there is nothing to do with less.
LOOK = """\
set -e
git ls-remote "$TARGET" refs/heads/main > base &
git ls-remote "$UPSTREAM" refs/heads/main > tip
wait
"""

# And then the fewest git commands for a clean merge, on a cache that has all but the change: those
# that publish, and two that tell what would be published, as every plan of ours does before it is
# (the commits that the target lacks; what changes for it, and what differs from the upstream).
# A missing target's head shows as merge-base's failure, which costs no command of its own.
BARE = (
    LOOK
    + """\
read -r base _ < base
read -r tip _ < tip
quick="--quiet --no-tags --no-write-fetch-head --no-auto-maintenance"
git fetch $quick "$UPSTREAM" +refs/heads/main:refs/remotes/upstream
has=0
git merge-base --is-ancestor "$tip" "$base" 2>/dev/null || has=$?
test $has != 0
if test $has != 1; then
    git fetch $quick "$TARGET" +refs/heads/main:refs/remotes/target
    ! git merge-base --is-ancestor "$tip" "$base"
fi
git log -z --topo-order --format="%H%n%T%n%P%n%ct%n%an%n%s" "$tip" "^$base" > commits
tree=$(git merge-tree --write-tree --allow-unrelated-histories "$base" "$tip")
commit=$(git commit-tree "$tree" -p "$base" -p "$tip" -m "Promote staging to prod")
git diff-tree --stdin -r -z --raw --no-abbrev --no-renames > changes <<END
$commit $base
$commit $tip
END
tag=$(git mktag <<END
object $commit
type commit
tag $TAG
tagger Grace <grace@example.com> $NOW +0000

Promote staging to prod
END
)
git push --quiet --atomic --force-with-lease=refs/heads/main:$base "$TARGET" \
    $commit:refs/heads/main $tag:refs/tags/$TAG
"""
)

CONFIGURATION = """\
project: bench
protocols: [file, http]
workspaces:
  staging: {{repository: {staging}, environment: staging}}
  prod: {{repository: {prod}, environment: prod, upstream: staging}}
"""

COMMAND = "from dataops_dagster.cli import main; main()"


@dataclass
class Track:
    """A world behind one transport, and what the contestants keep for it between their turns."""

    world: World
    folder: Path
    staging: str
    prod: str
    server: server.Running | None
    number: int = 0
    ours: worker.Worker = field(init=False)

    @property
    def cache(self) -> Path:
        """The folder of our cache."""
        return self.folder / "ours"

    @property
    def configuration(self) -> Path:
        """The `dataops.yaml` of this track."""
        return self.folder / "dataops.yaml"

    def prepare(self) -> None:
        """Write the configuration, and warm the cache of the fewest commands."""
        self.folder.mkdir()
        text = CONFIGURATION.format(staging=self.staging, prod=self.prod)
        self.configuration.write_text(text)
        bare = self.folder / "bare"
        bare.mkdir()
        git(bare, "init", "-q", "--bare", "--template=")
        for url, name in ((self.staging, "upstream"), (self.prod, "target")):
            git(bare, "fetch", "-q", url, f"+refs/heads/main:refs/remotes/{name}")

    def change(self) -> str:
        """Put a fresh small commit on the upstream, and the target where it was."""
        self.number += 1
        self.world.reset()
        return self.world.change(f"{self.folder.name}-{self.number}")

    def script(self, text: str, cwd: Path, more: Mapping[str, str]) -> Cost:
        """Run a shell script of git commands with nothing configured."""
        env = {**PLAIN, "UPSTREAM": self.staging, "TARGET": self.prod, **more}
        return timed(["sh", "-c", text], cwd=cwd, env=env)


def by_hand(track: Track) -> Cost:
    """Promote as the recipe says."""
    return _in_fresh_folder(track, BY_HAND + BY_HAND_PUSH)


def by_hand_idle(track: Track) -> Cost:
    """Find by the recipe that there is nothing to do."""
    return _in_fresh_folder(track, BY_HAND)


def bare(track: Track) -> Cost:
    """Promote by the fewest git commands."""
    more = {"TAG": f"bare/{track.number}", "NOW": str(track.world.end)}
    return _in_cache(track, BARE, more)


def bare_idle(track: Track) -> Cost:
    """Ask both servers where their branches are, and no more."""
    return _in_cache(track, LOOK, {})


def ours(track: Track) -> Cost:
    """Promote by the public function in a warm worker."""
    return track.ours.promote(track.cache, "Promoted")


def ours_idle(track: Track) -> Cost:
    """Find by the public function that there is nothing to do."""
    return track.ours.promote(track.cache, "NothingToDo")


def command(track: Track) -> Cost:
    """Promote by `dataops promote`, a process from nothing."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(track.folder),
        "DATAOPS_CACHE_DIR": str(track.cache),
        "DAGSTER_HOME": str(track.folder),
    }
    arguments = ["--json", "--config", str(track.configuration), "promote", "prod"]
    return timed([sys.executable, "-c", COMMAND, *arguments], cwd=ROOT, env=env)


Contestant = Callable[[Track], Cost]

PROMOTING: dict[str, Contestant] = {
    "by hand": by_hand,
    "bare limit": bare,
    "ours": ours,
    "dataops promote": command,
}
IDLING: dict[str, Contestant] = {
    "by hand": by_hand_idle,
    "bare limit": bare_idle,
    "ours": ours_idle,
}


def _in_fresh_folder(track: Track, text: str) -> Cost:
    folder = Path(tempfile.mkdtemp(dir=track.folder, prefix="by-hand-"))
    try:
        return track.script(text, folder, {})
    finally:
        _empty(folder / "work")


def _empty(clone: Path) -> None:
    """Give the space back, but let the files stand until the end of all.

    Where 100,000 files were just deleted, ext4 is five times slower at making new ones for minutes:
    it does not reuse what is young. Nobody who promotes by hand would meet that.
    """
    shutil.rmtree(clone / ".git", ignore_errors=True)
    for path in clone.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def _in_cache(track: Track, text: str, more: Mapping[str, str]) -> Cost:
    folder = track.folder / "bare"
    return track.script(text, folder, {"GIT_DIR": str(folder), **more})
