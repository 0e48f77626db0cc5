"""`manage.py backup FILE`: the database and all uploaded files as one file. The service may go on meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import StoreUnavailableError
from odata import backup
from odata.embedded.errors import StartError
from odata.management.embedded_database import database


class Command(BaseCommand):
    help = "Back the service up to one file: database and uploaded files, but not the keys."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="where to write it; must not be there yet")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database():
                made = backup.write(options["file"])
        except (backup.BackupError, StartError) as error:
            raise CommandError(str(error)) from None
        except StoreUnavailableError:
            raise CommandError(
                "The bucket (S3_BUCKET) does not answer as it should; the log has its words. See to that, then back up "
                "again."
            ) from None
        except OSError as error:
            raise CommandError(f"{options['file']} can't be written: {error.strerror or error}.") from None
        self.stdout.write(
            f"{options['file']}: {made['bytes'] / 1e6:,.1f} MB, the database and {made['files']:,} files."
        )
        self.stdout.write(
            "The keys are not in it. Keep ODATA_HOME/secret_key and ODATA_HOME/webhook_secret_keys, or SECRET_KEY and "
            "WEBHOOK_SECRET_KEYS, at another place: without the latter all webhooks need new secrets."
        )
