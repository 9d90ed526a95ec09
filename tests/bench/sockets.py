#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Opens N loopback connections (2 N sockets), says so, and keeps them until
stdin is closed. Several processes, because each may hold few descriptors.

usage: sockets.py N
"""
import os
import resource
import socket
import sys


def hold(n, ready):
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        ends = []
        for _ in range(n):
            ends.append(socket.create_connection(server.getsockname()))
            ends.append(server.accept()[0])
    os.write(ready, b"x")
    sys.stdin.buffer.read()


def main():
    n = int(sys.argv[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    share = min(n, (most - 100) // 2, 6000)
    left, children = n, 0
    read, write = os.pipe()
    while left > 0:
        if os.fork() == 0:
            hold(min(share, left), write)
            os._exit(0)
        left -= share
        children += 1
    while children:
        children -= len(os.read(read, children))
    print("ready", flush=True)
    sys.stdin.buffer.read()


main()
