"""OpenSSH's own server on an unused port, whose deploy keys open one repository each."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"  # few have that folder on their PATH

_CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv GIT_PROTOCOL
LogLevel VERBOSE
PidFile none
"""

# What a host of repositories does: git's own programs, on one repository, perhaps only to read it.
# It says what GitHub says.
_SERVE = """\
#!/bin/sh
# serve MODE REPOSITORY
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
echo "${{SSH_AUTH_SOCK:-no agent}} $SSH_ORIGINAL_COMMAND" >> {folder}/asked
case $SSH_ORIGINAL_COMMAND in
"git-upload-pack '$2'") ;;
"git-receive-pack '$2'")
  [ "$1" = write ] || {{
    echo "ERROR: The key you are authenticating with has been marked as read only." >&2
    exit 1
  }} ;;
*) echo "ERROR: Repository not found." >&2; exit 1 ;;
esac
work() {{ {shell} -c "$SSH_ORIGINAL_COMMAND"; }}
if [ -e {folder}/instead ]; then . {folder}/instead; else work; fi
"""


class Sshd:
    """A server on this machine: one `sshd` a connection, and what it logs.

    The port is ours, and `sshd` gets each connection, as from inetd: nobody else can take the port
    between our choice and its start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self._asked = folder / "log", folder / "asked"
        self._authorized = folder / "authorized_keys"
        for path in (self.log, self._asked, self._authorized):
            path.touch()
        self._config = folder / "sshd_config"
        self._config.write_text(_CONFIG.format(folder=folder))
        serve = folder / "serve"
        shell = shutil.which("git-shell") or f"{_exec_path()}/git-shell"
        serve.write_text(_SERVE.format(folder=folder, shell=shell))
        serve.chmod(0o755)
        self.make_host_key()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._children: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def place(self) -> str:
        """How a URL names the server, and who logs in."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def make_host_key(self) -> None:
        """Give the server another key."""
        (self.folder / "host_key").unlink(missing_ok=True)
        make_key(self.folder / "host_key")

    @property
    def known_host(self) -> str:
        """The line of a known_hosts file that names the server."""
        return f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}"

    def allow(self, key: Path, repository: Path, mode: str = "write") -> None:
        """Make a key the deploy key of one repository."""
        forced = shlex.join([str(self.folder / "serve"), mode, str(repository)])
        with self._authorized.open("a") as file:
            options = f'command="{forced}",no-port-forwarding,no-pty'
            file.write(f"{options} {public_of(key).read_text()}")

    def allow_nobody(self) -> None:
        """Forget all keys."""
        self._authorized.write_text("")

    def do_instead(self, script: str) -> None:
        """Let a shell do this when git's program is asked for, which is `work`."""
        (self.folder / "instead").write_text(script)

    def offered(self) -> set[str]:
        """Return the fingerprints of the keys that clients showed, taken or not."""
        return set(re.findall(r"SHA256:\S+", self.log.read_text()))

    def asked(self) -> list[tuple[str, str]]:
        """Return what was asked for of whom: git's program, and the repository's name."""
        asked = [line.split() for line in self._asked.read_text().splitlines()]
        return [(words[-2], Path(words[-1].strip("'")).name) for words in asked]

    def agents(self) -> set[str]:
        """Return the agents that clients lent us."""
        lines = self._asked.read_text().splitlines()
        return {line for line in lines if not line.startswith("no agent ")}

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._children.append(
                        subprocess.Popen(
                            [PROGRAM, "-i", "-f", str(self._config), "-E", str(self.log)],
                            stdin=connection,
                            stdout=connection,
                            stderr=subprocess.DEVNULL,
                            env={"PATH": os.environ["PATH"]},
                            start_new_session=True,
                        )
                    )

    def cut(self) -> None:
        """End all that serves a client now."""
        for child in self._children:
            end(child.pid)
            child.wait()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        # Closing alone does not wake up who waits in `accept`.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Sshd]:
    """Serve during a block; no process is left."""
    assert Path(PROGRAM).exists(), (
        "python3 dev.py test -m slow installs it; on Debian: openssh-server"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists, and so do its packages
    folder.mkdir()
    server = Sshd(folder)
    try:
        yield server
    finally:
        server.close()


def end(process: int) -> None:
    """End a process and all that it started: those of an sshd leave its group."""
    family = [process]
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGSTOP)  # starts nothing more
    for member in family:
        family += children_of(member)
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def clients_of(port: int) -> list[str]:
    """Return the command lines of the ssh clients that are still there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = os.fsdecode(entry.read_bytes()).split("\0")
            if Path(words[0]).name == "ssh" and str(port) in words:
                found.append(" ".join(words))
    return found


def children_of(process: int) -> list[int]:
    """Return the processes that one has started, as long as they live."""
    try:
        words = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [int(word) for word in words]


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    """Make a pair of keys; returns where the private one is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def public_of(key: Path) -> Path:
    """Return where the public one is."""
    return key.with_name(f"{key.name}.pub")


def fingerprint(key: Path) -> str:
    """Return a key's fingerprint, as servers log it."""
    words = ["ssh-keygen", "-l", "-f", str(public_of(key))]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[1]


@contextlib.contextmanager
def agent(*keys: Path) -> Iterator[str]:
    """Run an agent that holds some keys; yields its socket."""
    # A socket's path is short, and pytest's folders are not.
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/agent"
        with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # it listens
            try:
                env = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": path}
                subprocess.run(["ssh-add", "-q", *map(str, keys)], env=env, check=True)
                yield path
            finally:
                process.terminate()


def _exec_path() -> str:
    done = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True)
    return done.stdout.strip()
