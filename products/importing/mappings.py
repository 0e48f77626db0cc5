"""How the columns of a file were mapped last time, for files with the same headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models.functions import Now

from products.importing.columns import fold, header_name, is_of_report, own_header, target_of
from products.models import SavedMapping

if TYPE_CHECKING:
    from accounts.models import User


def digest_of(headers: Iterable[str]) -> str:
    """The same for the same set of headers, whatever their order and case; and for the file of the rows that were
    rejected, which is to be read as the file was that they come from."""
    names = {fold(own_header(header)) for header in headers if not is_of_report(header)}
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def remembered(headers: Iterable[str]) -> dict[str, str]:
    """The mapping that was last used for these headers; empty if none was."""
    saved = SavedMapping.objects.filter(headers_digest=digest_of(headers)).first()
    return dict(saved.mapping) if saved else {}


@dataclass(frozen=True)
class Proposal:
    """Where the columns of a file go unless its uploader says otherwise."""

    mapping: dict[str, str]
    """Each header -> column, `attributes.NAME`, or "" for one that is left out."""
    remembered: bool
    """Whether an earlier file with the same headers had a mapping."""


def propose(headers: Sequence[str]) -> Proposal:
    """What an import of a file with these headers does without a mapping of its own."""
    saved = remembered(headers)
    names = [header_name(headers, position) for position in range(len(headers))]
    return Proposal({name: target_of(name, saved) for name in names}, remembered=bool(saved))


def remember(headers: Iterable[str], mapping: Mapping[str, str], user: User | None) -> None:
    """Keep a mapping for the next file with these headers."""
    fields = {"mapping": dict(mapping), "saved_by": user, "saved_at": Now()}
    SavedMapping.objects.update_or_create(headers_digest=digest_of(headers), defaults=fields)
