"""Meltano Cloud on loopback: the documented calls on workspaces, deployments and jobs, and faults.

Source: <https://docs.meltano.com/reference/cloud/api/resources>; the fields of a workspace and a job
that are not there are those of <https://github.com/MeltanoLabs/tap-meltano-cloud>'s OpenAPI document.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.repositories import git

TOKEN = "eyJhbGciOi.not-a-real-token.4kX9"
WEBHOOK_SECRET, DEPLOY_KEY = "whs-3f9c1d7e", "-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1r"
CLIENT_ID, CLIENT_SECRET = "G4mKgXrRzGQJKczFL1Pt7sxsrpTv7RQ6", "8sK-not-a-real-secret_Zq1"
PATIENCE_SECONDS = 8.0
"""After this a server that never answers closes: a client without a deadline fails, not hangs."""

Fault = Callable[["_Handler"], None]


@dataclass
class Planned:
    """A fault, and which requests meet it, how many of them (None: all)."""

    do: Fault
    request: str
    times: int | None
    met: int = 0

    def meets(self, request: str) -> bool:
        due = self.times is None or self.met < self.times
        return due and re.match(self.request, request) is not None


@dataclass
class Course:
    """How a job goes: when it is looked at for the `looks`th time it has ended."""

    status: str = "COMPLETE"
    exit_code: int | None = 0
    lines: tuple[str, ...] = ("Cloning the repository", "Deployed")
    looks: int = 2
    commit: str | None = None


@dataclass
class State:
    workspaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)


class MeltanoCloud(ThreadingHTTPServer):
    """The service, for who has the `token`.

    `repository_of` says where a new workspace's repository is, by its alias.
    `requests` holds what was asked (`METHOD /path`) with its authorization and body. `course` is how
    the next jobs go, `makes` how often a new workspace is looked at before it is `makes_it`.
    Without `tells` it says no more of a workspace than its documentation.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = TOKEN
        self.client_secret, self.lasts = CLIENT_SECRET, 86_400
        self.state = State()
        self.requests: list[tuple[str, str | None, bytes]] = []
        self.faults: list[Planned] = []
        self.course = Course()
        self.makes, self.makes_it = 2, "READY"
        self.tells = True
        self.repository_of = "https://github.com/MatatikaBytes/{}-kklcdol".format
        self.closing = threading.Event()
        self.mistakes: list[str] = []

    @property
    def url(self) -> str:
        return f"{self.identity_url}/api"

    @property
    def identity_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fails(self, do: Fault, request: str = "", times: int | None = None) -> None:
        """Let requests whose `METHOD /path` begins like this meet a fault."""
        self.faults.append(Planned(do, request, times))

    def asked(self, request: str = "") -> list[str]:
        return [line for line, _, _ in self.requests if re.match(request, line)]

    def add(self, name: str, repository: str, **more: str) -> str:
        """Add a workspace that is ready; returns its id."""
        id_ = str(uuid.uuid4())
        self.state.workspaces[id_] = {
            "id": id_,
            "created": "2026-06-10T07:08:27.869233",
            "lastModified": "2026-06-10T07:08:27.869233",
            "alias": name.lower().replace(" ", "-"),
            "name": name,
            "domains": [],
            "repositoryUrl": repository,
            "repositoryBranch": "main",
            "defaultEnvironment": "prod",
            "deploymentSecret": WEBHOOK_SECRET,
            "sshPrivateKey": DEPLOY_KEY,
            "imageUrl": "data:image/png;base64," + "A" * 10_000,
            "status": "READY",
            "defaultWorkspace": False,
            **more,
        }
        return id_

    def handle_error(self, *_: object) -> None:
        """Say nothing where a connection broke: that is what some tests are about."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.mistakes.append(traceback.format_exc())


@contextlib.contextmanager
def serving() -> Iterator[MeltanoCloud]:
    server = MeltanoCloud()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()
    assert not server.mistakes, server.mistakes[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536
    server: MeltanoCloud

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = f"{self.command} {self.path.removeprefix('/api')}"
        given = self.headers.get("Authorization")
        self.server.requests.append((request, given, body))
        for planned in self.server.faults:
            if planned.meets(request):
                planned.met += 1
                return planned.do(self)
        if request == "POST /oauth/token":
            return give_token(self, json.loads(body))
        if given != f"Bearer {self.server.token}":
            return self.refuse(401, "Full authentication is required")
        for pattern, respond in ROUTES.items():
            if match := re.fullmatch(pattern, request):
                return respond(self, *match.groups(), body)
        return self.refuse(404, "No message available")

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  # the names are http.server's

    def answer(self, status: int, content: Any = None, kind: str = "application/hal+json") -> None:
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        payload = b"" if content is None else payload
        self.send_response(status)
        if payload:
            self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def refuse(self, status: int, message: str) -> None:
        told = {
            "timestamp": "2026-06-10T07:08:27",
            "status": status,
            "error": "",
            "path": self.path,
        }
        self.answer(status, {**told, "errors": [], "message": message}, "application/json")


# --- what its vendor's programs ask ---------------------------------------------------------------


def give_token(handler: _Handler, asked: dict[str, str]) -> None:
    """Source: <https://auth0.com/docs/api/authentication/client-credentials-flow/get-token>."""
    server = handler.server
    known = {
        "client_id": CLIENT_ID,
        "client_secret": server.client_secret,
        "audience": server.url,
        "grant_type": "client_credentials",
    }
    if not known.items() <= asked.items():  # the vendor also sends an organization of null
        told = {"error": "access_denied", "error_description": "Unauthorized"}
        return handler.answer(401, told, "application/json")
    token = {"access_token": server.token, "token_type": "Bearer", "expires_in": server.lasts}
    return handler.answer(200, token, "application/json")


