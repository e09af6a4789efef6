"""``./run demo``: start everything, say where it is, stop on Ctrl+C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time

STARTED = time.monotonic()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="play one objective, print, exit")
    parser.add_argument("--port", type=int, default=5000, help="of the web pages; 0 for any")
    options = parser.parse_args()
    if options.smoke:
        from .smoke import smoke

        return smoke()
    return serve(options.port)


def serve(port: int) -> int:
    from .demo import Demo
    from .history import fill

    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *ignored: stopping.set())
    print("Starting (the first time fills 60 days of history) …", flush=True)
    with Demo(port=port, fill=fill) as demo:
        assert demo.worker is not None
        print(
            f"""
  Harbor Training    {demo.url}
  LMS pages          {demo.url}/lms/        as an administrator: Ana Ruiz has 60 days of history
  The demo LMS       {demo.url}/demo-lms    its address, key, secret and switches
  Mails              {demo.url}/demo-mail
  Worker's log       {demo.log}

  To start from nothing: sign in as Olga Lind, open LMS configurations, create one with the demo
  LMS's address, key and secret, attach it to Lab Safety; then play Lab Safety as Sam Reed.

  Ready after {time.monotonic() - STARTED:.1f} s. Ctrl+C stops everything.
""",
            flush=True,
        )
        while not stopping.wait(1):
            if demo.worker.poll() is not None:
                print(f"The worker ended with code {demo.worker.returncode}: see {demo.log}")
                return 1
        print("\nStopping …", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
