"""The lock files hold what pyproject.toml asks for, and nothing can slip in beside them."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements.lock", "requirements-fleet.lock", "requirements-dev.lock")


@pytest.fixture
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def entries(root, lock):
    """Each locked requirement as one line, its hashes included."""
    text = (root / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(root, lock):
    """Name to the set of locked specifiers: a package may be pinned differently for different Pythons."""
    found = {}
    for entry in entries(root, lock):
        requirement = Requirement(entry.split(" --hash")[0])
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_one_version_and_its_hashes(root, lock):
    assert [entry for entry in entries(root, lock) if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", entry)] == []


def test_what_runs_is_locked(root, project):
    wanted = {canonicalize_name(Requirement(text).name) for text in project["project"]["dependencies"]}
    wanted |= {canonicalize_name(Requirement(text).name) for text in project["build-system"]["requires"]}
    assert wanted - pins(root, "requirements.lock").keys() == set()


def test_what_checks_is_locked(root, project):
    wanted = {canonicalize_name(Requirement(t).name) for t in project["project"]["optional-dependencies"]["dev"]}
    assert wanted - pins(root, "requirements-dev.lock").keys() == set()


def test_a_locked_version_is_one_that_the_project_allows(root, project):
    locked = pins(root, "requirements-dev.lock")
    texts = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    asked = [Requirement(text) for text in texts]
    wrong = [
        f"{requirement}: {pin}"
        for requirement in asked
        for pin in locked[canonicalize_name(requirement.name)]
        if not requirement.specifier.contains(pin.removeprefix("=="))
    ]
    assert wrong == []


def test_tests_run_with_the_versions_that_people_run(root):
    checking = pins(root, "requirements-dev.lock")
    assert {name: checking.get(name) for name in pins(root, "requirements.lock")} == pins(root, "requirements.lock")
