"""The keys of endpoints: which sign now, and how new ones take their place without a delivery being refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Least, Now

from common.errors import ConflictError, InvalidInputError
from common.sealing import UnreadableSecretError, seal, unseal
from webhooks.models import EndpointSecret, SignatureKind, WebhookEndpoint
from webhooks.signing import Ed25519Key, HmacKey, InvalidSecretError, SigningKey, check_strength, parse_key

DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)
MOST_OLD_KEYS = 10
"""Of one endpoint. Each makes the header longer and the receiver's work more."""


@dataclass(frozen=True)
class IssuedKey:
    """What the receiver needs to check signatures of one kind. This is the only time that it is shown."""

    kind: str
    text: str = field(repr=False)
    """`whsec_..` for v1; for v1a the public key, `whpk_..`: the private one never leaves."""


def sealed_by_endpoint(endpoints: Sequence[WebhookEndpoint]) -> dict[UUID, list[EndpointSecret]]:
    """The keys that sign the deliveries of these endpoints now, by their ids: the present ones, in the order of an
    endpoint's `signatures`, then the old ones that did not expire yet. `opened` makes them fit to sign with."""
    kinds = {endpoint.pk: endpoint.signatures for endpoint in endpoints}
    alive = EndpointSecret.objects.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), endpoint__in=kinds)
    signing = [row for row in alive if row.kind in kinds[row.endpoint_id]]
    signing.sort(key=lambda row: (row.expires_at is not None, kinds[row.endpoint_id].index(row.kind), -row.pk))
    found: dict[UUID, list[EndpointSecret]] = {pk: [] for pk in kinds}
    for row in signing:
        found[row.endpoint_id].append(row)
    return found


def opened(sealed: Iterable[EndpointSecret]) -> list[SigningKey]:
    """The keys of these. An old one that can't be read signs no more; for a present one it raises
    UnreadableSecretError."""
    found: list[SigningKey] = []
    for row in sealed:
        try:
            found.append(_parsed(row.sealed))
        except UnreadableSecretError:
            if row.expires_at is None:
                raise
    return found


def public_key(endpoint: WebhookEndpoint) -> str | None:
    """The present `whpk_..` of an endpoint, which is no secret; None where it has no ed25519 key that can be read.
    Asks for nothing where the endpoint was read with its `secrets`."""
    for row in endpoint.secrets.all():
        if row.kind == SignatureKind.V1A and row.expires_at is None:
            try:
                key = _parsed(row.sealed)
            except UnreadableSecretError:
                return None
            return key.public() if isinstance(key, Ed25519Key) else None
    return None


@transaction.atomic
def issue_keys(endpoint: WebhookEndpoint, own: Iterable[str] = ()) -> list[IssuedKey]:
    """Give the endpoint a key of each kind in its `signatures` that it has none of: when it is made, or gets a kind.

    `own` are secrets that the caller chose, in place of new ones. Raises InvalidSecretError.
    """
    _lock(endpoint)
    present = set(endpoint.secrets.filter(expires_at=None).values_list("kind", flat=True))
    return _save(endpoint, [kind for kind in endpoint.signatures if kind not in present], own)


@transaction.atomic
def rotate(endpoint: WebhookEndpoint, overlap: timedelta = DEFAULT_OVERLAP, own: Iterable[str] = ()) -> list[IssuedKey]:
    """New keys for each kind in the endpoint's `signatures`; those before sign as well until `overlap` is over.

    So receivers can change to the new one at any time in between. An overlap of 0 ends all old ones at once, for when
    one became known to others. `own` as for `issue_keys`. Raises InvalidInputError and its InvalidSecretError, and
    ConflictError where too many old keys would sign.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise InvalidInputError(
            f"The overlap must be from 0 to {LONGEST_OVERLAP.days} days: for so long the old key signs beside the new.",
            code="invalid_overlap",
        )
    _lock(endpoint)
    ends = Now() + overlap
    endpoint.secrets.filter(kind__in=endpoint.signatures).update(expires_at=Least(F("expires_at"), ends))
    endpoint.secrets.filter(expires_at__lte=Now()).delete()
    if endpoint.secrets.exclude(expires_at=None).count() > MOST_OLD_KEYS:
        raise ConflictError(
            f"More than {MOST_OLD_KEYS} old keys of this endpoint would sign its deliveries. Wait until some have "
            "expired, or rotate with an overlap of 0, which ends them at once.",
            code="too_many_old_keys",
        )
    return _save(endpoint, endpoint.signatures, own)


def _lock(endpoint: WebhookEndpoint) -> None:
    """Let nobody else change its keys until the transaction ends."""
    WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)


def _save(endpoint: WebhookEndpoint, kinds: Sequence[str], own: Iterable[str]) -> list[IssuedKey]:
    chosen: dict[str, SigningKey] = {}
    for secret in own:
        key = parse_key(secret)
        check_strength(key)
        if key.kind not in kinds or key.kind in chosen:
            raise InvalidSecretError(f"One secret is taken for each kind of signature: {', '.join(kinds) or 'none'}.")
        chosen[key.kind] = key
    keys = [chosen.get(kind) or _make(kind) for kind in kinds]
    EndpointSecret.objects.bulk_create(
        [EndpointSecret(endpoint=endpoint, kind=key.kind, sealed=seal(key.secret())) for key in keys]
    )
    return [IssuedKey(key.kind, key.public() if isinstance(key, Ed25519Key) else key.secret()) for key in keys]


def _make(kind: str) -> SigningKey:
    return Ed25519Key.make() if kind == SignatureKind.V1A else HmacKey.make()


@lru_cache(maxsize=4096)
def _parsed(sealed: str) -> SigningKey:
    """Decrypted and parsed once: both cost more than a signature."""
    return parse_key(unseal(sealed))
