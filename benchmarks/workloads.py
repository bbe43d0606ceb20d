"""The list of workloads. A new one is a module with a `WORKLOAD`, named here."""

from __future__ import annotations

from . import accept, echo, file_objects, files, many_tasks, scheduler, synchronisation
from .measuring import Workload

ALL: tuple[Workload, ...] = (
    echo.WORKLOAD,
    accept.WORKLOAD,
    scheduler.WORKLOAD,
    synchronisation.WORKLOAD,
    many_tasks.WORKLOAD,
    many_tasks.MEMORY_WORKLOAD,
    files.WORKLOAD,
    file_objects.WORKLOAD,
)
BY_NAME: dict[str, Workload] = {workload.name: workload for workload in ALL}
