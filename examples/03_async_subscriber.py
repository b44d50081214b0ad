"""Follow a stream with asyncio, beside whatever else this program does. Needs no torch.

python examples/03_async_subscriber.py tcp://127.0.0.1:5555
"""

import asyncio
import sys

from spark3r_stream import Subscriber, decode


async def follow(endpoint: str) -> int:
    frames = 0
    with Subscriber(endpoint, topics=["/frame/"], timeout_s=3) as subscriber:
        async for message in subscriber:
            frame = decode(message)
            print(frame.frame_id, frame.state.name)
            frames += 1
    return frames


async def tick() -> None:
    while True:
        await asyncio.sleep(0.5)
        print("still responsive")


async def main() -> None:
    ticking = asyncio.create_task(tick())
    frames = await follow(sys.argv[1])
    ticking.cancel()
    print(f"{frames} frames")


asyncio.run(main())
