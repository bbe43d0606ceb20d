"""Loans of a graph: nodes whose operations were made for streams and files instead of Sockets and Files.

A chain holds what all of its steps use from its beginning on. Where a stream has something already that comes first for
one of them, the steps are begun one at a time instead, so that nothing is taken from the stream before it is due.
"""

from __future__ import annotations

from proactor_trio.graph.compiling import Segment
from proactor_trio.graph.node import Node, NodeState
from proactor_trio.proactor.lending import NOTHING, Lender, Loan, SharedLoan
from proactor_trio.proactor.operation import Operation, OperationState


class _NotBeforehand(Exception):
    """The steps of a segment have to be begun one at a time."""


def borrow(segment: Segment) -> bool:
    """Get what the operations of a segment need lent. True: the only one of it has its result already.

    Raises what the owners raise; nothing is lent then.
    """
    nodes = segment.nodes
    held: dict[tuple[Lender, type[Operation]], Loan] = {}
    try:
        for node in nodes:
            operation = node.operation
            assert operation is not None
            if operation.state is not OperationState.BORROWING:
                continue
            loan = node.loan = _lend(operation, held)
            operation.lent()
            if len(nodes) > 1:
                if loan.has_something:
                    raise _NotBeforehand
                continue
            result = loan.begin(operation)
            if result is not NOTHING:
                node.early_result = result
                return True
    except BaseException:
        for node in nodes:
            give_back(node)
        raise
    return False


def _lend(operation: Operation, held: dict[tuple[Lender, type[Operation]], Loan]) -> Loan:
    """A loan from its owner, or a share in what an earlier step of the chain has from that."""
    key = operation.lender, type(operation)
    if key in held and held[key].can_be_shared:
        return SharedLoan(held[key])
    loan = held[key] = operation.lender.lend(operation)
    return loan


def give_back(node: Node) -> None:
    """The node has ended, or is not begun: its loan is over."""
    loan, operation = node.loan, node.operation
    if loan is None or operation is None:
        return
    node.loan = None
    unread = 0
    if node.state is not NodeState.SUCCEEDED:
        unread = max(node.partial_bytes, loan.taken)
    loan.give_back(operation, unread)
    operation.given_back()
