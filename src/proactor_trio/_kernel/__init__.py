"""The scheduler: run loop, tasks, nurseries, cancel scopes, deadlines, and perform(), the seam to the proactor.

Every module here may import those below it and `proactor_trio.proactor`; nothing here is imported by users directly.
"""
