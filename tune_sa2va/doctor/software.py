"""Compares Python and the installed packages with the requirements and with the versions tested together."""

import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import tune_sa2va
from tune_sa2va.distribution import NAME as _DISTRIBUTION
from tune_sa2va.distribution import package_version
from tune_sa2va.doctor.finding import Finding, Severity
from tune_sa2va.errors import UserError

LOCK_FILE = Path(tune_sa2va.__file__).parents[1] / "requirements.lock"
"""Next to the package in a checkout; an installed package has none."""

_NAMED = 4
"""Number of packages that a line names; it counts the rest."""


def check_installed() -> Finding:
    """The finding about this package itself: only an installed package has metadata that lists its requirements."""
    try:
        return Finding(Severity.OK, "tune_sa2va", package_version())
    except UserError as error:
        where, _, cure = str(error).partition(". Install it: ")
        return Finding(Severity.FAIL, "tune_sa2va", where, f"Install it: {cure}")


def check_python() -> Finding:
    """The finding about this Python, compared with `requires-python`."""
    return judge_python(platform.python_version(), metadata.metadata(_DISTRIBUTION)["Requires-Python"])


def judge_python(version: str, wanted: str) -> Finding:
    """The finding about a Python of this version. wanted: a version specifier."""
    if Version(version) in SpecifierSet(wanted):
        return Finding(Severity.OK, "Python", f"{version} ({sys.executable})")
    return Finding(Severity.FAIL, "Python", f"{version}, wanted {wanted}", f"Make an environment with Python {wanted}.")


def check_packages() -> list[Finding]:
    """The findings about the required packages, and about the lock file if there is one."""
    requirements = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or []]
    needed = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    findings = [judge_requirements(needed, {one.name: _version(one.name) for one in needed})]
    if LOCK_FILE.is_file():
        pins = read_lock(LOCK_FILE.read_text(encoding="utf-8"))
        findings.append(judge_lock(pins, {name: _version(name) for name in pins}))
    return findings


def judge_requirements(needed: list[Requirement], installed: Mapping[str, str | None]) -> Finding:
    """The finding about the required packages. installed: name -> version, None if it is not installed."""
    bad = []
    for requirement in needed:
        version = installed[requirement.name]
        if version is None:
            bad.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            bad.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if not bad:
        return Finding(Severity.OK, "packages", f"all {len(needed)} required packages are installed")
    return Finding(Severity.FAIL, "packages", _some(bad), f"pip install -U {_DISTRIBUTION} (or make, in a checkout).")


def read_lock(text: str) -> dict[str, str]:
    """Name -> version of each `name==version` line of a lock file."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def judge_lock(pins: Mapping[str, str], installed: Mapping[str, str | None]) -> Finding:
    """The finding about the versions that were tested together. Local parts (torch's +cu128) are not compared.

    pins: name -> tested version. installed: name -> version, None if it is not installed.
    """
    other = [
        f"{name} {version}, tested {pin}"
        for name, pin in pins.items()
        if (version := installed[name]) is not None and version.split("+")[0] != pin
    ]
    if not other:
        return Finding(Severity.OK, "tested versions", f"as in {LOCK_FILE.name} ({len(pins)} packages)")
    return Finding(Severity.WARN, "tested versions", _some(other), f"pip install -r {LOCK_FILE.name}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _some(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return "; ".join(items[:_NAMED]) + (f"; and {rest} more" if rest > 0 else "")
