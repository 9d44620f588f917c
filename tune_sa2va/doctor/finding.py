"""What one check found."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """OK: as it should be. WARN: it runs, slower or not everything. FAIL: no search can run."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. found: what is there; cure: what to do about it, empty where the severity is OK."""

    severity: Severity
    subject: str
    found: str
    cure: str = ""


def worst(findings: list[Finding]) -> Severity:
    """The gravest severity of all."""
    order = list(Severity)
    return max((finding.severity for finding in findings), key=order.index, default=Severity.OK)
