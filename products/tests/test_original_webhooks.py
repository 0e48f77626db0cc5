"""The original's paths hold a URL: behind the real web server both spellings of its slashes work."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from accounts.models import ApiToken, Scope
from accounts.tests.people import entitle
from products.tests.web_server import running
from webhooks import endpoints
from webhooks.models import WebhookEndpoint

URL = "https://93.184.215.14/hook/a%20b?shop=1"


@pytest.mark.django_db(transaction=True)
def test_a_url_in_the_path_may_have_its_slashes_encoded_or_not(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        token = ApiToken.objects.get()
        ApiToken.objects.update(scopes=[Scope.WEBHOOKS])
        entitle(token.user, Scope.WEBHOOKS)
        for safe in ("", "/", "/:"):
            endpoint, _ = endpoints.create({"url": URL}, actor=token.user)
            in_path = quote(URL, safe=safe)

            status, [switched] = server.send(server.request("PUT", f"/webhooks/update_by_id/{in_path}/inactive"))
            assert (status, switched["id"], switched["enabled"]) == (200, str(endpoint.pk), False)
            with server.connect() as wire:
                wire.sendall(server.request("DELETE", f"/webhooks/del_by_url/{in_path}"))
                assert wire.recv(100).split()[1] == b"204"
            assert not WebhookEndpoint.objects.exists()
