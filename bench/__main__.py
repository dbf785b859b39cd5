"""`python -m bench`, and the console script `retrieval-bench`."""

import os
import sys

# Threads that wait for each other must sleep, not spin, or a run beside other work on the same
# cores becomes many times slower. It must be set before the first library with OpenMP loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    """Run a command of the command line; end the process with its status."""
    from bench.commands import streams
    from bench.system import interrupt

    streams.open_all()
    interrupt.watch()
    try:
        from bench.commands.main import main as command

        status = command()
    except KeyboardInterrupt:  # before the command began
        status = interrupt.STATUS
    if status == interrupt.STATUS:
        interrupt.leave()
    sys.exit(status)


if __name__ == "__main__":
    main()
