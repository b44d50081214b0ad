"""The engine for programs in Python: `spark3r_stream.run` and `spark3r_stream.Mapper`.

Cores are shared out as on the command line, as far as numpy and torch are not loaded yet.
"""

from spark3r_stream.threads import leave_a_core, one_blas_thread

one_blas_thread()
leave_a_core()
