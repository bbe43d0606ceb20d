"""Child processes.

process.py       Process: one child, and what can be done with it
exit_wait.py     how its end is noticed without taking its exit status away
opening.py       open_process(): pipes, and the creation in a worker thread
run_process.py   run_process(): a child that is fed, read, waited for, and never left behind
termination.py   what a cancelled run_process() does to its child
"""
