"""The result of one check."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """OK: as it should be. WARN: searches run, but slowly or not all of them. FAIL: no search can run."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. found: what is there. cure: what to do about it; empty if the severity is OK."""

    severity: Severity
    subject: str
    found: str
    cure: str = ""


def worst(findings: list[Finding]) -> Severity:
    """The most severe of the findings' severities; OK if there are none."""
    order = list(Severity)
    return max((finding.severity for finding in findings), key=order.index, default=Severity.OK)
