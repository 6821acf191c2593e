"""FunLess for Python: what a function is given, and what it may call. What is printed goes to the function's log."""

import json
import sys
import traceback
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingBody,
    Method_Delete,
    Method_Get,
    Method_Head,
    Method_Options,
    Method_Other,
    Method_Patch,
    Method_Post,
    Method_Put,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
    Scheme_Https,
)

# The most that a stream takes or gives at once, in bytes.
CHUNK = 4096

METHODS = {
    "GET": Method_Get,
    "HEAD": Method_Head,
    "POST": Method_Post,
    "PUT": Method_Put,
    "DELETE": Method_Delete,
    "OPTIONS": Method_Options,
    "PATCH": Method_Patch,
}


class Error(Exception):
    """An error of the function's own: its caller gets the message."""


@dataclass
class Response:
    """What a server responds."""

    status: int
    body: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    def json(self):
        return json.loads(self.body)


def handler(function):
    """The export of a component that calls `function` with its arguments."""

    class Handler(exports.IncomingHandler):
        def handle(self, request, response_out):
            try:
                arguments = json.loads(_read(request.consume()) or b"{}")
                status, body = 200, json.dumps(function(arguments)).encode()
            except Error as error:
                status, body = 422, str(error).encode()
            except Exception as error:
                traceback.print_exc()
                status, body = 500, f"{type(error).__name__}: {error}".encode()
            sys.stdout.flush()
            _respond(response_out, status, body)

    return Handler


def request(method, url, headers=(), body=b""):
    """Sends an HTTP request. The headers are pairs of texts."""
    parts = urlsplit(url)
    pairs = [(name, value.encode()) for name, value in dict(headers).items()]
    outgoing = OutgoingRequest(Fields.from_list(pairs))
    known = METHODS.get(method)
    outgoing.set_method(known() if known else Method_Other(method))
    outgoing.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    outgoing.set_authority(parts.netloc)
    query = f"?{parts.query}" if parts.query else ""
    outgoing.set_path_with_query((parts.path or "/") + query)
    outgoing_body = outgoing.body()
    try:
        future = outgoing_handler.handle(outgoing, None)
        _write(outgoing_body, body)
        with future.subscribe() as ready:
            ready.block()
        answer = future.get().value
        if isinstance(answer, Err):
            raise answer
        incoming = answer.value
        entries = incoming.headers().entries()
        return Response(incoming.status(), _read(incoming.consume()), entries)
    except Err as error:
        raise Error(f"no response from {url}: {error.value}") from None


def _read(body):
    """All bytes of a body."""
    received = bytearray()
    with body.stream() as stream:
        while True:
            try:
                received += stream.blocking_read(CHUNK)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return bytes(received)


def _write(body, content):
    with body.write() as stream:
        for start in range(0, len(content), CHUNK):
            stream.blocking_write_and_flush(content[start : start + CHUNK])
    OutgoingBody.finish(body, None)


def _respond(response_out, status, content):
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    _write(body, content)
