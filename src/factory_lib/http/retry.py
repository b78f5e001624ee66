"""Retries within one call: only of what can succeed, after each provider's own backoff.

No retry comes sooner than a provider's ``Retry-After``.
"""

from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential, wait_fixed, wait_incrementing, wait_random

from factory_lib.clock import Clock
from factory_lib.errors import SourceError
from factory_lib.settings.records import SourceSettings
from factory_lib.state.limiter import LONGEST_WAIT_S

JITTER = wait_random(0, 1)
LONGEST_BACKOFF_S = 60.0

BACKOFFS: dict[str, Callable[[SourceSettings], wait_base]] = {
    "none": lambda limits: wait_fixed(0),  # the spacing alone is wait enough
    "fixed": lambda limits: wait_fixed(limits.spacing_s),
    "linear": lambda limits: wait_incrementing(start=1, increment=1) + JITTER,
    "exponential": lambda limits: wait_exponential(exp_base=2, max=LONGEST_BACKOFF_S) + JITTER,
}


def worth_another_try(error: BaseException) -> bool:
    """Return whether a retry soon can succeed."""
    return (
        isinstance(error, SourceError)
        and error.retryable
        and (error.retry_after_s or 0.0) <= LONGEST_WAIT_S
    )


def policy(limits: SourceSettings, clock: Clock) -> Retrying:
    """Return the retry policy of one provider; it sleeps on ``clock``."""
    backoff = BACKOFFS[limits.backoff](limits)

    def wait(call: RetryCallState) -> float:
        error = call.outcome.exception() if call.outcome else None
        retry_after_s = error.retry_after_s if isinstance(error, SourceError) else None
        return max(backoff(call), retry_after_s or 0.0)

    return Retrying(
        stop=stop_after_attempt(limits.retries + 1),
        wait=wait,
        retry=retry_if_exception(worth_another_try),
        sleep=clock.sleep,
        reraise=True,
    )
