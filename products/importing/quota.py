"""How much one person may have here at a time: uploads under way, and files of imports that have not ended.

RFC 9110, section 15.5.14 (413): the server is "unwilling" to take so much; the disk being full is another matter (507).
"""

from __future__ import annotations

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from common.errors import TooLargeError
from products.models import Import, Upload


class QuotaError(TooLargeError):
    """The person has as many bytes waiting here as one may have."""

    code = "quota_exceeded"
    title = "Your quota is used up"


def used_by(user: User) -> int:
    """Bytes of this person's that are here or have been announced, and that nothing has come of yet."""
    uploads = Upload.objects.filter(owner=user, taken_by=None, expires_at__gt=timezone.now())
    imports = Import.objects.filter(created_by=user, state__in=Import.UNFINISHED)
    announced = uploads.aggregate(bytes=Sum("length"))["bytes"] or 0
    waiting = imports.aggregate(bytes=Sum("bytes_total"))["bytes"] or 0
    return int(announced + waiting)


def refuse_too_much(user: User, more: int) -> None:
    """Raise QuotaError where `more` bytes would be too many. A look beforehand, that spares a client the sending."""
    quota: int = settings.UPLOAD_QUOTA_BYTES
    if not quota:
        return
    used = used_by(user)
    if used + more > quota:
        raise QuotaError(
            f"The file has {more:,} bytes. You may have {quota:,} here at a time, in uploads and in imports that have "
            f"not ended, and have {used:,}. Wait until imports have ended, cancel some, or delete uploads (DELETE); "
            "then send it again."
        )


def hold(user: User, more: int) -> None:
    """The same for good, in the transaction that writes the bytes down: of two requests at a time, one sees what the
    other has brought."""
    if settings.UPLOAD_QUOTA_BYTES:
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        refuse_too_much(user, more)
