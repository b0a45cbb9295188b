"""From exceptions of globus_sdk and requests to errors of ours, in one place.

Nothing of a foreign exception's text is passed on but the server's own words: the texts of requests
and urllib3 hold memory addresses and may hold a proxy's password. Terminal control characters and
whatever the caller names as secret are taken out of those words too.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.errors import LoginRequired, ReconcilerError, ServiceRefused, ServiceUnreachable

if TYPE_CHECKING:
    from globus_sdk import GlobusAPIError

Clean = Callable[[str], str]

LONGEST_QUOTE = 300


def unreachable(url: str, why: str, *, remedy: str | None = None) -> ServiceUnreachable:
    """Return the error for a service that gave no usable answer."""
    if remedy is None and on_this_machine(url):
        remedy = "look at `chiltepin sandbox status`, and start it with `chiltepin sandbox up`"
    return ServiceUnreachable(
        "The Globus service could not be asked.",
        where=without_query(url),
        why=why,
        remedy=remedy or "check the network (and proxy settings) of this machine, then run the command again",
    )


def on_this_machine(url: str) -> bool:
    """Say whether the URL is of the loopback interface."""
    return urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}


def without_query(url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    return re.sub(r"//[^/]*@", "//", url.split("?", 1)[0].split("#", 1)[0])


def refused(error: GlobusAPIError, url: str, clean: Clean) -> ReconcilerError:
    """Return the error that stands for an error reply (status 4xx or 5xx)."""
    status, said = error.http_status, server_words(error, clean)
    if transient(status):
        return unreachable(url, f"It answered {status}: {said}", remedy="run the command again later")
    if error.raw_json is None:  # no service of Globus, but something before it
        return unreachable(url, f"It answered {status} with something that is not JSON.")
    if status == 404 and not own_words(error.raw_json):
        return unreachable(url, "It answered 404 in a form that is not the service's own.")
    if asks_for_login(error):
        return LoginRequired(
            "The service wants another login for this.",
            where=without_query(url),
            why=f"It answered {status}: {said}",
            remedy="run `chiltepin login --force` and use the identity or session that the service asks for",
        )
    return ServiceRefused(
        "The service refused the request.",
        status=status,
        where=without_query(url),
        why=f"It answered {status}: {said}",
        remedy="see that it was asked as the right identity: `chiltepin whoami`"
        if status == 403
        else "mend what it names, or wait, and run the command again",
    )


def own_words(document: object) -> bool:
    """Say whether an error reply has the form of the service's own, which a proxy's or a gateway's has not.

    The service gives `code` and `reason` with each refusal. Whoever else answers 404 knows nothing of endpoints.
    """
    return isinstance(document, dict) and "code" in document and isinstance(document.get("reason"), str)


def transient(status: int) -> bool:
    """Say whether the same request may succeed later: the service, or a proxy before it, cannot serve now."""
    return status in (408, 425, 429) or status >= 500


def asks_for_login(error: GlobusAPIError) -> bool:
    """Say whether the reply is one that a new login answers: a missing consent or session."""
    return error.http_status == 403 and bool(error.info.authorization_parameters or error.info.consent_required)


def server_words(error: GlobusAPIError, clean: Clean) -> str:
    """Return what the server gave as the reason, on one line, shortened, without control characters."""
    document: Any = error.raw_json
    said: object = None
    if isinstance(document, dict):
        said = document.get("reason") or error.message or document.get("error_description") or document.get("error")
    text = said if isinstance(said, str) and said else str(error.http_reason or "no reason given")
    text = re.sub(r"[A-Za-z0-9_-]{48,}", "[secret]", clean(text))  # no word is that long, but tokens are
    text = " ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", " ", text).split())
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def network_reason(error: BaseException) -> str:
    """Return why a request got no reply, in words that are the same each time."""
    import requests  # noqa: PLC0415  # slow, and loaded already when there is something to explain

    if isinstance(_underlying(error), requests.exceptions.ProxyError):
        return "The proxy (see $http_proxy, $https_proxy and $no_proxy) did not let the request through."
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, socket.gaierror):
            return "The host name cannot be resolved."
        if isinstance(link, ssl.SSLError):
            return f"The TLS connection failed: {link.reason or 'certificate or protocol error'}."
        if isinstance(link, OSError) and link.errno and link.strerror and not isinstance(link, TimeoutError):
            return f"{link.strerror}."
    if any(isinstance(link, requests.Timeout | TimeoutError) for link in chain):
        return "No answer came in time."
    if any(isinstance(link, requests.exceptions.ChunkedEncodingError) for link in chain):
        return "The connection broke off in the middle of the answer."
    return "The connection was closed without an answer."


def _underlying(error: BaseException) -> BaseException:
    inner = getattr(error, "underlying_exception", None)
    return inner if isinstance(inner, BaseException) else error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to what caused it; urllib3 also hides causes in `reason` and `args`."""
    pending: list[BaseException] = [_underlying(error)]
    seen: set[int] = set()
    while pending:
        link = pending.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        hidden = [getattr(link, "reason", None), link.__cause__, link.__context__, *link.args]
        pending.extend(item for item in hidden if isinstance(item, BaseException))
