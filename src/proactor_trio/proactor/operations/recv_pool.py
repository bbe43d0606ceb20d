"""RecvPool: receives into buffers of a pool, and holds none while nothing arrives.

Facts. Where the kernel can (IORING_OP_RECV with IOSQE_BUFFER_SELECT, Linux 5.19), it takes a buffer from the pool's
ring at the moment at which bytes have arrived. A receive that finds the ring empty then ends with ENOBUFS and has
consumed nothing; also one with MULTISHOT, which otherwise goes on without end and without back-pressure of its own.

What that means for us:

* The pool is the bound. While it is empty its receives are paused, and go on when somebody gives a buffer back;
  meanwhile the bytes wait in the kernel and the peer feels it. The proactor sleeps. They take turns: who found nothing
  stands in a queue until he got something, and newcomers begin behind that queue.
* Each delivered completion transfers a lease, and its owner has to release it. Where a kernel chooses the buffers a
  result and its buffer come together, so a receive that was cancelled too late delivers its lease like any other.
* Everywhere else the same is done here: wait until the socket is readable, then take a buffer, then receive without
  waiting. What was received stands in the lease before it is delivered, so that an exception in between (a signal
  handler that raises) loses neither bytes nor buffer: the report that the socket is readable is made again.
"""

from __future__ import annotations

import errno
import math
import socket as stdlib_socket
from typing import Any, Final, Unpack

from proactor_trio.backends.contract import CompletionFlags, Kind, OperationFlags, PollEvents
from proactor_trio.proactor.errors import (
    CANCELED,
    ClosedResourceError,
    OperationCancelled,
    ResourceExhausted,
    system_error,
)
from proactor_trio.proactor.memory.buffer_pool import BufferPool, PoolLease
from proactor_trio.proactor.operation import CompletionFunction, Limits, Operation, OperationState, SoftwareOperation
from proactor_trio.proactor.operations.net import SocketOperation
from proactor_trio.proactor.proactor import Proactor
from proactor_trio.proactor.socket import Socket
from proactor_trio.proactor.socket_state import CONNECTION_TYPES

_DO_NOT_WAIT: Final = getattr(stdlib_socket, "MSG_DONTWAIT", 0)
_AGAIN: Final = -errno.EAGAIN
_MULTISHOT: Final = OperationFlags.MULTISHOT


