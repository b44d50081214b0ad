"""The command line. It owns its process, so it says how the numerical libraries in it wait, before they are loaded.

Small products are handed to several BLAS threads at a loss, and threads that wait by spinning take the processor from
the tracker. What the user has set stays.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
