"""Commands that receive a running stream: they print it, show it, or hand it to another program."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def echo(
    endpoint: Positional[str],
    topic: str = "/frame/",
    count: int | None = None,
    json: bool = False,
    timeout: float | None = None,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Print what a subscriber receives.

    Args:
        endpoint: where the publisher is, e.g. tcp://127.0.0.1:5555.
        topic: a topic such as /frame/ or /cloud/ (the slashes may be left away), /frame/left/ for one of several
            cameras, or "all".
        count: stop after so many messages.
        json: one JSON line per message.
        timeout: give up (exit 1) when nothing came for so many seconds.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.echo import echo_command
    from spark3r_stream.cli.keys import client_security

    return echo_command(endpoint, topic, count, json, timeout, client_security(keys, server_key))


def view(
    source: Positional[str],
    camera: str = "",
    host: str = "127.0.0.1",
    port: int | None = None,
    no_browser: bool = False,
    until_unwatched: float | None = None,
    offscreen: Path | None = None,
    seconds: float | None = None,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Show a running stream, a recording or a folder of results in 3D, on a page for the browser.

    Args:
        source: endpoint of a publisher, an .mcap recording, or a folder that `run --out` made.
        camera: of a stream of several cameras, the only one to show.
        host: address the page is served on; one that other machines can reach is given a token.
        port: of the page; default: 8080, or the next that is free.
        no_browser: print the page's address only. It is opened where there is a screen.
        until_unwatched: end when the stream is over and no page has been open for so many seconds; default: never.
        offscreen: draw a PNG to this file instead.
        seconds: how long to listen before the offscreen picture is made; default: until the stream ends.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.keys import client_security
    from spark3r_stream.cli.view import view_command

    return view_command(
        source,
        client_security(keys, server_key),
        camera=camera,
        offscreen=offscreen,
        seconds=seconds,
        host=host,
        port=port,
        opens_browser=not no_browser,
        unwatched_s=until_unwatched,
    )


def ros2_bridge(
    endpoint: Positional[str],
    camera: str = "",
    prefix: str = "",
    map_frame: str = "map",
    odom_frame: str = "odom",
    base_frame: str = "camera_link",
    camera_frame: str = "camera_optical_frame",
    scale: float = 1.0,
    gravity: tuple[float, float, float] = (0.0, 1.0, 0.0),
    no_tf: bool = False,
    clock: bool = False,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Republish a running stream in ROS 2: odometry, tf, points, pictures (docs/ros2_bridge.md).

    Args:
        endpoint: of the publisher, e.g. tcp://127.0.0.1:5555. It need not run yet, and may restart.
        camera: of a stream of several cameras, the one to bridge.
        prefix: before the names of frames and topics, for several cameras in one system.
        map_frame: REP 105's map.
        odom_frame: REP 105's odom.
        base_frame: the camera's body frame, x ahead, y left, z up.
        camera_frame: the camera's optical frame, z ahead.
        scale: metres per unit of the stream.
        gravity: direction down in the axes of the first picture (x right, y down, z ahead), of any length.
        no_tf: publish no transforms, where something else places the camera.
        clock: publish /clock from the stamps, for files and recordings (use_sim_time).
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.keys import client_security
    from spark3r_stream.cli.ros2 import ros2_bridge_command
    from spark3r_stream.ros2.naming import Naming

    names = Naming(prefix, map_frame, odom_frame, base_frame, camera_frame)
    security = client_security(keys, server_key)
    return ros2_bridge_command(
        endpoint, names, scale, gravity, security, camera=camera, with_tf=not no_tf, with_clock=clock
    )


def foxglove(
    endpoint: Positional[str],
    host: str = "127.0.0.1",
    port: int = 8765,
    insecure: bool = False,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Serve a running stream to the Foxglove app (Open connection, Foxglove WebSocket).

    Args:
        endpoint: of the publisher, e.g. tcp://127.0.0.1:5555. It need not run yet, and may restart.
        host: address to serve on.
        port: to serve on; 0 takes any free one.
        insecure: allow an address that other machines can reach; the protocol has no keys.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.foxglove import foxglove_command
    from spark3r_stream.cli.keys import client_security

    return foxglove_command(endpoint, host, port, client_security(keys, server_key), insecure=insecure)
