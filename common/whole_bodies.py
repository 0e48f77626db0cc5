"""Requests whose body breaks off: an error, where the web server sees an end like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol


class Body(Protocol):
    """What PEP 3333 has as `wsgi.input`, as far as Django reads it."""

    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


class WholeBodies:
    """A WSGI application whose requests either get their whole body or fail while they read it.

    Granian ends the input of a request whose client has gone in the middle as it ends a complete
    one. Without a look at the declared length, half an upload would become half an import.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdigit() and int(length):
            environ["wsgi.input"] = WholeBody(environ["wsgi.input"], int(length))
        return self.application(environ, start_response)


class WholeBody:
    """A body of a declared length. Reading raises OSError, which Django knows as UnreadablePostError,
    where it ends too early."""

    def __init__(self, body: Body, length: int) -> None:
        self._body = body
        self._left = length

    def read(self, size: int = -1, /) -> bytes:
        return self._counted(self._body.read(size), size)

    def readline(self, size: int = -1, /) -> bytes:
        return self._counted(self._body.readline(size), size)

    def _counted(self, data: bytes, size: int) -> bytes:
        self._left -= len(data)
        if not data and size != 0 and self._left > 0:
            raise ConnectionAbortedError(f"The body ended {self._left} bytes before its Content-Length.")
        return data
