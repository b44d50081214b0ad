"""An RTSP server that sends a clip at its rate, run by the system's Python: `python3 rtsp_clip_server.py UNITS FPS`.

UNITS: access units as `clip.write_access_units` writes them. Prints "port N", then "sent INDEX UNIX_NS" when a unit is
handed to the network stack, and "end" after the last; the stream stays open. Each client gets the clip from its
beginning; what is sent between its DESCRIBE and its PLAY does not reach it. Exits when its stdin closes.
"""

import struct
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( appsrc name=units is-live=true format=time caps=video/x-h264,stream-format=byte-stream,alignment=au "
    "! h264parse ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def read_units(path: str) -> list:
    units = []
    with open(path, "rb") as file:
        while head := file.read(4):
            units.append(file.read(struct.unpack(">I", head)[0]))
    return units


def main() -> None:
    units, fps = read_units(sys.argv[1]), float(sys.argv[2])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")

    def send(source: Gst.Element) -> None:
        begin = time.monotonic()
        base = None
        for index, unit in enumerate(units):
            time.sleep(max(0.0, begin + index / fps - time.monotonic()))
            clock = source.get_clock()
            if base is None and clock is not None:
                base = clock.get_time() - source.get_base_time() - round(index * 1e9 / fps)
            buffer = Gst.Buffer.new_wrapped(unit)
            buffer.pts = buffer.dts = max(0, base or 0) + round(index * 1e9 / fps)
            buffer.duration = round(1e9 / fps)
            sent_ns = time.time_ns()
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return
            print(f"sent {index} {sent_ns}", flush=True)
        print("end", flush=True)

    def configure(_factory: object, media: GstRtspServer.RTSPMedia) -> None:
        source = media.get_element().get_by_name_recurse_up("units")
        threading.Thread(target=send, args=(source,), daemon=True).start()

    def until_closed() -> None:
        sys.stdin.read()
        loop.quit()

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/clip", factory)
    if server.attach(None) == 0:
        sys.exit("cannot listen on 127.0.0.1")
    print(f"port {server.get_bound_port()}", flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=until_closed, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
