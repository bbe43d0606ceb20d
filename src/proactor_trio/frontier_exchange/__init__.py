"""Frontiers across machines: axes that are advanced on one host satisfy waits on others.

`open_exchange()` shares the axes of a FrontierTracker for the length of a block, over a Transport: TcpTransport between
peers, or one of one's own over whatever connects the hosts.
"""

from proactor_trio.frontier_exchange.errors import (
    BadFrame,
    ExchangeClosed,
    HostLeft,
    HostLost,
    HostRefused,
    RemoteAxisFailed,
)
from proactor_trio.frontier_exchange.exchange import FrontierExchange, open_exchange
from proactor_trio.frontier_exchange.members import HostState, PeerStatus
from proactor_trio.frontier_exchange.stream_transport import StreamTransport
from proactor_trio.frontier_exchange.tcp import TcpTransport
from proactor_trio.frontier_exchange.transport import (
    HostIdentity,
    Link,
    LocalHost,
    Transport,
    Update,
    UpdateFeed,
)

__all__ = [
    "BadFrame",
    "ExchangeClosed",
    "FrontierExchange",
    "HostIdentity",
    "HostLeft",
    "HostLost",
    "HostRefused",
    "HostState",
    "Link",
    "LocalHost",
    "PeerStatus",
    "RemoteAxisFailed",
    "StreamTransport",
    "TcpTransport",
    "Transport",
    "Update",
    "UpdateFeed",
    "open_exchange",
]
