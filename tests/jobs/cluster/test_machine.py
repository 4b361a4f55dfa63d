"""Cores and memory that this process may use, where something allows it less than the machine has."""

import os
from pathlib import Path

import psutil
import pytest

from jobs.cluster import machine
from jobs.cluster.machine import room_here, usable_cores, usable_memory_bytes

GB = 1 << 30


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores and 16 GB of free memory without limits; returns the folder that is its `/sys/fs/cgroup`."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 16 * GB}))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    return tmp_path / "cgroup"


def _write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def _is_in(cgroups: Path, membership: str) -> None:
    (cgroups.parent / "membership").write_text(f"{membership}\n")


def test_without_limits_all_cores_and_all_free_memory(cgroups: Path) -> None:
    assert (usable_cores(), usable_memory_bytes()) == (8, 16 * GB)
    _is_in(cgroups, "0::/")
    _write(cgroups, cpu__max="max 100000", memory__max="max", memory__current=GB, memory__stat="inactive_file 0")
    assert (usable_cores(), usable_memory_bytes()) == (8, 16 * GB)


def test_affinity_counts(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    assert usable_cores() == 2


def test_where_there_are_no_affinities_all_cores_count(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert usable_cores() == 8


@pytest.mark.parametrize(("told", "cores"), [("4", 4), ("64", 8), ("2(x3)", 8), ("", 8)])
def test_cores_of_a_slurm_step_count(cgroups: Path, monkeypatch: pytest.MonkeyPatch, told: str, cores: int) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", told)
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 8)])
def test_the_quota_of_any_cgroup_above_counts(cgroups: Path, quota: str, cores: int) -> None:
    _is_in(cgroups, "0::/user.slice/job.scope")
    _write(cgroups / "user.slice", cpu__max=quota)
    _write(cgroups / "user.slice" / "job.scope", cpu__max="700000 100000")
    assert usable_cores() == min(cores, 7)


def test_memory_of_a_cgroup_counts_but_for_cached_files(cgroups: Path) -> None:
    _is_in(cgroups, "0::/job")
    statistics = f"anon 5\ninactive_file {GB}"
    _write(cgroups / "job", memory__max=4 * GB, memory__current=3 * GB, memory__stat=statistics)
    assert usable_memory_bytes() == 2 * GB
    assert [room_here(worker * GB) for worker in (0.7, 3)] == [2, 1]
    _write(cgroups / "job", memory__current=9 * GB)
    assert usable_memory_bytes() == 0


def test_cgroups_of_version_1_count_also_as_a_container_sees_them(cgroups: Path) -> None:
    _is_in(cgroups, "4:memory:/docker/123\n2:cpu,cpuacct:/docker/123\n1:name=systemd:/docker/123")
    _write(cgroups / "cpu,cpuacct", cpu__cfs_quota_us=150000, cpu__cfs_period_us=50000)
    limits = {"memory__limit_in_bytes": 2 * GB, "memory__usage_in_bytes": GB, "memory__stat": "total_inactive_file 0"}
    _write(cgroups / "memory", **limits)
    assert (usable_cores(), usable_memory_bytes()) == (3, GB)
    _write(cgroups / "memory" / "docker" / "123", **{**limits, "memory__limit_in_bytes": GB + 7})
    _write(cgroups / "cpu,cpuacct" / "docker" / "123", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert (usable_cores(), usable_memory_bytes()) == (3, 7)
