"""How the workers of a training reach each other: by the addresses that their nodes have in the cluster.

Gloo, left to itself, asks what address its machine's name stands for. On many machines that is one of the loopback,
at which no other machine finds it.
"""

import os
import socket
import struct
import sys
from typing import Any

import ray
from ray.train.torch import TorchConfig

SIOCGIFADDR = 0x8915  # Linux: the address of an interface, see netdevice(7)
REQUEST = "16s240x"  # its struct ifreq, and room


class NodeAddresses(TorchConfig):
    """Ray Train's, for workers that speak by their node's own interface."""

    @property
    def backend_cls(self) -> Any:
        return _NodeAddresses


class _NodeAddresses(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_speak_by_own_interface)
        super().on_start(worker_group, backend_config)


def _speak_by_own_interface() -> None:
    """But for what the node's environment says."""
    interface = interface_of(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")  # else all whose names begin so


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has an IPv4 address; None where it has none, or not on Linux."""
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack(REQUEST, name.encode()))
            except OSError:  # it has no such address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
