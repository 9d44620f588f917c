"""What one check found."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """OK: as it should be. WARN: it runs, slower or not everything. FAIL: no search can run."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. found: what is there; cure: what to do about it, empty where the verdict is OK."""

    verdict: Verdict
    subject: str
    found: str
    cure: str = ""


def worst(findings: list[Finding]) -> Verdict:
    """The gravest verdict of all."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
