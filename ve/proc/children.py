"""The agent's process seen from its supervisor: starting it, collecting it, killing what it left.

Imported by the supervisor: standard library only, and as little of it as possible.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from ve.proc.outfile import Record, now, write_durably

SWEEP_S = 10.0  # how long leftover processes are killed before they count as unkillable
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat: with pid and boot id it names a process. 0 where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs memory in every run
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def boot_id() -> str:
    """The id of this boot of the machine; empty where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def prctl(option: int, value: int) -> bool:
    """Linux prctl; False where there is none."""
    if sys.platform != "linux":
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


def parents() -> dict[int, int]:
    """pid -> parent's pid of every living process."""
    found: dict[int, int] = {}
    if os.path.isdir("/proc/self"):  # noqa: PTH112
        for name in os.listdir("/proc"):  # noqa: PTH208
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                        fields = file.read().rpartition(b")")[2].split()
                except OSError:
                    continue
                if fields[0] not in (b"Z", b"X"):
                    found[int(name)] = int(fields[1])
        return found
    with os.popen("ps -axo pid=,ppid=,stat=") as listing:
        for line in listing:
            pid, parent, state = line.split()[:3]
            if not state.startswith("Z"):
                found[int(pid)] = int(parent)
    return found


def descendants(root: int) -> set[int]:
    """Every living process below `root`."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


def send(pid: int, number: int, group: bool = False) -> None:
    """Signal a process that is our own descendant; gone is fine."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except (ProcessLookupError, PermissionError):
        return


class Agent:
    """The agent's process and what it used."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None
        self.cpu_s = 0.0
        self.max_rss_kb = 0

    def reap(self) -> bool:
        """Collect every child that ended, the agent and what others left to us. True: no child is left."""
        while True:
            try:
                pid, status, usage = os.wait3(os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            self.cpu_s += usage.ru_utime + usage.ru_stime
            scale = 1024 if sys.platform == "darwin" else 1
            self.max_rss_kb = max(self.max_rss_kb, usage.ru_maxrss // scale)
            if pid == self.pid:
                self.status = status

    def start(self, folder: str, spec: Record) -> tuple[int, int]:
        """Start the program; returns the read ends of its stdout and stderr. Raises OSError."""
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        go_r, go_w = os.pipe()
        why_r, why_w = os.pipe()
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(go_w)
            _become_agent(spec, supervisor, go_r, why_w, out_w, err_w)
        for fd in (out_w, err_w, go_r, why_w):
            os.close(fd)
        try:
            record = {"pid": self.pid, "start_time": start_time(self.pid), "started_at": now()}
            write_durably(folder, "agent.json", record)
            os.write(go_w, b"g")
        finally:
            os.close(go_w)  # without the byte before, the child takes this as "do not start"
        why = b""
        while chunk := os.read(why_r, 4096):
            why += chunk
        os.close(why_r)
        if why:
            raise OSError(why.decode("utf-8", "replace"))
        return out_r, err_r

    def sweep(self) -> tuple[int, int]:
        """Kill what is left below us. Returns how many died, and how many could not be killed."""
        killed: set[int] = set()
        deadline = time.monotonic() + SWEEP_S
        pause = 0.001
        if sys.platform != "linux":
            send(self.pid, signal.SIGKILL, group=True)
        while True:
            childless = self.reap()
            if childless and sys.platform == "linux":
                return len(killed), 0  # a subreaper without children has no descendants
            left = descendants(os.getpid())
            if (childless and not left) or time.monotonic() > deadline:
                return len(killed - left), len(left)
            for pid in left:
                send(pid, signal.SIGKILL)
            killed |= left
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def _become_agent(spec: Record, supervisor: int, go: int, why: int, out: int, err: int) -> None:
    """The child's side of the fork: never returns. What fails goes to the parent through `why`."""
    step = "prepare"
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        if os.read(go, 1) != b"g" or os.getppid() != supervisor:
            os._exit(127)
        step = f"read {spec.get('stdin')}"
        os.dup2(os.open(str(spec.get("stdin") or os.devnull), os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        step = f"enter {spec['cwd']}"
        os.chdir(str(spec["cwd"]))
        argv, env = spec["argv"], spec["env"]
        assert isinstance(argv, list) and isinstance(env, dict)
        step = f"start {argv[0]}"
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(why, f"cannot {step}: {error.strerror or error}".encode()[:4000])
    except BaseException as error:  # the fork must never go on as a second supervisor
        os.write(why, f"cannot {step}: {error!r}".encode()[:4000])
    finally:
        os._exit(127)
