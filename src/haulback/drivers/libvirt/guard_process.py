"""Start of a guard: a process of its own that acts on a guest even if the driver dies."""

from __future__ import annotations

import subprocess
import sys

from haulback import credentials
from haulback.drivers.libvirt.connection import Domain


def start(module: str, uri: str, domain: Domain, seconds: int) -> subprocess.Popen[bytes]:
    """Run `python -m MODULE URI UUID SECONDS` in its own session, with pipes for input and output.

    A guard prints "ready" once it waits.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, uri, domain.uuid, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=credentials.for_children(),
        start_new_session=True,
    )
