"""The pytest plugin: the fixture `traces`.

Every pytest run loads this file and with it the package, so neither may load more than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from honeytrace.testing import Traces


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Capture what the test records, in memory. Fails the test if it leaves a span open."""
    from honeytrace.testing import capture

    with capture() as captured:
        yield captured
        left = captured.open_spans()
    if left:
        names = ", ".join(repr(span.event_name) for span in left)
        pytest.fail(f"the test left {len(left)} span(s) open: {names}", pytrace=False)
