"""What Ray needs from this machine, checked by `doctor` before a search starts."""

from tune_sa2va.doctor.finding import Severity
from tune_sa2va.doctor.machine import what_ray_needs
from tune_sa2va.errors import DeviceError


def check_machine_here(address: str | None) -> None:
    """Checks that Ray can start here (address: None) or join the cluster at `address`.

    Raises:
        UserError: this machine lacks something that Ray needs.
    """
    for finding in what_ray_needs(starts=address is None):
        if finding.severity is Severity.FAIL:
            raise DeviceError(f"{finding.subject}: {finding.found}. {finding.cure}")
