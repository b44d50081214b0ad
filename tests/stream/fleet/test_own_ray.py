"""A Ray of a fleet's own, with what can only be seen where one runs. In a process of its own, which ends with it."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from spark3r_stream.fleet.outlet_link import MOST_UNDER_WAY

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """
import json, time
import psutil
from spark3r_stream.fleet.cluster import connected
from spark3r_stream.fleet.plan import RayPlan

class Stuck:
    def take(self, *arguments):
        time.sleep(1000)

with connected(RayPlan(cpus=1), "test"):
    import ray
    from spark3r_stream.fleet.outlet_link import OutletLink
    link = OutletLink(ray.remote(num_cpus=0)(Stuck).remote(), "gate", "")
    for number in range(100):
        link.send([number, number])
    found = {"dropped": link.dropped, "under_way": len(link._under_way), "listening": []}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for one in process.net_connections("inet"):
            if one.status == psutil.CONN_LISTEN:
                found["listening"].append(one.laddr.ip)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nobody_on_another_machine_can_reach_it(found: Any) -> None:
    assert found["listening"]
    for address in found["listening"]:
        one = ipaddress.ip_address(address)
        assert (getattr(one, "ipv4_mapped", None) or one).is_loopback, address


def test_what_an_outlet_does_not_take_is_given_up_and_counted(found: Any) -> None:
    assert (found["under_way"], found["dropped"]) == (MOST_UNDER_WAY, 2 * (100 - MOST_UNDER_WAY))
