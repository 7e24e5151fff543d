"""Starts bubblewrap, gives its network the few ways out that are allowed, and ends when it ends.

    python -I -S launch.py [--allow HOST[:PORT]]… [--forward PORT:HOST:PORT]… [--port N]… -- BWRAP WORDS…

Its parts lie beside it, loaded by path, because only what is loaded is kept compiled: launch_sandbox.py starts
bubblewrap, launch_words.py are the arguments, launch_network.py is what passes on.

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
- Nothing of this touches what is said: bytes are passed on, and end when either side ends.
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
