"""What this process may use of its machine: cores and memory, also in a container, a service or a SLURM step."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # see cgroups(7)


def usable_cores() -> int:
    """Return how many cores this process may use, at least 1.

    Considers its CPU affinity (as of `taskset` and cpusets), the CPU quotas of its cgroups, and `--cpus-per-task` of
    SLURM, which does not bind processes to cores everywhere.
    """
    cores: list[float] = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores.append(len(os.sched_getaffinity(0)))
    with suppress(KeyError, ValueError):
        cores.append(int(os.environ["SLURM_CPUS_PER_TASK"]))
    for folder in _cgroups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            cores.append(_cpu_quota(folder))
    return max(1, int(min(cores)))


def usable_memory_bytes() -> int:
    """Return how much memory this process, with those that it starts, may still take: within what its cgroups allow."""
    free: list[int] = [psutil.virtual_memory().available]
    for folder in _cgroups("memory"):
        with suppress(OSError, ValueError):
            free.append(_free_bytes(folder))
    return max(0, min(free))


def room_here(worker_bytes: float) -> int:
    """Return how many workers the cores and the memory have room for, at least 1."""
    return max(1, min(usable_cores(), int(usable_memory_bytes() / worker_bytes)))


def _cgroups(controller: str) -> Iterator[Path]:
    """Yield the folders of the cgroups that limit this process, from its own up to the root, for version 1 and 2."""
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, place = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = CGROUPS / controllers if controllers else CGROUPS
            own = root / place.lstrip("/")  # in a container it may be named as the host sees it, and not be there
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(root) and folder.is_dir())


def _cpu_quota(folder: Path) -> float:
    """Return how many cores a cgroup has time for. Raises OSError or ValueError where it has no limit."""
    if (version_2 := folder / "cpu.max").exists():
        quota, period = version_2.read_text().split()
    else:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    if int(quota) <= 0:
        raise ValueError("no limit")
    return int(quota) / int(period)


def _free_bytes(folder: Path) -> int:
    """Return how much memory a cgroup has left. Raises OSError or ValueError where it has no limit.

    Cached files count as free where they have not been read for a while, as the kernel drops them first.
    """
    version_2 = (folder / "memory.max").exists()
    limit, used, cached = (
        ("memory.max", "memory.current", "inactive_file")
        if version_2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    )
    statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    in_use = int((folder / used).read_text()) - int(statistics.get(cached, 0))
    return int((folder / limit).read_text()) - in_use
