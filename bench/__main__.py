"""`python -m bench`."""

import os
import sys

# Threads that wait for each other must sleep, not spin, or a run beside other work on the same
# cores becomes many times slower. It has to be said before the first library with OpenMP loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __name__ == "__main__":
    from bench import stopping

    stopping.watch()
    try:
        from bench.commands.main import main

        status = main()
    except KeyboardInterrupt:  # before the command began
        status = stopping.STATUS
    if status == stopping.STATUS:
        stopping.leave()
    sys.exit(status)
