"""Plugins that are broken in every way that their authors, or bad luck, have thought of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = '''
import benchsuite, os, sys, time
{at_import}

class Broken(benchsuite.Scorer):
    """Broken on purpose."""

    name = "{name}"

    def score(self, context):
        import torch
        import torch.nn.functional as F
        scores = {{layer.name: layer.weight.abs().flatten(1).sum(1) for layer in context.layers}}
        {in_score}
        return scores


@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Broken)

{observer}
'''
ASK = 'context.activations("mean"); context.gradient_statistic("mean-gradient")'

IN_SCORE: dict[str, tuple[str, str, str]] = {
    # How its trial ends, and a part of the reason.
    "poison-train-mode": (f"context.model.train(); {ASK}", "failed", "running_mean"),
    "poison-functions": (
        f"F.relu = torch.relu = lambda x, inplace=False: x * 0; {ASK}",
        "failed",
        "functions of torch were replaced (torch.nn.functional.relu, torch.relu)",
    ),
    "poison-hook": (
        "handle = context.layers[0].module.register_forward_hook(lambda m, i, o: o * 0); "
        f"{ASK}; handle.remove()",
        "done",
        "",
    ),
    "poison-table": (
        'table = context.activations("mean"); [t.zero_() for t in table.values()]; '
        'scores = {n: t.mean(0) for n, t in context.activations("mean").items()}',
        "done",
        "",
    ),
    "poison-weights": (
        "torch._foreach_mul_([p.data for p in context.model.parameters()], -3); "
        'context.gradient_statistic("mean-gradient")',
        "failed",
        "the values of",
    ),
    "clears-environment": ("os.environ.clear()", "failed", "environment variables were changed"),
    "changes-folder": ('os.chdir("/")', "failed", "the current folder was changed"),
    "default-type": ("torch.set_default_dtype(torch.float64)", "failed", "default type"),
    "no-gradients": ("torch.set_grad_enabled(False)", "failed", "mode of gradients"),
    "deterministic": ("torch.use_deterministic_algorithms(True)", "failed", "deterministic algorithms"),
    "threads": ("torch.set_num_threads(7)", "failed", "number of threads"),
    "signals": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "failed",
        "handlers of signals were changed (SIGTERM)",
    ),
    "seeds": ("torch.manual_seed(1)", "failed", "global generator of torch"),
    "forks": ("os.fork() == 0 and (time.sleep(900), os._exit(0))", "done", ""),
    "leaves": ("os._exit(0)", "killed", "before its work was done"),
    "exits": ("sys.exit(7)", "failed", "SystemExit: 7"),
    "aborts": ("os.abort()", "killed", "SIGABRT"),
    "closes-output": ("sys.stdout.close(); os.close(1)", "done", ""),
    "closes-everything": ("os.closerange(3, 400)", "killed", "before its work was done"),
    "prints": ('print("x" * 30_000_000, flush=True)', "done", ""),
    "half-character": (r'raise RuntimeError("\ud800 \x1b[31m red")', "failed", "red"),
    "long-message": ('raise RuntimeError("y" * 5_000_000)', "failed", "yyy"),
    "not-finite": ('scores[context.layers[0].name][0] = float("inf")', "failed", "infinite"),
    "meta": ('scores = {n: s.to("meta") for n, s in scores.items()}', "failed", ""),
    "hangs": ("time.sleep(900)", "timeout", "longer than"),
    "limits-files": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
        "failed",
        "its process could not write where others can",
    ),
    "limits-descriptors": (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "failed",
        "",
    ),
    "says-the-disk-is-full": (
        'from benchsuite.store.files import StorageError; raise StorageError(28, "No space left", "/")',
        "failed",
        "its process could not write where others can (/: No space left)",
    ),
}
LATER: dict[str, tuple[str, str, str]] = {
    "later-exits": ("context.round_number and os._exit(3)", "failed", "exited with code 3 before its work"),
    "later-raises": ('if context.round_number: raise RuntimeError("late")', "failed", "late"),
    "later-limits-files": (
        "import resource; context.round_number and resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))",
        "failed",
        "its process could not write where others can",
    ),
    "later-cannot": (
        'if context.round_number: raise benchsuite.Unsupported("only what is whole")',
        "unsupported",
        "only what is whole",
    ),
    "later-functions": (
        f"if context.round_number: F.relu = torch.relu = lambda x, inplace=False: x * 0\n        {ASK}",
        "failed",
        "functions of torch were replaced",
    ),
    "later-weights": (
        "context.round_number and [p.data.zero_() for p in context.model.parameters()]",
        "failed",
        "the values of",
    ),
}
"""What they do to a network that has been cut already."""
AT_IMPORT: dict[str, str] = {
    "imports-chdir": 'os.chdir("/")',
    "imports-type": "import torch; torch.set_default_dtype(torch.float64)",
    "imports-print": 'print("x" * 50_000_000)',
    "imports-environment": 'os.environ.clear(); os.environ["OMP_NUM_THREADS"] = "9"',
    "imports-closed": "sys.stdout.close(); os.close(1)",
    "imports-functions": (
        "import torch; relu = torch.nn.functional.relu; "
        "torch.nn.functional.relu = lambda x, inplace=False: relu(x) * 0.5"
    ),
}
"""What a plugin's own cells come to then is its own affair."""
DEAD_AT_IMPORT: dict[str, tuple[str, str]] = {
    "import-exits": ("os._exit(5)", "exited with code 5 while it was imported"),
    "import-segfaults": ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV while it was imported"),
    "import-real-time": ("os.kill(os.getpid(), 40)", "was killed by signal 40 while it was imported"),
    "import-raises": ('raise RuntimeError("no \\x1b[31mluck")', "RuntimeError: no"),
    "import-leaves": ("sys.exit(3)", "SystemExit: 3"),
}
"""Installed as packages: a file that cannot be loaded is an error of the command that names it."""
OBSERVERS: dict[str, str] = {
    "observer-exits": "os._exit(9)",
    "observer-raises": 'raise ValueError("nothing to see")',
    "observer-patches": "import torch; torch.nn.functional.relu = None; os.chdir('/'); os.environ.clear()",
}


def write_plugins(folder: Path, kinds: dict[str, tuple[str, str, str]] | None = None) -> list[Path]:
    """A file for each broken plugin whose scorer a suite can name, or for each of some kinds alone."""
    files = [_write(folder, name, in_score=body) for name, (body, _, _) in (kinds or IN_SCORE).items()]
    if kinds is not None:
        return files
    for name, at_import in AT_IMPORT.items():
        files.append(_write(folder, name, at_import=at_import))
    for name, body in OBSERVERS.items():
        hook = f"@benchsuite.hookimpl\ndef benchsuite_trial_finished(record):\n    {body}\n"
        files.append(_write(folder, name, observer=hook))
    return files


def _write(folder: Path, name: str, *, at_import: str = "", in_score: str = "", observer: str = "") -> Path:
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(PLUGIN.format(name=name, at_import=at_import, in_score=in_score, observer=observer))
    return path


def install_packages(folder: Path) -> None:
    """Packages with entry points whose import does not end well."""
    for name, (at_import, _) in DEAD_AT_IMPORT.items():
        module = name.replace("-", "_")
        (folder / f"{module}.py").write_text(f"import os, sys\n{at_import}\n")
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[benchsuite]\n{name} = {module}\n")
