"""Starts bubblewrap, gives its network the few ways out that are allowed, and ends when it ends.

    python -I -S launch.py [--allow HOST[:PORT]]… [--forward PORT:HOST:PORT]… [--port N]…
        [--memory BYTES] [--processes N] [--tmpfs PATH]… [--group FOLDER] -- BWRAP WORDS…

Its parts lie beside it, loaded by path, because only what is loaded is kept compiled: launch_sandbox.py starts
bubblewrap, launch_words.py are the arguments, launch_network.py is what passes on, launch_limits.py what limits.

A program of its own beside the agent, because the ways out must live exactly as long as the agent does, whatever
becomes of the daemon. Standard library only, imports nothing of stretto.

Specification.
- The environment of the sandbox is this program's own: nothing else can be found in /proc/1/environ there.
- The sandbox is held at its first step until its network stands; then it runs. It is killed with this process.
- The exit code is the command's, 128 + N for signal N. 126: no sandbox could be made; why is on stderr.
- HUP, INT and TERM are ignored here (the command gets them itself, from whoever signals the whole tree or group).
- `--allow`: inside, a proxy at 127.0.0.1:3128 knows the method CONNECT and these hosts (port 443 if none is named,
  `*.` before a name: whatever ends in it). A name that leads to an address of this machine or its network is refused,
  unless the address itself is named. `--forward`: that port inside leads to exactly that host and port.
- `--port`: as long as somebody inside listens there, this side's loopback address listens, too, and leads to them.
- `--memory`, `--processes`: limits of all in the sandbox together, threads counted as processes. Memory is what
  processes have for themselves and what lies in file systems in memory (`--tmpfs`). They are looked at several times a
  second; with more memory, or with more processes for two seconds, the sandbox is ended with 137, and why is on stderr.
  With `--group`, a folder of control groups (version 2), a group is made in it in which the kernel holds the memory.
  More than 300 processes beyond the limit there never are: the group refuses them, or the process namespace, where the
  kernel numbers each by itself. What of this cannot be made is left out; looking is always done.
- Nothing of this touches what is said: bytes are passed on, and end when either side ends. What had been sent inside
  when the sandbox ends is passed on before this program ends, for three seconds at most.
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stretto.workspace.sandbox.launch_sandbox import main
else:  # a program of its own: its folder is on sys.path, the package is not
    from launch_sandbox import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
