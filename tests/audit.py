"""`make audit`: what is known of the packages that run: advisories, withdrawn versions, what fits together, licences.

Advisories need a service on the network; where none is reached this says so, and looks at the rest all the same.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-fleet.lock")
WITHIN_S = 900

FREE = re.compile(
    r"\b(?:MIT|BSD|Apache|PSF|Python Software Foundation|MPL|Mozilla|ISC|Unlicense|0BSD|Zlib)\b", re.IGNORECASE
)
"""Licences under which a package may run here and in an image that is passed on."""

ALLOWED = {"pygal": "LGPL: it is imported as it came, and can be exchanged by whoever is given the image"}
"""Packages of other licences, each with the reason why it may."""


def locked(lock: str) -> dict[str, str]:
    """The packages of a lock file and their versions."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {found[1].lower(): found[2] for found in re.finditer(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)}


def licence_of(name: str) -> str | None:
    """What an installed package says of its licence; nothing for one that this platform does not need."""
    try:
        told = distribution(name).metadata
    except PackageNotFoundError:
        return None
    classified = [
        line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    return " ".join([told.get("License-Expression") or "", (told.get("License") or "")[:60], *classified])


def unfit_licences(lock: str) -> dict[str, str]:
    """Packages whose licence is none of those that are allowed."""
    told = {name: licence_of(name) for name in locked(lock)}
    return {
        name: licence
        for name, licence in told.items()
        if licence is not None and name not in ALLOWED and not FREE.search(licence)
    }


def said(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=WITHIN_S)


def advisories(python: str, lock: str) -> Iterator[tuple[bool, str]]:
    """What a service of advisories knows of a lock file."""
    asked = said(
        python, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner=off", "-f", "json", "-r", lock
    )
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        found = []
    known = [one for one in found if "vulns" in one]
    for one in known:
        for advisory in one["vulns"]:
            yield (
                False,
                f"{lock}: {one['name']} {one['version']}: {advisory['id']}, mended in {advisory['fix_versions']}",
            )
    if known:
        yield True, f"{lock}: advisories were looked up for {len(known)} of {len(found)} packages"
    else:
        yield True, f"{lock}: no advisory service could be reached: nothing is known of advisories"


def withdrawn(lock: str) -> Iterator[tuple[bool, str]]:
    """Versions that their authors took back, by the index of pip's own configuration; hashes are checked with it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        asked = said(
            *(sys.executable, "-m", "pip", "install", "-qq", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--require-hashes", "--report", report.name, "-r", lock),
        )
        if asked.returncode:
            yield False, f"{lock}: pip does not take it: {asked.stderr.strip()[-300:]}"
            return
        packages = json.loads(Path(report.name).read_text(encoding="utf-8"))["install"]
    yanked = [one["metadata"]["name"] for one in packages if one.get("is_yanked")]
    yield (
        not yanked,
        f"{lock}: {len(packages)} packages with the hashes of the lock file, {len(yanked)} withdrawn {yanked or ''}",
    )


def main() -> int:
    """Print what was found; 1 where something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        made = said(sys.executable, "-m", "venv", folder)
        python = f"{folder}/bin/python"
        got = said(python, "-m", "pip", "install", "-qq", "pip-audit") if made.returncode == 0 else made
        findings: list[tuple[bool, str]] = []
        if got.returncode:
            findings.append((True, "pip-audit can't be installed: nothing is known of advisories"))
        else:
            findings += [one for lock in LOCKS for one in advisories(python, lock)]
    findings += [one for lock in LOCKS for one in withdrawn(lock)]
    fits = said(sys.executable, "-m", "pip", "check")
    findings.append((fits.returncode == 0, f"pip check: {fits.stdout.strip().splitlines()[-1]}"))
    for lock in LOCKS:
        unfit = unfit_licences(lock)
        findings.append((not unfit, f"{lock}: licences: {unfit or 'all are allowed'}"))
    for fine, text in findings:
        sys.stdout.write(f"{'ok   ' if fine else 'WRONG'}  {text}\n")
    return 0 if all(fine for fine, _ in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
