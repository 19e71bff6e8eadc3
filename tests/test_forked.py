"""A process that a test forks leaves alone what earlier tests left behind."""

from __future__ import annotations

import gc
import os
import weakref


class _Left:
    """Something that holds itself: only the garbage collector ends it."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_left_to_the_collector_is_not_collected_in_a_forked_process() -> None:
    gc.disable()  # it stays uncollected until the fork
    try:
        left = weakref.ref(_Left())
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0 if left() is not None else 1)
        assert os.waitpid(child, 0)[1] == 0
        gc.collect()
        assert left() is None, "the test holds it: it shows nothing"
    finally:
        gc.enable()
