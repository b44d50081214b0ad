"""The command line. It owns its process, so it says how the numerical libraries in it wait, before they are loaded."""

from spark3r_stream.threads import one_blas_thread

one_blas_thread()
