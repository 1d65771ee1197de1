"""The server that worker processes are forked from, with everything loaded that they are likely to need."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.context import ForkServerContext

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
        forkserver.ensure_running()
    return context


def preload() -> None:
    """Load everything, and keep the garbage collector off it; called in the server."""
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
    resource_tracker.ensure_running()  # the server starts it first, and that lets Ctrl-C through again
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
