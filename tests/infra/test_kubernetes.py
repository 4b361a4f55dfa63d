"""KubeRay's manifests without Kubernetes: against strict schemas, KubeRay's own rules, and by kustomize where it is."""

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.infra.test_infra import INFRA, PINNED
from tests.support import kuberay
from tests.support.killed import HANGS_S

KUBERNETES = INFRA / "kubernetes"
JOBS = ["images", "videos", "train"]


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _cluster() -> dict[str, Any]:
    return _read(KUBERNETES / "cluster" / "cluster.yaml")


def _job(name: str) -> dict[str, Any]:
    """With a cluster of its own, as own-cluster/ makes it."""
    job = _read(KUBERNETES / name / "job.yaml")
    return {**job, "spec": {**job["spec"], "rayClusterSpec": _cluster()["spec"]}}


def _built(folder: str) -> dict[str, Any]:
    """The one thing that `kubectl apply -k` would apply."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which has kustomize, is not installed")
    made = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=True, timeout=HANGS_S
    )
    (manifest,) = yaml.safe_load_all(made.stdout)
    return manifest


def _groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


@pytest.mark.parametrize("manifest", [_cluster(), *map(_job, JOBS)], ids=["cluster", *JOBS])
def test_manifests_are_what_kuberay_takes(manifest: dict[str, Any]) -> None:
    kuberay.check(manifest)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", manifest["metadata"]["name"])
    assert len(manifest["metadata"]["name"]) <= 47


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ((), "ttlSeconds"),
        (("rayClusterSpec",), "autoscaling"),
        (("rayClusterSpec", "autoscalerOptions"), "idleTimeout"),
        (("rayClusterSpec", "headGroupSpec"), "replicas"),
        (("rayClusterSpec", "headGroupSpec", "template", "spec"), "volume"),
        (("rayClusterSpec", "workerGroupSpecs", 0), "maxReplica"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0), "preStop"),
        (("rayClusterSpec", "workerGroupSpecs", 1, "template", "spec", "affinity", "nodeAffinity"), "preferred"),
    ],
)
def test_a_field_that_does_not_exist_is_noticed(place: tuple[str | int, ...], field: str) -> None:
    manifest = copy.deepcopy(_job("images"))
    node = manifest["spec"]
    for step in place:
        node = node[step]
    node[field] = 1
    with pytest.raises(jsonschema.ValidationError, match=field):
        kuberay.check(manifest)


@pytest.mark.parametrize("name", JOBS)
def test_jobs_go_on_in_another_cluster_and_leave_none_behind(name: str) -> None:
    spec = _job(name)["spec"]
    assert spec["backoffLimit"] > 0  # which KubeRay refuses for a cluster that others share
    assert spec["shutdownAfterJobFinishes"] and "clusterSelector" not in spec
    assert spec["ttlSecondsAfterFinished"] > 0


def test_cluster_keeps_to_what_kuberay_asks_of_autoscaling_and_tokens() -> None:
    spec = _cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"] == PINNED["ray"]  # by it KubeRay knows how to ask a node whether it is well
    assert spec["enableInTreeAutoscaling"] and spec["autoscalerOptions"]["version"] == "v2"
    assert all("restartPolicy" not in group["template"]["spec"] for group in _groups(spec))
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_no_work_is_done_on_the_head_and_it_stays_off_spot_machines() -> None:
    head, cpu, gpu = _groups(_cluster()["spec"])
    assert head["rayStartParams"] == {"num-cpus": "0"}
    (term,) = head["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    refused = {each["key"] for each in term["matchExpressions"]}
    assert {each["operator"] for each in term["matchExpressions"]} == {"NotIn", "DoesNotExist"}
    for group in (cpu, gpu):
        rather = group["template"]["spec"]["affinity"]["nodeAffinity"]
        preferred = [
            each["preference"]["matchExpressions"][0]["key"]
            for each in rather["preferredDuringSchedulingIgnoredDuringExecution"]
        ]
        assert set(preferred) == refused
    assert gpu["replicas"] == gpu["minReplicas"] == 0


@pytest.mark.parametrize("number", [0, 1, 2], ids=["head", "cpu", "gpu"])
def test_pods_are_bounded_hold_no_shared_disk_and_run_as_nobody_special(number: int) -> None:
    group = _groups(_cluster()["spec"])[number]
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
    assert container["securityContext"]["allowPrivilegeEscalation"] is False

    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert [mount["name"] for mount in container["volumeMounts"]] == list(volumes)
    assert all(volume.keys() == {"name", "emptyDir"} for volume in volumes.values())
    mounted = {mount["mountPath"]: volumes[mount["name"]]["emptyDir"] for mount in container["volumeMounts"]}
    assert mounted["/dev/shm"]["medium"] == "Memory"
    # Ray takes 30 % of a pod's memory for objects, unless /dev/shm has less
    assert _gib(mounted["/dev/shm"]) >= 0.3 * _gib({"sizeLimit": container["resources"]["limits"]["memory"]})
    assert "NUMBA_CACHE_DIR=/var/cache/nightlift" in (INFRA / "docker" / "Dockerfile").read_text()
    assert {"/tmp", "/var/cache/nightlift"} <= mounted.keys()


def _gib(size: dict[str, str]) -> float:
    assert size["sizeLimit"].endswith("Gi")
    return float(size["sizeLimit"].removesuffix("Gi"))


@pytest.mark.parametrize("number", [0, 1], ids=["cpu", "gpu"])
def test_a_worker_has_the_time_to_be_drained(number: int) -> None:
    pod = _cluster()["spec"]["workerGroupSpecs"][number]["template"]["spec"]
    shell, flag, script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, flag) == ("bash", "-c")
    asked, waited, deadline = (
        int(re.findall(pattern, script)[0]) for pattern in (r"timeout (\d+)", r"sleep (\d+)", r"-seconds (\d+)")
    )
    stopped = 16  # `ray stop` kills what has not ended by then
    assert waited <= deadline
    assert asked + waited + stopped <= pod["terminationGracePeriodSeconds"]


def test_pod_monitor_selects_every_pod() -> None:
    spec = _read(INFRA / "monitoring" / "podmonitor.yaml")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    for group in _groups(_cluster()["spec"]):
        assert group["template"]["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()
        ports = {port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
        assert ports[endpoint["port"]] == 8080


def test_kustomize_puts_in_the_images_and_changes_nothing_else() -> None:
    built, written = _built("cluster"), _cluster()
    kuberay.check(built)
    for group in _groups(written["spec"]):
        (container,) = group["template"]["spec"]["containers"]
        cuda = "-cuda" if container["image"].endswith("-cuda") else ""
        container["image"] = f"registry.example/nightlift:0.1.0{cuda}"
    assert built == written


@pytest.mark.parametrize("name", JOBS)
def test_kustomize_gives_a_job_the_cluster_as_its_own(name: str) -> None:
    built, cluster = _built(name), _built("cluster")
    kuberay.check(built)
    workers = built["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    if name == "train":  # whose workers are there from the beginning
        assert workers["replicas"] == workers["minReplicas"] > 1
        workers["replicas"] = workers["minReplicas"] = 1
    assert built["spec"].pop("rayClusterSpec") == cluster["spec"]
    assert built == _read(KUBERNETES / name / "job.yaml")
