"""The word to stop, which a worker and its children share."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings

SCRIPT = """
import os, signal, time
from common.stopping import ask_to_stop, stopping

def child():
    pid = os.fork()
    if pid == 0:
        while not stopping():
            pass
        os._exit(0)
    return pid

for _ in range(30):  # killed at whatever they are doing
    pid = child()
    time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
pid = child()
ask_to_stop()
assert os.waitpid(pid, 0)[1] == 0 and stopping()
"""


def test_children_hear_it_however_many_others_were_killed() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=settings.BASE_DIR, check=True, timeout=10)
