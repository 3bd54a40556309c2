"""Runs one handler as often as it is told, and says what each time cost. Imports nothing but the handler.

    PYTHONPATH=bundle python -S bench/driver.py MODULE.NAME

A line of JSON with a list of events comes in, a line with the CPU and wall nanoseconds of each goes out. What
the handler prints goes to /dev/null, as a write and no more.
"""

import importlib
import json
import os
import sys
import time


class Context:
    """Lambda's context."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "8f6c2e4d-0000-4000-8000-000000000000"
    log_group_name = log_stream_name = "bench"
    client_context = identity = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 30_000


def main(name: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    module, _, attribute = name.rpartition(".")
    handler = getattr(importlib.import_module(module), attribute)
    context = Context()
    for line in sys.stdin:
        cpu, wall, statuses = [], [], set()
        for event in json.loads(line):
            began, started = time.perf_counter_ns(), time.process_time_ns()
            answer = handler(event, context)
            cpu.append(time.process_time_ns() - started)
            wall.append(time.perf_counter_ns() - began)
            statuses.add(answer.get("statusCode", 200) if isinstance(answer, dict) else 200)
        answers.write(json.dumps({"cpu": cpu, "wall": wall, "statuses": sorted(statuses)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
