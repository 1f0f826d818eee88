"""The systemd unit of an agent: restarted by its exit codes, watched, limited and locked away."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from edgeloop.errors import EXIT_INPUT, EXIT_TAKEN

STATE_ROOT = Path("/var/lib/edgeloop-agent")
"""Where systemd makes the folder of a device that has no user of its own."""

WATCHDOG_SECONDS = 120

TEXT = """\
# Written by edgeloop agent install; docs/device.md says what each part is for.
[Unit]
Description=edgeloop agent: {device} in {task}
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={working}
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=30
RestartPreventExitStatus={final}
TimeoutStopSec=90
KillSignal=SIGTERM

{identity}
UMask=0077
MemoryMax={memory}
CPUQuota={cpu}
Nice=10
TasksMax=256

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
PrivateTmp=yes
PrivateDevices={private_devices}
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=setpriority sched_setaffinity
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: torch compiles its kernels as it runs.

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Service:
    """An agent as systemd runs it.

    Attributes:
        device: its name, which is part of the unit's.
        task: that it takes part in.
        command: absolute path of edgeloop.
        config: absolute path of the device's file.
        writable: absolute paths of the folders that it writes.
        user: whose process it is; empty for one that systemd makes.
        memory: MemoryMax, as systemd writes it.
        cpu: CPUQuota, likewise.
        devices: whether it may see the machine's devices: a GPU, a camera, a serial line.
        name: that the agent is started with; None for the one in the file.
    """

    device: str
    task: str
    command: Path
    config: Path
    writable: tuple[Path, ...]
    user: str = ""
    memory: str = "75%"
    cpu: str = "90%"
    devices: bool = False
    name: str | None = None

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"edgeloop-agent-{self.device}.service"

    @property
    def options(self) -> str:
        """What names the device on a command line."""
        return shlex.join(self._named())

    def _named(self) -> list[str]:
        named = [] if self.name is None else ["--name", self.name]
        return ["--config", str(self.config), *named]

    def text(self) -> str:
        """Return the unit's file."""
        words = [self.command, "agent", *self._named(), "--log-format", "plain"]
        return TEXT.format(
            device=self.device,
            task=self.task,
            command=" ".join(_quoted(str(word)).replace("$", "$$") for word in words),
            working=_path(self.config.parent),
            watchdog=WATCHDOG_SECONDS,
            final=f"{EXIT_INPUT} {EXIT_TAKEN}",
            identity=self._identity(),
            memory=self.memory,
            cpu=self.cpu,
            writable=" ".join(_quoted(str(each)) for each in self.writable),
            private_devices="no" if self.devices else "yes",
        )

    def _identity(self) -> str:
        if self.user:
            return f"User={self.user}"
        return f"DynamicUser=yes\nStateDirectory={STATE_ROOT.name}/{self.device}"


def _path(path: Path) -> str:
    """Return a path where systemd takes one as it is, but for its own letters."""
    return str(path).replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word of a command or a list as systemd reads it."""
    escaped = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if set(escaped) & set(" \t'\"\\;") else escaped
