"""One request over http or https, at the end of whose redirects stands an answer or an error.

Redirects are followed here, one by one, because `requests` reads and unpacks the body of each,
however large; none leads from https to http, and the next server is not asked before that is
known. Proxies, certificates and logins come from the environment, as `requests` reads them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from mobilenet_hub.errors import NetworkError
from mobilenet_hub.web.patience import current_waits, timeout_seconds

if TYPE_CHECKING:
    import requests

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})

_CONNECT_SECONDS = 5.0
_MAX_REDIRECTS = 10
_ADVICE = {401: ", it wants a login", 403: ", it refuses", 407: ", the proxy wants a login"}

_thread = threading.local()


def open_response(
    method: Literal["GET", "HEAD"], url: str, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """An answer with status 200 or 206 whose body was not read, at the end of all redirects.

    Raises:
        NetworkError: there is none.
    """
    import requests

    wanted = {"Accept-Encoding": "identity", **(headers or {})}
    timeout = timeout_seconds()
    for _ in range(_MAX_REDIRECTS + 1):
        if current_waits().ended.is_set():
            raise NetworkError("ended before it was asked for", transient=False)
        try:
            response = _session().request(
                method, url, headers=wanted, stream=True, allow_redirects=False,
                timeout=(min(_CONNECT_SECONDS, timeout), timeout),
            )  # fmt: skip
        except requests.exceptions.SSLError as error:
            raise NetworkError(
                "the server's certificate is not trusted; behind a proxy that inspects traffic, "
                f"set REQUESTS_CA_BUNDLE to its certificate ({reason_of(error)})", transient=False,
            ) from error  # fmt: skip
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise NetworkError(reason_of(error)) from error
        except (requests.exceptions.RequestException, ValueError) as error:
            raise NetworkError(f"not a URL that can be asked: {error}", transient=False) from error
        location = response.headers.get("Location")
        if response.status_code in (200, 206):
            return response
        response.close()  # its body may be anything
        if response.status_code not in (301, 302, 303, 307, 308) or location is None:
            raise _refusal(response)
        url = redirected(url, location)
    raise NetworkError(f"more than {_MAX_REDIRECTS} redirects", transient=False)


def redirected(url: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        NetworkError: to another protocol, or from https to http, where anybody could answer.
    """
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError as error:
        raise NetworkError(f"a redirect to no URL: {error}", transient=False) from error
    if scheme not in ("http", "https") or (urlsplit(url).scheme == "https" and scheme == "http"):
        raise NetworkError(
            f"a redirect from {urlsplit(url).scheme} to {scheme}, which is not followed",
            transient=False,
        )
    return target


def _refusal(response: requests.Response) -> NetworkError:
    """The error of a status; its words are ours, not the server's."""
    from http.client import responses

    status = response.status_code
    return NetworkError(
        f"HTTP status {status} {responses.get(status, '')}".rstrip() + _ADVICE.get(status, ""),
        status=status, transient=status in BUSY,
        retry_after=_retry_after(response.headers.get("Retry-After", "")),
    )  # fmt: skip


def _retry_after(value: str) -> float | None:
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return float(Retry().parse_retry_after(value)) if value and len(value) < 64 else None
    except (InvalidHeader, ValueError, OverflowError):
        return None


def size_and_time(headers: Mapping[str, str]) -> tuple[int | None, float]:
    """Size in bytes, None if it is not said; seconds from 1970 to the last change, 0 if not."""
    from email.utils import parsedate_to_datetime  # takes a while: only where a network is read

    length = headers.get("Content-Length", "")
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
    try:
        return size, parsedate_to_datetime(headers.get("Last-Modified", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return size, 0.0


def reason_of(error: BaseException) -> str:
    """The innermost of the errors that wrap each other, which says it shortest."""
    while True:
        inner = error.__cause__ or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or inner is error:
            return str(error) or type(error).__name__
        error = inner


def _session() -> requests.Session:
    """This thread's own; it keeps connections open from one request to the next."""
    if (session := getattr(_thread, "session", None)) is None:
        import requests

        from mobilenet_hub import __version__

        session = requests.Session()
        # Else `requests` reads the body of every redirect, even of one that it does not follow.
        session.get_redirect_target = lambda response: None  # type: ignore[assignment,method-assign]
        session.headers["User-Agent"] = f"mobilenet-hub/{__version__}"
        if bundle := os.environ.get("SSL_CERT_FILE"):  # REQUESTS_CA_BUNDLE goes first, in requests
            session.verify = bundle
        adapter = _adapter()
        session.mount("http://", adapter())
        session.mount("https://", adapter())
        _thread.session = session
    result: requests.Session = session
    return result


@cache
def _adapter() -> type[requests.adapters.HTTPAdapter]:
    """Makes connections that `Waits` knows from the moment they stand."""
    from requests.adapters import HTTPAdapter
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    def known(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                current_waits().add_connection(self)

        return type(pool.__name__, (pool,), {"ConnectionCls": Connection})

    classes = {"http": known(HTTPConnectionPool), "https": known(HTTPSConnectionPool)}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = classes

        def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(*args, **options)
            manager.pool_classes_by_scheme = classes
            return manager

    return Adapter
