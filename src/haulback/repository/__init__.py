"""Deduplicated, compressed, encrypted backups (docs/design/repository-format.md)."""

import os

# Set before any module of this package loads numpy: its linear algebra, which is not used, would
# start a thread for each processor, and each of them waits actively for work at first.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
