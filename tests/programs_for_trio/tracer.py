"""A program for Trio: an instrument that counts what the tasks of a run do."""

import collections

import trio


class Tracer(trio.abc.Instrument):
    def __init__(self):
        self.counts = collections.Counter()
        self.names = []

    def before_run(self):
        print("the run begins")

    def after_run(self):
        print("the run ends")

    def task_spawned(self, task):
        if task.name.startswith("child"):
            self.names.append(task.name)

    def before_task_step(self, task):
        if task.name.startswith("child"):
            self.counts[task.name] += 1

    def task_exited(self, task):
        if task.name.startswith("child"):
            print(task.name, "ends after", self.counts[task.name], "steps")

    def before_io_wait(self, timeout):
        self.counts["waits"] += 1

    def after_io_wait(self, duration):
        self.counts["ends of waits"] += 1


async def child(steps):
    for _ in range(steps):
        await trio.sleep(0)


async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child, 2, name="child 1")
        nursery.start_soon(child, 4, name="child 2")


tracer = Tracer()
trio.run(main, instruments=[tracer])
print(tracer.names, tracer.counts["waits"] == tracer.counts["ends of waits"])
