"""The list of workloads. A new one is a module with a `WORKLOAD`, named here."""

from __future__ import annotations

from . import accept, echo, file_objects, files, idle_connections, many_tasks, scheduler, synchronisation, udp_echo
from .measuring import Workload

ALL: tuple[Workload, ...] = (
    echo.WORKLOAD,
    echo.MANY_WORKLOAD,
    echo.LARGE_WORKLOAD,
    udp_echo.WORKLOAD,
    accept.WORKLOAD,
    idle_connections.WORKLOAD,
    scheduler.WORKLOAD,
    synchronisation.WORKLOAD,
    many_tasks.WORKLOAD,
    many_tasks.MEMORY_WORKLOAD,
    files.WORKLOAD,
    file_objects.WORKLOAD,
)
BY_NAME: dict[str, Workload] = {workload.name: workload for workload in ALL}
