"""The publisher of tests that need nothing special of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spark3r_stream.pubsub.publisher import Publisher
from tests.helpers_wire import SESSION
from tests.stream.pubsub.receiving import ANY_PORT


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT, SESSION) as publisher:
        yield publisher
