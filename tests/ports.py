# Copyright (c) mmnorm contributors. All rights reserved.
import socket


def free_port() -> str:
    """Return a port that the system calls free, as an environment has it."""
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return str(one.getsockname()[1])
