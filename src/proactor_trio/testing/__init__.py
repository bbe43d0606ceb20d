"""For tests of programs that run here: clocks, ways to wait and to order, streams in memory, and checks of streams."""

from proactor_trio.testing.checkpoints import assert_checkpoints, assert_no_checkpoints
from proactor_trio.testing.clock import MockClock
from proactor_trio.testing.lockstep_streams import lockstep_stream_one_way_pair, lockstep_stream_pair
from proactor_trio.testing.memory_streams import (
    MemoryReceiveStream,
    MemorySendStream,
    memory_stream_one_way_pair,
    memory_stream_pair,
    memory_stream_pump,
)
from proactor_trio.testing.network import open_stream_to_socket_listener
from proactor_trio.testing.sequencer import Sequencer
from proactor_trio.testing.stream_checks.one_way import check_one_way_stream
from proactor_trio.testing.stream_checks.two_way import check_half_closeable_stream, check_two_way_stream
from proactor_trio.testing.trio_test import trio_test
from proactor_trio.testing.waiting import active_thread_count, wait_all_tasks_blocked, wait_all_threads_completed

__all__ = [
    "MemoryReceiveStream",
    "MemorySendStream",
    "MockClock",
    "Sequencer",
    "active_thread_count",
    "assert_checkpoints",
    "assert_no_checkpoints",
    "check_half_closeable_stream",
    "check_one_way_stream",
    "check_two_way_stream",
    "lockstep_stream_one_way_pair",
    "lockstep_stream_pair",
    "memory_stream_one_way_pair",
    "memory_stream_pair",
    "memory_stream_pump",
    "open_stream_to_socket_listener",
    "trio_test",
    "wait_all_tasks_blocked",
    "wait_all_threads_completed",
]
