"""By which interface the workers of a training speak."""

import os
import socket
import sys

import pytest

from jobs.cluster import network_interface
from jobs.cluster.network_interface import interface_of


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are told by address on Linux alone")
def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") in {name for _, name in socket.if_nameindex()}
    assert interface_of("203.0.113.7") is None


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_interface, "interface_of", lambda _: "eth7")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth1")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME")
    network_interface._speak_by_own_interface()
    assert [os.environ[name] for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")] == ["eth1", "=eth7"]
