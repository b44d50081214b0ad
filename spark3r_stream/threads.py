"""How the numerical libraries of a process use its cores: said before numpy and torch are loaded.

Small products are handed to several BLAS threads at a loss, threads that wait by spinning take the processor from the
tracker, and one core is the tracker's. What the user has set stays.
"""

from __future__ import annotations

import os


def one_blas_thread() -> None:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def leave_a_core() -> None:
    """To the tracker, by torch."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) - 1)))
