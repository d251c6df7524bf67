"""The unit tests of one package kill a share of its mutants; the commit selects both."""

from __future__ import annotations

import subprocess
import sys

from tests import shares


def test_the_unit_tests_see_small_faults_of_their_package():
    run = [sys.executable, "scripts/mutants.py", "--share", str(shares.commit())]
    done = subprocess.run(run, cwd=shares.ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