# --- what is documented -----------------------------------------------------------------------


def list_workspaces(handler: _Handler, _body: bytes) -> None:
    items = [shown(handler, w) for w in handler.server.state.workspaces.values()]
    embedded = {"_embedded": {"workspaces": items}} if items else {}
    handler.answer(200, {**embedded, "_links": links(handler, "workspaces")})


def view_workspace(handler: _Handler, id_: str, _body: bytes) -> None:
    server = handler.server
    if not (workspace := server.state.workspaces.get(id_)):
        return handler.refuse(404, f"Workspace {id_} not found")
    if workspace["status"] == "PROVISIONING":
        looks = server.state.looks[id_] = server.state.looks.get(id_, 0) + 1
        if looks >= server.makes:
            workspace["status"] = server.makes_it
            workspace["repositoryUrl"] = server.repository_of(workspace["alias"])
    return handler.answer(200, shown(handler, workspace))


def draft_workspace(handler: _Handler, _body: bytes) -> None:
    id_ = str(uuid.uuid4())
    handler.server.state.looks[id_] = -1
    handler.answer(200, {"id": id_, "_links": links(handler, f"workspaces/{id_}")})


def create_workspace(handler: _Handler, id_: str, body: bytes) -> None:
    server, name = handler.server, json.loads(body)["name"]
    if server.state.looks.get(id_) != -1:
        return handler.refuse(404, f"Workspace {id_} was not initialised")
    if any(w["name"] == name for w in server.state.workspaces.values()):
        return handler.refuse(409, f"The name {name} is taken")
    server.add(name, "")
    workspace = server.state.workspaces.pop(next(reversed(server.state.workspaces)))
    workspace |= {"id": id_, "status": "PROVISIONING", "defaultEnvironment": "dev"}
    server.state.workspaces[id_], server.state.looks[id_] = workspace, 0
    return handler.answer(201, shown(handler, workspace))


def delete_workspace(handler: _Handler, id_: str, _body: bytes) -> None:
    found = handler.server.state.workspaces.pop(id_, None)
    return handler.answer(204) if found else handler.refuse(404, f"Workspace {id_} not found")


def deploy(handler: _Handler, id_: str, _body: bytes) -> None:
    server = handler.server
    if not (workspace := server.state.workspaces.get(id_)):
        return handler.refuse(404, f"Workspace {id_} not found")
    job = str(uuid.uuid4())
    head = None
    if workspace["repositoryUrl"].startswith("file://"):
        head = git(Path("/"), "ls-remote", workspace["repositoryUrl"], "refs/heads/main").split()[0]
    server.state.jobs[job] = {
        "id": job,
        "created": "2026-06-10T07:13:39.471348",
        "type": "WORKSPACE_DEPLOY",
        "maxAttempts": 0,
        "attempt": 0,
        "status": "QUEUED",
        "_head": server.course.commit or head,
        "_course": server.course,
    }
    return handler.answer(202, job_resource(handler, job))


