"""The launcher's arguments, and which hosts they allow. The specification is in launch.py."""

from __future__ import annotations


class Words:
    """The arguments. Raises ValueError for what is none."""

    def __init__(self, argv: list[str]) -> None:
        self.allow: list[tuple[str, int]] = []
        self.forward: dict[int, tuple[str, int]] = {}
        self.ports: list[int] = []
        self.memory: int | None = None
        self.processes: int | None = None
        self.tmpfs: list[str] = []
        self.group = ""
        end = argv.index("--")
        for name, value in zip(argv[:end:2], argv[1:end:2], strict=True):
            if name == "--allow":
                host, _, port = value.rpartition(":") if _has_port(value) else (value, "", "443")
                self.allow.append((host.strip("[]").lower().rstrip("."), int(port)))
            elif name == "--forward":
                inside, _, target = value.partition(":")
                host, _, port = target.rpartition(":")
                self.forward[int(inside)] = (host.strip("[]"), int(port))
            elif name == "--port":
                self.ports.append(int(value))
            elif name == "--memory":
                self.memory = int(value)
            elif name == "--processes":
                self.processes = int(value)
            elif name == "--tmpfs":
                self.tmpfs.append(value)
            elif name == "--group":
                self.group = value
            else:
                raise ValueError(name)
        self.command = argv[end + 1 :]

    @property
    def limited(self) -> bool:
        """Whether there is a limit of memory or processes."""
        return self.memory is not None or self.processes is not None

    @property
    def network(self) -> bool:
        """Whether there is anything to pass on."""
        return bool(self.allow or self.forward or self.ports)

    def allows(self, host: str, port: int) -> bool:
        """Whether this host and port are named; not whether the address that it leads to may be used."""
        name = host.strip("[]").lower().rstrip(".")
        return any(port == known_port and _matches(name, known) for known, known_port in self.allow)


def _matches(name: str, known: str) -> bool:
    return known in ("*", name) or (known.startswith("*.") and name.endswith(known[1:]) and len(name) >= len(known))


def _has_port(value: str) -> bool:
    return value.rpartition(":")[2].isdigit() and not (value.count(":") > 1 and "]:" not in value)
