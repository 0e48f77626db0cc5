"""`manage.py doctor`: how the service is, and how to put right what is not."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from odata import doctor


class Command(BaseCommand):
    help = (
        "Look at settings, servers, disk, processes and work, and say what is wrong and how to put it right. "
        "Exit code, as monitoring plugins have it: 0 all is well, 1 warnings, 2 errors."
    )
    requires_system_checks = ()  # they are among what is looked at

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs: one JSON document")
        parser.add_argument("--quiet", action="store_true", help="only what is not well")

    def handle(self, *args: Any, **options: Any) -> None:
        sections = doctor.examine()
        findings = [finding for section in sections for finding in section.findings]
        state = doctor.worst(findings)
        counts = Counter(finding.state for finding in findings)
        if options["json"]:
            listed = [
                {"area": section.name, **dataclasses.asdict(finding)}
                for section in sections
                for finding in section.findings
            ]
            document = {"state": state, "counts": {each: counts[each] for each in doctor.STATES}, "findings": listed}
            self.stdout.write(json.dumps(document, indent=1))
        else:
            for section in sections:
                self.tell(section, quiet=options["quiet"])
            self.stdout.write(", ".join(f"{counts[each]} {each}" for each in reversed(doctor.STATES)) + ".")
        sys.exit(doctor.STATES.index(state))

    def tell(self, section: doctor.Section, *, quiet: bool) -> None:
        """The section as text; with `quiet` only what is not well."""
        shown = [finding for finding in section.findings if finding.state != doctor.OK or not quiet]
        if not shown:
            return
        self.stdout.write(section.name)
        styles = {doctor.OK: self.style.SUCCESS, doctor.WARNING: self.style.WARNING, doctor.ERROR: self.style.ERROR}
        for finding in shown:
            self.stdout.write(f"  {styles[finding.state](f'{finding.state:<8}')} {finding.sentence}")
            if finding.remedy:
                self.stdout.write(f"           -> {finding.remedy}")
        self.stdout.write("")
