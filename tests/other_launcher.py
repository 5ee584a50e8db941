"""A launcher of another kind, for tests: a worker that is no child of a fork server, reached over a socket.

It runs `python -m tests.other_launcher ADDRESS`, which could as well be another environment's Python.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

from suite.worker.launching import Started


class Child:
    """`suite.worker.launching.Process` of a program."""

    def __init__(self, program: subprocess.Popen):
        self._program = program

    @property
    def exitcode(self) -> int | None:
        return self._program.poll()

    def is_alive(self) -> bool:
        return self._program.poll() is None

    def kill(self) -> None:
        self._program.kill()

    def join(self, timeout: float | None = None) -> None:
        self._program.wait(timeout)


class Elsewhere:
    shares_pipes = False

    def get_ready(self, configurations=()) -> None:
        pass

    def start(self, task: str, asked: tuple) -> Started:
        key = secrets.token_bytes(16)
        address = str(Path(tempfile.mkdtemp(), "worker"))
        with Listener(address, authkey=key) as listener:
            program = subprocess.Popen([sys.executable, "-m", __name__, address], stdin=subprocess.PIPE)
            program.stdin.write(key)
            program.stdin.close()
            answers, lifeline = listener.accept(), listener.accept()
        answers.send((task, asked))
        return Started(Child(program), answers, lifeline)


def main(address: str) -> None:
    from suite.worker import process as worker

    key = sys.stdin.buffer.read()
    answers, lifeline = Client(address, authkey=key), Client(address, authkey=key)
    task, asked = _job(answers)
    worker.main(getattr(worker, task), asked, answers, lifeline)


def _job(connection: Connection) -> tuple[str, tuple]:
    return connection.recv()


if __name__ == "__main__":
    main(sys.argv[1])
