"""Searches that start at the same time take different ports for their dashboards."""

import socket

from tune_sa2va.search.cluster import _free_port


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
