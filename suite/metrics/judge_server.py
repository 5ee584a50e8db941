"""A judge's own process: `python judge_server.py module:function NAME PARENT`, in the environment of the judge. It ends
when the process of that number is its parent no more, also amid a task.

Run by its path, never imported, so nothing of the suite need be there. It builds the judge as `function(NAME)` and says
{"name": ..., "size_px": ...}. Then it answers a line of JSON each:

    {"captions": [...]}     with the captions' vectors [T, width]
    {"bytes": n}            and pictures [B, V, 3, size, size] behind it, fractions 0-1, with their vectors [B, width]

An answer is {"bytes": n} and an array behind it, in numpy's format, or {"failed": "why"}, which is the last. The judge
has `name`, `size_px`, `captions` and `views`, given a list or an array; they give what numpy takes for one.
"""

import importlib
import io
import json
import os
import sys
import threading
import time

import numpy as np


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    threading.Thread(target=end_with, args=(int(sys.argv[3]),), daemon=True).start()
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer

    def say(told: dict) -> None:
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()

    try:
        module, function = sys.argv[1].split(":")
        judge = getattr(importlib.import_module(module), function)(sys.argv[2])
        say({"name": judge.name, "size_px": judge.size_px})
        for line in tasks:
            task = json.loads(line)
            if "captions" in task:
                vectors = judge.captions(task["captions"])
            else:
                vectors = judge.views(np.load(io.BytesIO(tasks.read(task["bytes"])), allow_pickle=False))
            array = io.BytesIO()
            np.save(array, np.asarray(vectors, dtype=np.float32), allow_pickle=False)
            say({"bytes": array.tell()})
            answers.write(array.getvalue())
            answers.flush()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        say({"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
