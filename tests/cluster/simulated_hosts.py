"""Hosts on this machine, of Linux namespaces: each with its own network, processes, shared memory and host name.

A host is a process that everything on the host descends from, so to kill it is a power cut. The hosts' network
interfaces meet at a bridge in a namespace of its own, nothing of which is seen outside; to take an interface there
down is to pull a cable. All hosts see this machine's files, as a cluster sees a shared folder. All of it ends with the
context. It needs root.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NETWORK = "10.87.0"
TOOLS = ("ip", "nsenter", "unshare", "mount", "setpriv")
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "unshare")  # also if this process is killed
needs_hosts = pytest.mark.skipif(
    not (sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, TOOLS))),
    reason=f"hosts of namespaces need root, and {', '.join(TOOLS)}",
)

# Each host has its own /dev/shm and its own Ray folder. The process that stays is the host's first one.
_BOOT = """
hostname {name}
mount -t tmpfs -o size=400m tmpfs /dev/shm
mkdir -p {ray} && mount -t tmpfs -o size=1g tmpfs {ray}
ip link set lo up
touch {folder}/{name}.up
exec sleep infinity
"""


class Host:
    """One of the hosts."""

    def __init__(self, hosts: "SimulatedHosts", name: str, number: int):
        self.name, self.address, self._hosts = name, f"{NETWORK}.{number}", hosts
        self._port = f"port{number}"
        folder = hosts.folder
        (folder / f"{name}.up").unlink(missing_ok=True)
        script = _BOOT.format(name=name, ray=folder / "ray", folder=folder)
        flags = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
        self._process = subprocess.Popen([*ENDS_WITH_US, *flags, "bash", "-ec", script])
        wait_for(lambda: (folder / f"{name}.up").exists(), f"{name} to boot")
        (self._first,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        switch = hosts.switch
        _run("nsenter", f"--net=/proc/{switch}/ns/net", "ip", "link", "add", self._port, "type", "veth", "peer", "name",
             "eth0", "netns", self._first)  # fmt: skip
        hosts.on_switch("ip", "link", "set", self._port, "master", "bridge", "up")
        self.on_network("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.on_network("ip", "link", "set", "eth0", "up")

    def on_network(self, *command: str) -> None:
        _run("nsenter", f"--net=/proc/{self._first}/ns/net", *command)

    def start(self, *command: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start a command on the host."""
        enter = ["nsenter", "--target", self._first, "--net", "--mount", "--uts", "--ipc", "--pid"]
        environment = {**os.environ, **self._hosts.environment, **options.pop("env", {})}
        return subprocess.Popen([*enter, *map(str, command)], text=True, env=environment, **options)

    def join(self, *options: str, cpus: int = 1, dashboard: bool = False) -> None:
        """Start Ray: as the head on the host of that name, else as a node of its cluster."""
        log = (self._hosts.folder / f"{self.name}.log").open("w")
        ray = Path(sys.executable).with_name("ray")
        head = self._hosts.head_address
        role = ["--head", "--port=6379", f"--temp-dir={self._hosts.folder / 'ray'}"]
        role += [f"--dashboard-host={head}"] if dashboard else ["--include-dashboard=false"]
        common = [f"--node-ip-address={self.address}", f"--num-cpus={cpus}", "--object-store-memory=100000000"]
        where = role if self.address == head else [f"--address={head}:6379"]
        command = (ray, "start", "--block", *where, *common, *options)
        self._ray = self.start(*command, stdout=log, stderr=subprocess.STDOUT)

    def give_notice(self) -> None:
        """Tell the host's Ray to end, as Kubernetes tells a pod of a preempted machine; it has 30 s to do so."""
        (ray,) = Path(f"/proc/{self._ray.pid}/task/{self._ray.pid}/children").read_text().split()
        os.kill(int(ray), signal.SIGTERM)

    def cut_power(self) -> None:
        """End everything on the host at once."""
        os.kill(int(self._first), signal.SIGKILL)
        self._process.wait()
        # The kernel removes the interface a while later; a host that is started again needs its name now.
        subprocess.run(self._hosts.entering_switch("ip", "link", "del", self._port), check=False, capture_output=True)

    def pull_cable(self) -> None:
        """Take the host off the network; its processes live on."""
        self._hosts.on_switch("ip", "link", "set", self._port, "down")


class SimulatedHosts:
    """Hosts that reach each other, and nothing else. Drivers run on the one named head, which has no CPU for work."""

    def __init__(self, *names: str, environment: Mapping[str, str] | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="hosts-", dir="/tmp"))  # short: sockets stand in it
        self._names, self._hosts = names, dict[str, Host]()
        self.head_address = f"{NETWORK}.1"
        self.environment = {
            "RAY_ADDRESS": f"{self.head_address}:6379",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "for-these-hosts-only",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GLOO_SOCKET_IFNAME": "eth0",  # there are no names of hosts to resolve
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self._bridge = subprocess.Popen([*ENDS_WITH_US, "--net", "sleep", "infinity"])
        self.switch = self._bridge.pid
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.switch}/ns/net") != own, "the network")
        self.on_switch("ip", "link", "add", "bridge", "type", "bridge")
        self.on_switch("ip", "link", "set", "bridge", "up")
        for name in self._names:
            self.boot(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self._hosts.values():
            if host._process.poll() is None:
                host.cut_power()
        self._bridge.kill()
        self._bridge.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def boot(self, name: str) -> Host:
        """Add a host, or start one again that lost its power, with its old address."""
        number = list(self._hosts).index(name) + 1 if name in self._hosts else len(self._hosts) + 1
        self._hosts[name] = Host(self, name, number)
        return self._hosts[name]

    def on_switch(self, *command: str) -> None:
        _run(*self.entering_switch(*command))

    def entering_switch(self, *command: str) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self.switch}/ns/net", *command)

    def cluster(self, workers: Mapping[str, int], *options: str, dashboard: bool = False) -> None:
        """Start Ray: the head without CPUs, and workers (name -> CPUs) with ``options``; wait until all have joined."""
        self["head"].join('--resources={"driver": 16}', cpus=0, dashboard=dashboard)
        wait_for(lambda: "Ray runtime started" in self.log("head"), "the head", self.log)
        for name, cpus in workers.items():
            self[name].join(*options, cpus=cpus)
        for name in workers:
            wait_for(lambda name=name: "Ray runtime started" in self.log(name), name, self.log)

    def log(self, name: str = "head") -> str:
        file = self.folder / f"{name}.log"
        return file.read_text() if file.exists() else ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def wait_for(condition: Any, what: str, log: Any = str, seconds: float = 90) -> None:
    """Wait until ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}: {log()}")
        time.sleep(0.05)
