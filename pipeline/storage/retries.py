"""Patience with storage: what is tried again, and when it is given up.

Two layers, each with waits that grow and differ from worker to worker. The S3 client repeats every request that is not
answered, or answered by "slow down" and errors of the server's own (`credentials.py` says how often). What it does not
see, such as an answer that breaks off, and what other clients do not repeat, is repeated here as a whole.
"""

from tenacity import RetryCallState, retry, retry_if_exception_type, wait_random_exponential

from pipeline.errors import Unreachable

LEAST_ATTEMPTS = 3  # so that what takes long gets its second chance
PATIENCE_S = 30.0  # from the first attempt on


def _is_enough(state: RetryCallState) -> bool:
    return state.attempt_number >= LEAST_ATTEMPTS and (state.seconds_since_start or 0.0) >= PATIENCE_S


retried = retry(
    retry=retry_if_exception_type(Unreachable),
    wait=wait_random_exponential(multiplier=0.5, max=8),
    stop=_is_enough,
    reraise=True,
)
"""Decorates a function that may be repeated from its beginning: again while it raises Unreachable. No generators.

What no repetition mends (NotFound, AccessDenied, ...) is raised at once. A server that refuses connections is given up
after about half a minute; one that takes requests and never answers, after three times the client's own time-outs.
"""
