"""The server that worker processes are forked from, with everything loaded that they are likely to need."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import multiprocessing
import os
import signal
import tempfile
import threading
import time
import warnings
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any

from benchsuite.registry.orphans import adopt_orphans, kill_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, ForkServerProcess

UNKNOWN_CODE = 255
"""The exit code that multiprocessing names where the server died, which alone knows the true one."""
_GRACE_SECONDS = 0.5
_births = threading.Lock()
"""Held while a process is born, so that none is taken for an orphan before its number is known."""
_born: set[int] = set()
"""Numbers of the processes that were born of the server and are not to be taken for orphans."""
_MODULES = "BENCHSUITE_PRELOADED_MODULES"
_SAFE_PATH = "PYTHONSAFEPATH"


def fork_server(modules: Iterable[str] = ()) -> ForkServerContext:
    """Return the context whose processes are forked from the server, which is started if there is none.

    The server holds torch, the plugins that come with benchsuite, and no CUDA context.

    Args:
        modules: further modules that it loads; those of the first call count.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchsuite.execution.preloaded"])
    # The server takes no arguments. It must not look for modules in the current directory, where `python -c`,
    # as which it is started, looks first.
    with _environment({_MODULES: ",".join(modules), _SAFE_PATH: "1"}), _without_ctrl_c():
        try:
            forkserver.ensure_running()
        except OSError as error:
            if "AF_UNIX" not in str(error):
                raise
            reason = "too long a path for the sockets of worker processes; set TMPDIR to a shorter one"
            raise OSError(errno.ENAMETOOLONG, reason, tempfile.gettempdir()) from error
    return context


def start(process: ForkServerProcess) -> None:
    """Start a process of the context; all that is the server's child otherwise counts as an orphan."""
    with _births:
        process.start()
        if process.pid is not None:
            _born.add(process.pid)


def start_worker(
    imports: Iterable[str], main: Callable[..., None], *task: Any
) -> tuple[ForkServerProcess, Connection]:
    """Start a process that leads its own group, and return it with the connection that `main` has first.

    Raises:
        EOFError: the server died, or `ConnectionError`, as it comes.
    """
    context = fork_server(imports)
    ours, theirs = context.Pipe(duplex=True)
    process = context.Process(target=_begin, args=(main, theirs, *task))
    try:
        start(process)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def kill_orphans(pid: int | None) -> None:
    """Kill what a process has left behind that was born of the server and is dead."""
    with _births:
        _born.discard(pid or 0)
        if (server := server_pid()) is not None:
            kill_children(server, _born)


def server_pid() -> int | None:
    """The server's process, None before the first."""
    found: int | None = _server()._forkserver_pid
    return found


def is_gone(pid: int | None) -> bool:
    """Whether a server has died, or does so at this moment."""
    deadline = time.monotonic() + _GRACE_SECONDS
    while pid is not None and pid == server_pid():
        try:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except ChildProcessError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _server() -> Any:
    """What multiprocessing keeps of the server, which it offers to nobody."""
    return forkserver._forkserver


def _begin(main: Callable[..., None], *task: Any) -> None:
    """The beginning of every worker process."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # so that all it starts can be killed with it
    adopt_orphans()  # so that what it starts is its own while it lives, and the server's after that
    # The server lives as long as anybody has this; a worker's orphans must not keep it alive.
    server = _server()
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    main(*task)


def preload() -> None:
    """Load everything, and keep the garbage collector off it; called in the server."""
    adopt_orphans()
    # It says so of every orphan that has ended.
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
    modules = os.environ.pop(_MODULES, "")
    os.environ.pop(_SAFE_PATH, None)
    # What is wrong with a module, the worker that needs it finds again and reports; what it prints is not for
    # the run's screen.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("benchsuite.execution.worker")
        importlib.import_module("benchsuite.registry.discovery").discover_shipped()
        for name in filter(None, modules.split(",")):
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name)
    # A worker's collector would look through all of it, and each look at an object copies its page, which
    # takes half a second of every worker. Everything loaded so far stays alive.
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back for this process; what it starts meanwhile never gets one, and need not say so."""
    # The server starts it first, and that lets Ctrl-C through again. It cleans up what killed workers leave,
    # and need not say so.
    with _environment({"PYTHONWARNINGS": "ignore:resource_tracker"}):
        resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
