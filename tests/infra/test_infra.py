"""What infra/ holds, without a cluster: images, compose, Ray's launcher on AWS, and the commands that it names.

KubeRay's manifests are tested in `test_infra_kubernetes.py`, what watches in `test_infra_monitoring.py`.
"""

import copy
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from compose_spec import PyOptions

from tests.support.killed import HANGS_S
from tests.support.printed_commands import COMMANDS, check_command
from tests.support.s3_server import s3_server

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(re.findall(r"^([\w.-]+)==(\S+)$", (INFRA / "constraints.txt").read_text(), re.MULTILINE))
DOCKERFILE = INFRA / "docker" / "Dockerfile"
DESCRIPTIONS = [path for path in INFRA.rglob("*") if path.suffix in (".yaml", ".md") or path == DOCKERFILE]


@pytest.mark.parametrize(("place", "command"), COMMANDS, ids=[place for place, _ in COMMANDS])
def test_every_command_exists_with_its_flags(place: str, command: str) -> None:
    check_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "nightlift images s3://in s3://out --worker 3",
        "nightlift photos s3://in s3://out",
        "ray start --heads",
        "ray job submit -- nightlift images s3://in",
        "docker compose exec head nightlift submit images s3://in s3://out --worker 3",
        "ray drain-node --reason OLD_AGE --reason-message 'it is old'",
        "ray rest",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    with pytest.raises(AssertionError):
        check_command(command)


def _instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, each on one line."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def test_hadolint_has_nothing_to_say() -> None:
    told = subprocess.run([Path(sys.executable).parent / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert (told.returncode, told.stdout) == (0, "")


def test_images_are_built_in_stages_upon_a_pinned_base_and_run_as_nobody_special() -> None:
    users: dict[str, str] = {}
    stage = ""
    for instruction, words in _instructions():
        if instruction == "FROM":
            base, _, stage = words.partition(" AS ")
            assert base in users or re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+[\w.-]*", base), f"{base} is not pinned"
            users[stage] = users.get(base, "0")
        elif instruction == "USER":
            users[stage] = words
    assert list(users)[-1] == "cpu"  # what is built where no target is named
    assert users["cpu"] == users["cuda"] == "1000"  # a number: Kubernetes asks whether it is root's


def test_images_say_whether_they_are_well_and_keep_no_package_lists() -> None:
    instructions = _instructions()
    assert any(instruction == "HEALTHCHECK" for instruction, _ in instructions)
    for instruction, words in instructions:
        if instruction == "RUN" and "apt-get install" in words:
            assert "--no-install-recommends" in words
            assert "rm -rf /var/lib/apt/lists/*" in words


def _reaches_the_build(path: str) -> bool:
    """By .dockerignore, whose last word on a path counts."""
    reaches = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
        if pattern and not line.startswith("#"):
            anywhere = above + list(parts) if line.startswith("**/") else above
            if any(fnmatch(each, pattern) for each in anywhere):
                reaches = line.startswith("!")
    return reaches


def test_what_is_copied_into_an_image_is_tracked_and_nothing_else_reaches_the_build() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sources = [
        source
        for instruction, words in _instructions()
        if instruction == "COPY" and "--from" not in words
        for source in words.split()[:-1]
    ]
    assert len(sources) == 6
    copied = [path for path in tracked if any(path == source or path.startswith(f"{source}/") for source in sources)]
    assert all(any(path.startswith(source) for path in copied) for source in sources)
    assert [path for path in tracked if _reaches_the_build(path)] == copied
    assert not _reaches_the_build("model/__pycache__/curves.cpython-311.pyc")


def test_versions_are_said_the_same_everywhere() -> None:
    extras = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE.read_text())
    assert extras and set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    tags = {tag for path in DESCRIPTIONS for tag in re.findall(r"nightlift:(\d[\w.]*)", path.read_text())}
    assert tags == {PROJECT["version"]}
    launcher = (INFRA / "aws" / "cluster.yaml").read_text()
    assert re.findall(r"boto3==(\S+)", launcher) == [PINNED["botocore"]]  # the two are released together


def test_ray_heeds_every_environment_variable_that_is_named_like_its_own() -> None:
    variable = re.compile(r"\bRAY_[A-Z_]+\b")
    named = {name for path in DESCRIPTIONS for name in variable.findall(path.read_text())}
    assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_JOB_STOP_WAIT_TIME_S"} <= named
    places = [Path(ray.__file__).parent / part for part in ("_common", "_private", "autoscaler", "dashboard")]
    heeded = {name for place in places for path in place.rglob("*.py") for name in variable.findall(path.read_text())}
    assert named <= heeded


def test_compose_file_is_right_and_names_what_exists() -> None:
    place = INFRA / "compose"
    options = PyOptions(apply_merge=True)
    text = (place / "compose.yaml").read_text()
    options.from_yaml(text).validate()
    with pytest.raises(ValueError, match="profilez"):
        options.from_yaml(text.replace("profiles:", "profilez:"))

    services = yaml.safe_load(text)["services"]
    build = services["head"]["build"]
    assert (place / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DOCKERFILE
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])]
    assert all((place / mount).exists() for mount in mounts if mount.startswith("."))
    assert all(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) for service in services.values())


def test_the_bucket_at_home_is_filled_with_the_sample_photos(tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(INFRA / "samples" / "photos")
    with s3_server(tmp_path) as server:
        script = [sys.executable, INFRA / "compose" / "bucket.py"]
        for _ in range(2):  # as often as the cluster is started
            subprocess.run(script, cwd=tmp_path, env=server.environment, check=True, timeout=HANGS_S)
        look = "import s3fs; print(*sorted(s3fs.S3FileSystem().find('night')))"
        there = subprocess.run(
            [sys.executable, "-c", look], env=server.environment, capture_output=True, text=True, check=True
        )
    names = sorted(path.name for path in (INFRA / "samples" / "photos").iterdir())
    assert there.stdout.split() == [f"night/in/{name}" for name in names]


def _launcher() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "aws" / "cluster.yaml").read_text())


def test_ray_takes_the_launcher_file_as_it_is() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(_launcher()))
    validate_config(prepared)
    assert prepared["head_setup_commands"] == _launcher()["head_setup_commands"]  # none of Ray's own defaults
    assert prepared["worker_setup_commands"] == []
    assert _launcher()["available_node_types"]["gpu"]["max_workers"] == 0
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**_launcher(), "max_worker": 3}))


@pytest.mark.parametrize("node_type", ["head", "cpu", "gpu"])
def test_ec2_knows_every_field_of_a_machine(node_type: str) -> None:
    import botocore.session
    from botocore.validate import ParamValidator

    machine = _launcher()["available_node_types"][node_type]["node_config"]
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape

    def slips(fields: dict[str, Any]) -> str:
        return str(ParamValidator().validate({"MinCount": 1, "MaxCount": 1, **fields}, shape).generate_report())

    assert slips(machine) == ""
    assert "InstanceSort" in slips({**machine, "InstanceSort": "large"})
    assert ("InstanceMarketOptions" in machine) == (node_type != "head")  # never the driver on a spot machine
