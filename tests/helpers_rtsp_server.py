"""A real RTSP server for tests, run by the system's own Python: `/usr/bin/python3 helpers_rtsp_server.py PORT W H FPS`.

Serves H.264 of GStreamer's moving ball at rtsp://127.0.0.1:PORT/ball, each client with its own encoder, and
at /secret with user "eve" and password "s3cr3t-w0rd". PORT 0 takes any free port. Prints "port N" when it listens.
A line "size W H" on stdin switches running streams and later ones to that size.
Exits when its stdin closes, so that no test can leave it behind.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

USER, PASSWORD = "eve", "s3cr3t-w0rd"


def main() -> None:
    port, width, height, fps = (int(word) for word in sys.argv[1:5])
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    mounts = server.get_mount_points()
    launch = (
        "( videotestsrc is-live=true pattern=ball ! capsfilter name=raw "
        "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1 "
        "! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    size, running = [width, height], []

    def caps() -> Gst.Caps:
        return Gst.Caps.from_string(f"video/x-raw,width={size[0]},height={size[1]},framerate={fps}/1")

    def configure(_factory: object, media: GstRtspServer.RTSPMedia) -> None:
        raw = media.get_element().get_by_name_recurse_up("raw")
        raw.set_property("caps", caps())
        running.append(raw)
        media.connect("unprepared", lambda _media: running.remove(raw))

    def switch(line: str) -> None:
        size[:] = [int(word) for word in line.split()[1:3]]
        for raw in running:
            raw.set_property("caps", caps())

    def listen() -> None:
        for line in sys.stdin:
            GLib.idle_add(switch, line)
        loop.quit()

    for path in ("/ball", "/secret"):
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.connect("media-configure", configure)
        permissions = GstRtspServer.RTSPPermissions()
        for role in ("known", "anyone"):
            # access without construct is answered by 401; without access the path would not seem to exist
            permissions.add_permission_for_role(role, "media.factory.access", True)
            permissions.add_permission_for_role(role, "media.factory.construct", role == "known" or path == "/ball")
        factory.set_permissions(permissions)
        mounts.add_factory(path, factory)
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "known")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(USER, PASSWORD), token)
    anyone = GstRtspServer.RTSPToken()
    anyone.set_string("media.factory.role", "anyone")
    auth.set_default_token(anyone)
    server.set_auth(auth)
    if server.attach(None) == 0:
        sys.exit(f"cannot listen on port {port}")
    print(f"port {server.get_bound_port()}", flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=listen, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
