"""Spans of OpenTelemetry for operations: what a program waits for, and for how long.

    python -m pip install opentelemetry-sdk && python examples/telemetry.py

An instrument is told when an operation is submitted, asked to end, and completed. Each becomes a span, whose parent is
the span of the task that submitted it: a task's context variables are those of the code that started it. Where no
instrument listens to these hooks they cost nothing, so this can be switched on and off while a program runs.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import proactor_trio
from proactor_trio.lowlevel import add_instrument, remove_instrument
from proactor_trio.proactor import Operation, OperationCancelled

HOST = "127.0.0.1"


class OperationSpans(proactor_trio.abc.Instrument):
    """A span for each operation."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._spans: dict[Operation, trace.Span] = {}

    def operation_submitted(self, operation: Operation) -> None:
        """The span begins, below the one that is current in the task."""
        span = self._tracer.start_span(type(operation).__name__)
        if operation.resource() is not None:
            span.set_attribute("resource", repr(operation.resource()))
        self._spans[operation] = span

    def operation_cancel_requested(self, operation: Operation) -> None:
        """An event of the span: what came of it is told by the completion."""
        if operation in self._spans:
            self._spans[operation].add_event("cancel requested")

    def operation_completed(self, operation: Operation, result: object) -> None:
        """The span ends, as an error where the operation failed."""
        span = self._spans.pop(operation, None)
        if span is None:
            return  # it was submitted before we listened
        if isinstance(result, OperationCancelled):
            span.set_attribute("cancelled", True)
        elif isinstance(result, Exception):
            span.record_exception(result)
            span.set_status(trace.StatusCode.ERROR)
        span.end()


async def talk(tracer: trace.Tracer) -> None:
    """Something to look at: a connection, a message there and back, and a deadline that passes."""
    (listener,) = await proactor_trio.open_tcp_listeners(0, host=HOST)
    async with listener:
        with tracer.start_as_current_span("talk"):
            near = await proactor_trio.open_tcp_stream(*listener.socket.getsockname())
            async with near, await listener.accept() as far:
                await near.send_all(b"hello")
                await far.receive_some()
                with proactor_trio.move_on_after(0.01):
                    await far.receive_some()


async def main(tracer: trace.Tracer) -> None:
    """Listen to operations while `talk()` runs."""
    spans = OperationSpans(tracer)
    add_instrument(spans)
    await talk(tracer)
    remove_instrument(spans)


if __name__ == "__main__":
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    proactor_trio.run(main, provider.get_tracer("telemetry example"))
    provider.shutdown()
    finished = memory.get_finished_spans()
    parents = {span.context.span_id: span.name for span in finished}
    for span in finished:
        milliseconds = (span.end_time - span.start_time) / 1e6
        parent = f" below {parents[span.parent.span_id]}" if span.parent else ""
        events = "".join(f", {event.name}" for event in span.events)
        print(f"{span.name}{parent}: {milliseconds:.2f} ms{events}")
