"""The live process: WebSockets (`daphne odata.asgi:application`); also all of it under runserver."""

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


async def only_livez(scope: Any, receive: Any, send: Any) -> None:
    """What the live process says over HTTP: that it lives.

    The rest of HTTP belongs to the web process. daphne holds a whole request body in memory before
    the application sees it, and each view would take a thread from the sockets.
    """
    alive = scope["path"] == "/livez" and scope["method"] in ("GET", "HEAD")
    status, text = (200, b"alive\n") if alive else (404, b"This is the live server: WebSockets only.\n")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
    headers += of_the_live_server()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})


application = ProtocolTypeRouter(
    {
        "http": only_livez if settings.PROCESS == "live" else django_application,
        "websocket": URLRouter(websocket_urlpatterns),
    }
)
