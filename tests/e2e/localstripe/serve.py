"""Serves localstripe's own application on a free port of 127.0.0.1, which is printed, until stdin is closed.

Its own command listens on every interface, and keeps its state in a file that the next start reads.
"""

import os
import socket
import sys
import threading
import time
import types

from aiohttp import web
from localstripe import resources, server


def main():
    # State lives as long as the process.
    resources.Store.dump_to_disk = lambda self: None
    # Stripe's clock is not the worker's. A reading of the API counts as of some seconds before it was made; with this clock a
    # test need not wait for those after an event.
    behind = int(sys.argv[1])
    resources.time = types.SimpleNamespace(time=lambda: time.time() - behind)

    # Also when the test is killed: whoever held the other end is gone then.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    web.run_app(server.app, sock=listener, print=None)


main()
