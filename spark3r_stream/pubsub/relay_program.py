"""The program of a publisher's relay: relay_process.py starts it, alone in an interpreter without any package's folder.

python -I -S relay_program.py '{"listener": 7, "target": "/tmp/…/stream", "limits": {…}}'
"""

import contextlib
import json
import os
import socket
import sys
import threading
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: it may be the folder of other packages, too

from spark3r_stream.pubsub.limits import RelayLimits, UploadLimit
from spark3r_stream.pubsub.relay import Relay


def main(argument: str) -> None:
    """Relay from the inherited listening socket to a Unix socket, obeying the lines of stdin until it ends.

    Writes the number of refused peers to stdout whenever it has changed.
    """
    given = json.loads(argument)
    upload = UploadLimit(**given["limits"].pop("upload"))

    def dial() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            sock.connect(given["target"])
        except BaseException:
            sock.close()
            raise
        return sock

    relay = Relay(socket.socket(fileno=given["listener"]), dial, RelayLimits(upload=upload, **given["limits"]), "relay")

    def obey() -> None:
        for line in sys.stdin:
            if line.startswith("close"):
                relay.close(float(line.split()[1]))
            else:
                relay.hang_up_on_the_busiest()
        relay.close()  # the publisher is gone

    threading.Thread(target=obey, daemon=True).start()
    told, ended = 0, False
    while not ended:
        ended = relay.wait(0.2)
        if relay.refused > told:
            told = relay.refused
            with contextlib.suppress(OSError):
                os.write(1, f"{told}\n".encode())
    if relay.error is not None:
        print(f"spark3r: a relay broke off: {type(relay.error).__name__}: {relay.error}", file=sys.stderr, flush=True)
    os._exit(0)  # the thread that reads stdin may wait for ever


if __name__ == "__main__":
    main(sys.argv[1])
