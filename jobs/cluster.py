"""Ray for a job: joins the cluster that RAY_ADDRESS names, or starts a local one and says so."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import UsageError

log = logging.getLogger("nightlift")


@contextmanager
def ray_cluster(workers: int | None) -> Iterator[None]:
    """An initialised Ray while the body runs; a local one has a core for each worker. Raises UsageError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leaves devices visible to CPU workers, as ever
    import ray  # takes a second: only once there is work

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            log.info("joining the Ray cluster at %s", address)
            ray.init(address=address, runtime_env=_our_code(), **quiet)
        else:
            log.info("starting Ray on this machine (a few seconds)")
            ray.init(address="local", num_cpus=max(workers or 0, os.cpu_count() or 1), include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f"RAY_ADDRESS={address}: no cluster answers there ({error})") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def cluster_cpus() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def cluster_gpus() -> int:
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def _our_code() -> dict[str, object]:
    """Sends the packages that run here to the workers, unless this driver is itself a submitted Ray job, which has them."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return {}
    import jobs
    import model
    import pipeline

    return {"py_modules": [jobs, model, pipeline]}
