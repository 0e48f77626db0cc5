"""Whether events are lost: many of them, while dispatchers are killed and the queue is emptied at random.

    .venv/bin/python benchmarks/endurance.py [--events 100000] [--kills 100] [--flushes 10] [--seed N]

All processes of the service run, on servers of their own. The receiver checks every signature. A smaller one is part
of the tests (tests/acceptance/test_webhooks.py). Ends with an error where an event was lost, or came more often than
requests that were on their way when a dispatcher was killed account for.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ |= {"DJANGO_SETTINGS_MODULE": "odata.settings", "SECRET_KEY": "only-for-the-benchmarks"}

import django

django.setup()

from odata.tests.running import fresh_folder  # noqa: E402
from tests.acceptance.endurance import endure  # noqa: E402
from tests.acceptance.service import Service  # noqa: E402
from webhooks.tests.receivers import receiving  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flushes", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    started = time.monotonic()
    with fresh_folder() as folder:
        service = Service(folder / "home")
        try:
            service.start_all()
            service.empty()
            with receiving(port=service.receiver_port) as receiver:
                endured = endure(service, receiver, per_second=400, seconds=1800, **vars(options))
        finally:
            service.stop_all()
    print(
        f"{endured.said.total():,} events, {endured.kills} kills, {endured.flushes} times the queue emptied, "
        f"in {time.monotonic() - started:.0f} s (seed {options.seed}): {endured.lost} lost, "
        f"{endured.duplicates} came twice, of {endured.in_hand} on their way at a kill"
    )
    if endured.lost or endured.duplicates > endured.in_hand:
        sys.exit("Events were lost, or sent twice without need.")


if __name__ == "__main__":
    main()