class RecvPool(SoftwareOperation):
    """Receives what is there into a buffer of a pool. Result: a PoolLease; its `length` bytes stand in its `view`.

    socket: of a stream or of datagrams. A datagram that is longer than a buffer is cut off (recv(2)).
    pool: over memory that is registered with the same proactor for Access.WRITE. From its first receive until it is
        closed it serves receives only. It and its region cannot be closed while the operation is in flight.

    Each lease is the caller's, to be released by him, on any thread. One that nobody takes (no completion function, and
    never awaited) goes back into the pool with a ResourceWarning when the operation is dropped or submitted again.
    The end of a stream is a lease of length 0, which holds no buffer; so is an empty datagram.

    With MULTISHOT each piece is delivered with MORE; the end of the stream, a failure or a cancellation is final.
    While the pool is empty the receive is paused, without a completion, and goes on by itself when a buffer is given
    back. It can be cancelled then, and its deadline holds.
    Cancelled: nothing was received; a lease that came first is delivered instead.
    It cannot have a successor in a chain: its result has no length that would be short.
    """

    __slots__ = ("_readiness", "kind", "pool", "socket")
    can_be_multishot = True
    can_be_linked = False
    can_be_refused = True

    socket: Socket

    def __init__(
        self,
        socket: Socket,
        pool: BufferPool,
        completion_fn: CompletionFunction | None = None,
        user_data: object = None,
        flags: OperationFlags = OperationFlags.NONE,
        **limits: Unpack[Limits],
    ) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"socket must be a proactor_trio.proactor.Socket, not {type(socket).__name__}")
        if not isinstance(pool, BufferPool):
            raise TypeError(f"pool must be a BufferPool, not {type(pool).__name__}")
        super().__init__(completion_fn, user_data, flags, **limits)
        self.kind = Kind.SOFTWARE  # type: ignore[misc]  # each submission chooses
        self.socket = socket
        self.pool = pool
        self.buffer_index = -1
        self._readiness: _Readiness | None = None

    # Submitting --------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        proactor = self._proactor
        assert proactor is not None
        if self.socket.closed:
            raise ClosedResourceError("RecvPool: socket was closed")
        self.pool.check_for_receives(proactor)
        self.descriptor = self.socket.descriptor
        self.kind = Kind.RECV_POOL if proactor.has_native(Kind.RECV_POOL) else Kind.SOFTWARE  # type: ignore[misc]
        self.pool.begin_receive(self)

    def _withdraw(self) -> None:
        self._let_go()

    def _refusal(self) -> int:
        # Here, since only the owner thread may make the kernel's ring.
        pool = self.pool
        try:
            group = pool.feed_receives()
        except OSError as error:
            return -(error.errno or errno.ENOMEM)
        if group is not None:
            self.buffer_group = group.identifier
        queue = pool.queue
        if queue and pool.available > len(queue):
            queue.clear()  # enough for everybody: who waits has nothing to receive
        return _AGAIN if queue else 0

    def resource(self) -> Socket:
        return self.socket

    def _resource_is_closed(self) -> bool:
        return self.socket.closed

    # Its end -----------------------------------------------------------------------------------------------------

    def _lease(self) -> PoolLease:
        """The lease of the next completion."""
        if self.data is None:
            self.data = self.pool.unfilled_lease()
        lease: PoolLease = self.data
        return lease

    def _finish(self, result: int) -> PoolLease:
        lease = self._lease()
        if self.buffer_index >= 0:
            self.pool.fill_received(lease, self.buffer_index)
        lease.length = result
        if result == 0:
            lease.release()
        self.pool.queue.pop(self, None)
        if not self.flags & _MULTISHOT or self._is_last(result):
            self._is_over()
        return lease

    def _is_last(self, result: int) -> bool:
        return result == 0 and self.socket.type in CONNECTION_TYPES

    def _retry_delay(self, result: int) -> float | None:
        return math.inf if result == _AGAIN else None

    def _supply(self) -> BufferPool:
        return self.pool

    def _let_go(self) -> None:
        if self.data is not None:
            self.data.release()
        self._is_over()

    def _is_over(self) -> None:
        self._readiness = None
        self.pool.end_receive(self)

    def _failure(self, result: int) -> BaseException:
        self._let_go()
        self.socket.note_failure(-result)
        return system_error(result, type(self).__name__)

    def _cancellation(self) -> OperationCancelled:
        self._let_go()
        return super()._cancellation()

    # Where no kernel takes the buffers ---------------------------------------------------------------------------

    def _begin(self, proactor: Proactor) -> None:
        readiness = self._readiness
        if readiness is None or not readiness.is_for_this_round():
            readiness = self._readiness = _Readiness(self)
        if readiness.state is OperationState.NEW:
            proactor.submit(readiness)

    def _cancel(self, proactor: Proactor) -> None:
        if self._readiness is not None:
            proactor.cancel(self._readiness)

    def receive_now(self) -> int:
        """Receive without waiting, unless it was done before. A number of bytes or `-errno`."""
        lease = self._lease()
        if lease.length >= 0:
            return lease.length
        if self.socket.closed:
            return CANCELED
        try:
            self.pool.fill_free(lease)
            with self.pool.memory_of(lease) as memory:
                # One step: no signal handler runs between the receive and the store.
                (lease.length,) = map(self.socket.stdlib.recv_into, (memory,), (0,), (_DO_NOT_WAIT,))
        except ResourceExhausted:
            return _AGAIN
        except OSError as error:
            if lease.length >= 0 or error.errno is None:
                raise  # a signal handler's
            lease.release()
            self.data = None
            return _AGAIN if error.errno == errno.EINTR else -error.errno
        return lease.length


class _Readiness(SocketOperation):
    """Waits until the socket of a RecvPool is readable, then lets it receive.

    That is done before its own completion is committed: if it is interrupted, the report is made again. A round is what
    lies between two deliveries of the RecvPool.
    """

    __slots__ = ("_receive", "_round")
    kind = Kind.HANDLE_POLL

    def __init__(self, receive: RecvPool) -> None:
        super().__init__(receive.socket, _uncount)
        self.poll_events = PollEvents.IN
        self._receive = receive
        self._round = (receive.identifier, receive.deliveries)

    def is_for_this_round(self) -> bool:
        """Whether its RecvPool is in flight, and has been delivered nothing since."""
        return self._round == (self._receive.identifier, self._receive.deliveries)

    def _finish(self, result: int) -> Any:
        if self.is_for_this_round():
            self._tell(self._receive.receive_now())
        return PollEvents(result)

    def _failure(self, result: int) -> BaseException:
        self._tell(result)
        return super()._failure(result)

    def _cancellation(self) -> OperationCancelled:
        self._tell(CANCELED)
        return super()._cancellation()

    def _tell(self, result: int) -> None:
        if self.is_for_this_round():
            assert self._proactor is not None
            self._proactor.deliver(self._receive, self._receive.identifier, result)


def _uncount(operation: Operation, flags: CompletionFlags) -> None:
    assert operation._proactor is not None
    operation._proactor.uncount()
