"""Network interfaces of training workers: they reach each other at the addresses of their nodes in the cluster.

By default Gloo looks up the address of its machine's name. On many machines that is a loopback address, which other
machines cannot reach.
"""

import os
import socket
import struct
import sys
from typing import Any

import ray
from ray.train.torch import TorchConfig

SIOCGIFADDR = 0x8915  # Linux ioctl: the address of an interface, see netdevice(7)
REQUEST = "16s240x"  # its struct ifreq: a name, and room for the answer


class NodeAddresses(TorchConfig):
    """Torch settings of Ray Train by which workers use their node's own network interface."""

    @property
    def backend_cls(self) -> Any:
        return _NodeAddresses


class _NodeAddresses(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(_speak_by_own_interface)
        super().on_start(worker_group, backend_config)


def _speak_by_own_interface() -> None:
    """Set the node's own interface for Gloo and NCCL, unless its environment names one already."""
    interface = interface_of(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")  # without "=", all whose names begin like this


def interface_of(address: str) -> str | None:
    """Find the network interface of this machine with this IPv4 address; None if there is none, or not on Linux."""
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack(REQUEST, name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None
