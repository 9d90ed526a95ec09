#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A Python thread for each connection, which blocks in socket.recv().

usage and truth as of the other twins, see twin.h
"""
import argparse
import errno
import json
import os
import socket
import threading

REQUEST = b"x" * 63 + b"\n"
output = threading.Lock()


def say(value):
    with output:
        print(json.dumps(value), flush=True)


def end_text(address):
    host, port = address[:2]
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


def dial(end):
    host, port = end.rsplit(":", 1)
    conn = socket.create_connection((host.strip("[]"), int(port)))
    conn.sendall(REQUEST)
    return conn


def wait_reply(role, conn):
    """Where it is stranded."""
    try:
        while conn.recv(4096):
            pass
        error = "EOF"
    except OSError as e:
        error = errno.errorcode.get(e.errno, str(e))
    say({"event": "returned", "role": role, "error": error})


def truth(role, conn):
    # no Python frames: what the thread's native stack shows is the system
    # call's wrapper
    return {"role": role, "fd": conn.fileno(),
            "local": end_text(conn.getsockname()),
            "remote": end_text(conn.getpeername()),
            "function": "recv", "blocked": "read"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--healthy", required=True)
    parser.add_argument("--n", type=int, default=1)
    args = parser.parse_args()
    conns = [(role, dial(getattr(args, role)))
             for _ in range(args.n) for role in ("target", "healthy")]
    for role, conn in conns:
        threading.Thread(target=wait_reply, args=(role, conn)).start()
    say({"pid": os.getpid(),
         "connections": [truth(role, conn) for role, conn in conns]})


main()
