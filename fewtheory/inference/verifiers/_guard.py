"""What runs inside the sandbox's process: limits, an audit hook, then the program and its checks.

It is run by path, by `sandbox.run`, in an interpreter of its own (`python -I -S`), and imports
nothing of the package. The job comes in on one file descriptor, what passed goes out on another,
each line under a nonce. The hook keeps what it needs in its own closure, since a program may change
any module that it can reach.
"""

from __future__ import annotations

import marshal
import os
import resource
import signal
import sys

MODULES = {  # of these a program gets none: they reach the kernel without an audit event
    "_ctypes", "_curses", "_multiprocessing", "_posixshmem", "_posixsubprocess", "_signal",
    "_socket", "_sqlite3", "_ssl", "_testcapi", "_testinternalcapi", "_xxsubinterpreters",
    "asyncio", "ctypes", "faulthandler", "fcntl", "gc", "mmap", "multiprocessing", "pty",
    "resource", "signal", "socket", "sqlite3", "ssl", "subprocess", "syslog", "termios",
}  # fmt: skip
REFUSED = (  # first words of audit events
    "builtins.breakpoint", "code.__new__", "cpython.", "ctypes.", "fcntl.", "ftplib.", "gc.",
    "http.", "imaplib.", "mmap.", "os.chdir", "os.exec", "os.fchdir", "os.fork",
    "os.kill", "os.link", "os.lockf", "os.posix_spawn", "os.setxattr", "os.removexattr",
    "os.spawn", "os.startfile", "os.symlink", "os.system", "pdb.", "poplib.", "pty.", "resource.",
    "setopencodehook", "signal.", "smtplib.", "socket.", "sqlite3.", "ssl.", "subprocess.",
    "sys._current", "sys._getframe", "sys.addaudithook", "sys.setprofile", "sys.settrace",
    "sys.set_", "syslog.", "telnetlib.", "urllib.", "_thread.",
)  # fmt: skip
PATHS = (  # events whose every path must lie in the folder
    "os.chflags", "os.chmod", "os.chown", "os.mkdir", "os.remove", "os.rename",
    "os.rmdir", "os.truncate", "os.utime", "shutil.", "tempfile.",
)  # fmt: skip
UNHEARD = (  # functions of posix without an audit event
    "abort", "chroot", "lockf", "mkfifo", "mknod", "nice", "pidfd_open",
    "sched_setaffinity", "sched_setparam", "sched_setscheduler", "setegid", "seteuid", "setgid",
    "setgroups", "setns", "setpgid", "setpriority", "setregid", "setresgid", "setresuid",
    "setreuid", "setsid", "setuid", "unshare", "vfork", "memfd_create", "forkpty",
)  # fmt: skip
ATTRIBUTES = {  # which lead to the hook, or to the frames above the program
    "__builtins__", "__closure__", "__globals__", "ag_frame", "cr_frame", "f_back", "f_builtins",
    "f_globals", "f_locals", "gi_frame", "tb_frame",
}  # fmt: skip


class TooLong(BaseException):
    """A check took longer than it may."""


def places(folder: str):
    """A function that tells whether a path lies in one of these folders, by its letters alone.

    A program can make no link and cannot leave its folder, so letters are enough.
    """
    separator, up, size = "/", "..", len

    def inside(path, among, *, text=str, raw=bytes, kind=type):
        if kind(path) is raw:
            path = path.decode()
        if kind(path) is not text:  # a subclass could have letters of its own
            return False
        parts = []
        for part in (path if path[:1] == separator else folder + separator + path).split(separator):
            if part == up:
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        full = separator + separator.join(parts) + separator
        for place in among:
            if full[: size(place) + 1] == place + separator:
                return True
        return False

    return inside


def hook(folder: str, libraries: tuple[str, ...], say):
    """The audit hook: it raises PermissionError for whatever a program may not do."""
    inside, every, own = places(folder), (folder, *libraries), (folder,)
    modules, refused, paths, attributes = frozenset(MODULES), REFUSED, PATHS, frozenset(ATTRIBUTES)

    def check(event, arguments, *, error=PermissionError, kind=isinstance, name=(str, bytes)):
        if event == "open":
            path, mode, flags = arguments
            # builtins.open tells a mode, os.open flags alone; 3: O_WRONLY | O_RDWR
            if inside(path, every if mode is not None and not flags & 3 else own):
                return
        elif event == "import":
            if arguments[0].partition(".")[0] not in modules:
                return
        elif event in ("object.__getattr__", "object.__setattr__", "object.__delattr__"):
            if arguments[1] not in attributes:
                return
        elif event in ("os.listdir", "os.scandir"):  # imports list the library's folders
            if inside(arguments[0] or folder, every):
                return
        elif event.startswith(paths):
            for value in arguments:
                if kind(value, name) and not inside(value, own):
                    break
            else:
                if kind(arguments[0], name):  # and no file descriptor
                    return
        elif not event.startswith(refused):
            return
        say("refused " + event)
        raise error("the sandbox refuses " + event)

    return check


def bare() -> None:
    """Take away what reaches the kernel or the frames above without an audit event."""
    for name in [n for n in sys.modules if n.partition(".")[0] in MODULES]:
        del sys.modules[name]
    for name in UNHEARD:
        for module in (os, sys.modules["posix"]):
            if hasattr(module, name):
                delattr(module, name)
    for name in ("_getframe", "_current_frames", "_current_exceptions", "_getframemodulename"):
        if hasattr(sys, name):  # namedtuple does without; a refusal would end it
            delattr(sys, name)
    sys.argv = ["program"]


def main() -> None:
    """Read the job, set the limits, run the program and its checks."""
    job_fd, out_fd = int(sys.argv[1]), int(sys.argv[2])
    with open(job_fd, "rb") as stream:
        job = marshal.loads(stream.read())
    nonce, write = job["nonce"], os.write

    def say(line, encode=str.encode):
        write(out_fd, encode(nonce + " " + line + "\n"))

    os.chdir(job["folder"])
    for name, value in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGALRM, too_long)
    timer, real = signal.setitimer, signal.ITIMER_REAL
    libraries = tuple({os.path.dirname(os.__file__), *(p for p in sys.path if p)})
    bare()
    program = type(sys)("program")
    # dataclasses look it up; and this module is none of its business
    sys.modules["program"] = sys.modules["__main__"] = program
    say("started")
    sys.addaudithook(hook(job["folder"], libraries, say))
    for text in (job["source"], *job["checks"]):
        timer(real, job["check_seconds"])
        outcome = outcome_of(text, program.__dict__)
        timer(real, 0)
        say(outcome)
        if outcome != "passed":
            break
    say("done")
    os._exit(0)


def outcome_of(text: str, space) -> str:
    """Run a text; what became of it."""
    try:
        exec(compile(text, "program", "exec"), space)
    except AssertionError:
        return "failed"
    except MemoryError:
        return "memory"
    except TooLong:
        return "timeout"
    except PermissionError:
        return "refused"
    except BaseException:
        return "error"
    return "passed"


def too_long(number, frame):
    """Stop the check that runs."""
    raise TooLong


if __name__ == "__main__":
    main()
