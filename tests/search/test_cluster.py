"""A cluster that refuses the search is reported; searches that start together take different dashboard ports."""

import socket
from pathlib import Path
from typing import NoReturn

import pytest
import ray

from tune_sa2va.errors import DeviceError
from tune_sa2va.search.cluster import _dashboard, _free_port, _join


@pytest.mark.parametrize(
    ("reason", "cure"),
    [
        ("RPC error: InvalidAuthToken: token is missing", r"wants a token\. Copy its .* RAY_AUTH_MODE=token\."),
        ("Version mismatch: Ray 2.59.0", r"cannot be joined \(no way in\)\. It must run the same versions of Ray"),
    ],
)
def test_a_cluster_that_does_not_let_us_in(reason: str, cure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises it so: the reason is in the cause of the cause."""

    def init(**_: object) -> NoReturn:
        try:
            raise RuntimeError(reason)
        except RuntimeError as error:
            raise ConnectionError("no way in.") from error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(DeviceError, match=rf"--address 10\.0\.0\.1:6379: .*{cure}"):
        _join("10.0.0.1:6379")


def test_two_searches_that_start_together_get_different_ports() -> None:
    with _free_port() as one, _free_port() as other:
        assert one != other
        with socket.socket() as dashboard:  # Ray's turn, while the claim is held
            dashboard.bind(("127.0.0.1", one))


def test_a_claim_ends_with_its_block_and_a_port_that_is_listened_on_is_left_out() -> None:
    with _free_port() as port:
        pass
    with _free_port() as again:
        assert again == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        with _free_port() as other:
            assert other != port


def test_the_dashboard_is_named_with_the_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    said = _dashboard("127.0.0.1:8265")
    command = said.split(": ")[-1].rstrip(")").split()
    assert said.startswith("Ray dashboard: http://127.0.0.1:8265 (log in with") and command[1] == "get-auth-token"
    assert Path(command[0]).is_file()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert _dashboard("127.0.0.1:8265") == "Ray dashboard: http://127.0.0.1:8265"
