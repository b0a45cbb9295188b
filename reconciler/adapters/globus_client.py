"""The part of the Globus SDK that every request to the Compute service needs.

Imported by the first request, not before: it brings requests with it, about 80 ms.
"""

from __future__ import annotations

import os

from globus_sdk import ComputeClientV2
from globus_sdk.transport import RequestsTransport, RetryConfig

from reconciler.adapters.translate import on_this_machine
from reconciler.errors import UsageError

# Seconds without a byte after which a request has failed, unless $GLOBUS_SDK_HTTP_TIMEOUT says otherwise.
TIMEOUT = 20.0


def compute_client(environment: str, url: str, timeout: float | None) -> ComputeClientV2:
    """Return a client that sends each request once: the SDK's retries escape Ctrl-C's reach and the budget."""
    transport = make_transport(url, timeout)
    return ComputeClientV2(environment=environment, base_url=url, transport=transport, retry_config=retry_config(0))


def make_transport(url: str, timeout: float | None = None) -> RequestsTransport:
    """Return a transport with our timeout, and without proxies to this machine.

    Raises:
        UsageError: GLOBUS_SDK_HTTP_TIMEOUT or GLOBUS_SDK_VERIFY_SSL has no valid value.
    """

    if timeout is None and not os.environ.get("GLOBUS_SDK_HTTP_TIMEOUT"):
        timeout = TIMEOUT
    try:
        transport = RequestsTransport(http_timeout=timeout)
    except ValueError as error:
        raise UsageError(
            "A setting of the Globus SDK is not valid.",
            why=str(error),
            remedy="unset GLOBUS_SDK_HTTP_TIMEOUT and GLOBUS_SDK_VERIFY_SSL",
        ) from error
    if transport.http_timeout is None:  # the SDK's -1: without end
        transport.http_timeout = TIMEOUT
    if on_this_machine(url):
        transport.session.trust_env = False
    return transport


def retry_config(retries: int) -> RetryConfig:
    """Return the SDK's own retries, with backoff and Retry-After (at most 10 s each), so many times."""

    return RetryConfig(max_retries=retries)
