"""Repository URLs as users write them: how each is reached, and whether two name one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

_NOT_IN_A_URL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]|%[01][0-9a-f]|%7f|[?#]", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]+")
_SCP_LIKE = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9._-]+):(?P<path>[^:].*)")
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}
# Where a host shows a commit and a branch, below the repository's page; known by a part of its name,
# as in gitlab.example.com.
_PAGES = {
    "github": ("commit", "tree"),
    "gitlab": ("-/commit", "-/tree"),
    "bitbucket": ("commits", "branch"),
}


@dataclass(frozen=True)
class RepositoryUrl:
    """A URL's parts; `protocol` is https, ssh, http or file."""

    protocol: str
    host: str
    path: str
    has_credentials: bool = False

    @property
    def place(self) -> str:
        """What two spellings of one repository have in common."""
        host = self.host.lower()
        path = self.path if self.protocol == "file" else self.path.lstrip("/")
        return f"{host}:{path.rstrip('/').removesuffix('.git')}"


def parse(url: str) -> RepositoryUrl | None:
    """Read a URL, `USER@HOST:PATH` or a path; None for what git might take for something else.

    Refused are transport helpers (`ext::`), options, and what could reach another line or host.
    """
    if url.startswith("-") or _NOT_IN_A_URL.search(url):
        return None
    before_slash = url.split("/", 1)[0]
    if "::" in before_slash:
        return None
    if "://" in url:
        return _with_scheme(url)
    if ":" in before_slash:
        match = _SCP_LIKE.fullmatch(url)
        names = [match["user"] or "", match["host"]] if match else ["-"]
        if not match or any(name.startswith("-") for name in names):
            return None
        # USER:SECRET@HOST:PATH would be read as the host USER.
        secret = "@" in match["path"].split("/", 1)[0]
        return RepositoryUrl("ssh", match["host"], match["path"], secret)
    return RepositoryUrl("file", "", url)


def _with_scheme(url: str) -> RepositoryUrl | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if scheme == "file":
        known = not host or "@" in parts.netloc
        return RepositoryUrl("file", "", unquote(parts.path), bool(host)) if known else None
    names = (host, parts.username or "")
    if (
        scheme not in _DEFAULT_PORTS
        or not _HOST.fullmatch(host)
        or any(name.startswith("-") for name in names)
    ):
        return None
    if port not in (None, _DEFAULT_PORTS[scheme]):
        host = f"{host}:{port}"
    # ssh needs a user's name in the URL; a secret never belongs there.
    secret = parts.password is not None or (scheme != "ssh" and "@" in parts.netloc)
    return RepositoryUrl(scheme, host, parts.path, secret)


def commit_page(repository: str, commit: str) -> str | None:
    """Return the address of a commit's page at GitHub, GitLab or Bitbucket; None for other hosts."""
    return _page(repository, 0, commit)


def branch_page(repository: str, branch: str) -> str | None:
    """Return the address of a branch's page at such a host."""
    return _page(repository, 1, branch)


def _page(repository: str, kind: int, name: str) -> str | None:
    parsed = parse(repository)
    if parsed is None or parsed.protocol == "file":
        return None
    # A host's port for ssh is not the one for its pages.
    host = parsed.host.split(":")[0] if parsed.protocol == "ssh" else parsed.host
    service = next((part for part in host.lower().split(".") if part in _PAGES), None)
    if service is None:
        return None
    scheme = "http" if parsed.protocol == "http" else "https"
    path = parsed.path.strip("/").removesuffix(".git")
    return f"{scheme}://{host}/{quote(path)}/{_PAGES[service][kind]}/{quote(name)}"
