"""Retries of storage requests: what is tried again, and when it is given up.

There are two layers, each with growing, random waits. The S3 client repeats every request that gets no answer, "slow
down" or a server error (`credentials.py` sets how often). What it does not notice, such as an answer that breaks off,
and what other clients do not repeat, is repeated here as a whole.
"""

import logging

from tenacity import RetryCallState, retry, retry_if_exception_type, wait_random_exponential

from pipeline.errors import Unreachable

LEAST_ATTEMPTS = 3  # so that slow requests are tried again, too
PATIENCE_S = 30.0  # counted from the first attempt

log = logging.getLogger("nightlift")


def _is_enough(state: RetryCallState) -> bool:
    return state.attempt_number >= LEAST_ATTEMPTS and (state.seconds_since_start or 0.0) >= PATIENCE_S


def _say(state: RetryCallState) -> None:
    """Log the first failure, so that nobody waits without knowing for what."""
    if state.attempt_number == 1 and state.outcome is not None:
        log.info("trying again for half a minute or so: %s", state.outcome.exception())


retried = retry(
    retry=retry_if_exception_type(Unreachable),
    wait=wait_random_exponential(multiplier=0.5, max=8),
    stop=_is_enough,
    before_sleep=_say,
    reraise=True,
)
"""Decorator that repeats a function from its beginning while it raises Unreachable. Not for generators.

Errors that a retry cannot fix (NotFound, AccessDenied, ...) are raised at once. A server that refuses connections is
given up after about half a minute; one that accepts requests and never answers, after three of the client's time-outs.
"""
