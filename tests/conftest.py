"""One thread for every test and every process that a test starts; and Ctrl-C reaches them.

Tensors here are so small that waking a second thread costs more than their arithmetic; and on a machine that is busy
with something else, two threads that wait for each other are slower than one by far.
"""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# Started in the background by a script, pytest inherits that SIGINT is ignored, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
