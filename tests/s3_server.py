"""moto's S3 server, one request at a time: on loopback and a free port, or at the address and port that are given.

moto's own looks whether a condition holds and writes in two steps, on several threads: a real server does it in one.
Requests to the bucket `ignores-conditions` are answered as by a server that does not know conditional writes, those to
`refuses-conditions` as by one that says so.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH")

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    bucket = environ["PATH_INFO"].split("/")[1]
    if bucket == "ignores-conditions":
        for name in CONDITIONS:
            environ.pop(name, None)
    if bucket == "refuses-conditions" and any(name in environ for name in CONDITIONS):
        start_response("501 Not Implemented", [("Content-Type", "application/xml")])
        return [b"<Error><Code>NotImplemented</Code></Error>"]
    with one_at_a_time:
        return list(moto(environ, start_response))


if __name__ == "__main__":
    address, port = sys.argv[1:] or ("127.0.0.1", "0")
    run_simple(address, int(port), app, threaded=True, request_handler=MotoRequestHandler)