def view_job(handler: _Handler, id_: str, _body: bytes) -> None:
    state = handler.server.state
    if not (job := state.jobs.get(id_)):
        return handler.refuse(404, f"Job {id_} not found")
    looks = state.looks[id_] = state.looks.get(id_, 0) + 1
    course: Course = job["_course"]
    if job["status"] in ("QUEUED", "RUNNING"):
        job |= {"status": "RUNNING", "startTime": "2026-06-10T07:13:41.1"}
        if looks >= course.looks:
            job |= {"status": course.status, "endTime": "2026-06-10T07:14:02.9"}
            job |= {"exitCode": course.exit_code} if course.exit_code is not None else {}
            job |= {"commitId": job["_head"]} if job["_head"] else {}
    return handler.answer(200, job_resource(handler, id_))


def view_log(handler: _Handler, id_: str, _body: bytes) -> None:
    state = handler.server.state
    job = state.jobs[id_]
    sequence = int(parse_qs(urlsplit(handler.path).query)["sequence"][0])
    lines = list(job["_course"].lines)
    if "endTime" not in job:  # a line a look, the last of them not yet ended
        lines = lines[: state.looks.get(id_, 0)]
        text = "\n".join(lines[sequence:])
    else:
        text = "".join(f"{line}\n" for line in lines[sequence:])
    return handler.answer(200, text.encode(), "text/plain") if text else handler.answer(204)


def stop_job(handler: _Handler, id_: str, _body: bytes) -> None:
    handler.server.state.jobs[id_]["status"] = "STOPPED"
    handler.answer(202, {"message": "accepted"})


def view_profiles(handler: _Handler, _body: bytes) -> None:
    profile = {"id": "auth0|1", "name": "ada", "handle": "@ada", "email": "ada@example.com"}
    handler.answer(200, {"_embedded": {"profiles": [profile]}})


def shown(handler: _Handler, workspace: dict[str, Any]) -> dict[str, Any]:
    hidden = () if handler.server.tells else ("repositoryBranch", "defaultEnvironment")
    told = {key: value for key, value in workspace.items() if key not in hidden}
    return {**told, "_links": links(handler, f"workspaces/{workspace['id']}")}


def job_resource(handler: _Handler, id_: str) -> dict[str, Any]:
    told = {k: v for k, v in handler.server.state.jobs[id_].items() if not k.startswith("_")}
    return {**told, "_embedded": {"profile": {}}, "_links": links(handler, f"jobs/{id_}")}


def links(_handler: _Handler, path: str) -> dict[str, Any]:
    # The service's own links name another host than the one that was asked; so do these.
    return {"self": {"href": f"https://app.matatika.com/api/{path}"}}


ID = r"([^/?]+)"
ROUTES: dict[str, Callable[..., None]] = {
    r"GET /workspaces(?:\?.*)?": list_workspaces,
    rf"GET /workspaces/{ID}": view_workspace,
    r"POST /workspaces": draft_workspace,
    rf"PUT /workspaces/{ID}": create_workspace,
    rf"DELETE /workspaces/{ID}": delete_workspace,
    rf"POST /workspaces/{ID}/deployments": deploy,
    rf"GET /jobs/{ID}": view_job,
    rf"GET /jobs/{ID}/logs\?sequence=\d+": view_log,
    rf"PUT /jobs/{ID}/stopped": stop_job,
    r"GET /profiles": view_profiles,
}


# --- faults -----------------------------------------------------------------------------------


def says(status: int, message: str = "") -> Fault:
    return lambda handler: handler.refuse(status, message)


def never(handler: _Handler) -> None:
    """Do not answer."""
    handler.server.closing.wait(PATIENCE_SECONDS)
    handler.close_connection = True


def drips(handler: _Handler) -> None:
    """Answer with a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(int(PATIENCE_SECONDS / 0.05)):
        if handler.server.closing.wait(0.05):
            break
        handler.wfile.write(b" ")
        handler.wfile.flush()
    handler.close_connection = True


def redirects(to: str) -> Fault:
    def do(handler: _Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return do


def replies(content: bytes, kind: str = "text/html") -> Fault:
    return lambda handler: handler.answer(200, content, kind)


def hangs_up(handler: _Handler) -> None:
    handler.close_connection = True
    handler.connection.close()


def floods(handler: _Handler) -> None:
    """Answer without an end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while not handler.server.closing.is_set():
            handler.wfile.write(b" " * 65_536)
