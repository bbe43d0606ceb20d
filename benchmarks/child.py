"""The entry of a measured child process: ``python -m benchmarks.child <workload> <contender> <parameters>``.

It runs one contender of one workload and nothing else, so that no library of another contender is loaded.
Whatever goes wrong is sent to the parent as one line, ``{"failed": "..."}``.
"""

from __future__ import annotations

import json
import sys
import traceback

from . import workloads
from .child_processes import begin_child, describe, send_message


def main() -> None:
    """Run the contender that the command line names."""
    workload_name, contender_name, parameters_text = sys.argv[1:]
    parameters = json.loads(parameters_text)
    begin_child(parameters)
    try:
        workloads.BY_NAME[workload_name].contender(contender_name).run(parameters)
    except Exception as error:
        traceback.print_exc()
        send_message({"failed": describe(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
