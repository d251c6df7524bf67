"""A share of the mutants of one pure room, selected by the commit, is killed by the room's unit
tests.
"""

from __future__ import annotations

import subprocess
import sys

from tests import shares


def test_the_unit_tests_see_small_faults_of_their_room():
    run = [sys.executable, "scripts/mutants.py", "--share", str(shares.commit())]
    done = subprocess.run(run, cwd=shares.ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
