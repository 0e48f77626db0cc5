"""The live process: WebSockets (`daphne odata.asgi:application`); also all of it under runserver."""

import asyncio
import os

os.environ.setdefault("ODATA_PROCESS", "live")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")

from django.core.asgi import get_asgi_application

# First: everything below may import models, which need Django set up.
django_application = get_asgi_application()

from typing import Any  # noqa: E402

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from odata.headers import of_the_live_server  # noqa: E402
from products.routing import websocket_urlpatterns  # noqa: E402

RESTARTS = 4503
"""Close code, as HTTP's 503. WebSockets have 1012 for it, which autobahn lets no application send."""
FAREWELL_SECONDS = 0.5
"""How long the last words may take out of the process. Twisted drops what is not sent by then."""


class ClosesOnStop:
    """Tells every open socket, before the server stops, that it may come back."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.open: set[Any] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.open.add(send)
        try:
            await self.application(scope, receive, send)
        finally:
            self.open.discard(send)

    async def close_all(self) -> None:
        for send in tuple(self.open):  # one after the other, in one go: the consumers are ended right after
            await send({"type": "websocket.close", "code": RESTARTS})
        await asyncio.sleep(FAREWELL_SECONDS)


async def only_livez(scope: Any, receive: Any, send: Any) -> None:
    """What the live process says over HTTP: that it lives.

    The rest of HTTP belongs to the web process: each view would take a thread from the sockets.
    """
    alive = scope["path"] == "/livez" and scope["method"] in ("GET", "HEAD")
    status, text = (200, b"alive\n") if alive else (404, b"This is the live server: WebSockets only.\n")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    headers += of_the_live_server()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})


def refuse_body(request: Any, data: bytes) -> None:
    """End a connection at the first byte of a request's body, which nothing here has a use for. Twisted would write it
    to a file before the application is asked, however long it is and whoever sends it."""
    request.handleContentChunk = request.requestReceived = lambda *_: None  # the rest of it goes nowhere
    request.channel.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n")
    request.channel.loseConnection()


sockets = ClosesOnStop(URLRouter(websocket_urlpatterns))
if settings.PROCESS == "live":
    from daphne.http_protocol import WebRequest
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    def farewell() -> Any:
        return Deferred.fromFuture(asyncio.get_event_loop().create_task(sockets.close_all()))

    WebRequest.handleContentChunk = refuse_body
    # Before daphne's own trigger, which ends the consumers without a word to the browsers.
    reactor.addSystemEventTrigger("before", "shutdown", farewell)  # type: ignore[arg-type]

application = ProtocolTypeRouter(
    {"http": only_livez if settings.PROCESS == "live" else django_application, "websocket": sockets}
)
