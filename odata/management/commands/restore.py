"""`manage.py restore FILE`: take a backup back, into an empty service that does not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import StoreUnavailableError
from odata import backup
from odata.embedded.errors import StartError
from odata.management.embedded_database import database


class Command(BaseCommand):
    help = "Restore a backup: all of it is checked first, and what does not fit is refused with nothing changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="a file that `backup` wrote")
        parser.add_argument("--replace", action="store_true", help="lose all that is there now")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database(alone=True):
                manifest = backup.read(options["file"], replace=options["replace"])
                call_command("migrate", verbosity=0, interactive=False)  # an older backup lacks the newest tables
        except (backup.BackupError, StartError) as error:
            raise CommandError(str(error)) from None
        except StoreUnavailableError:
            raise CommandError(
                "The bucket (S3_BUCKET) does not answer as it should; the log has its words. See to that, then restore "
                "again, with --replace if this had begun to write."
            ) from None
        except OSError as error:
            raise CommandError(f"{options['file']} can't be restored: {error.strerror or error}.") from None
        self.stdout.write(f"Restored what was backed up at {manifest['made_at']}. Start the service now.")
