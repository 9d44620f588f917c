"""What Ray needs of this machine, asked of the doctor before a search begins."""

from tune_sa2va.doctor.finding import Severity
from tune_sa2va.doctor.machine import what_ray_needs
from tune_sa2va.errors import DeviceError


def check_machine_here(address: str | None) -> None:
    """Whether Ray can start here, or join the cluster at `address`.

    Raises:
        UserError: something of this machine is in the way.
    """
    for finding in what_ray_needs(starts=address is None):
        if finding.severity is Severity.FAIL:
            raise DeviceError(f"{finding.subject}: {finding.found}. {finding.cure}")
