"""What a Python source file imports, read without running it."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BY_NAME = frozenset({"import_module", "__import__"})
"""Functions that import the module that their first argument names."""
_LOADERS = frozenset(
    {"importlib", "importlib.util", "importlib.machinery", "runpy", "pkgutil", "pydoc", "imp"}
)
"""Modules whose functions load others."""
_BY_OTHER_MEANS = frozenset(
    {"spec_from_file_location", "run_path", "run_module", "exec_module", "load_module", "SourceFileLoader"}
    | {"exec", "eval", "execfile", "find_loader", "walk_packages", "iter_modules", "resolve_name", "locate"}
)
"""Functions by which code can come from files that no import names."""


@dataclass(frozen=True)
class Source:
    """A source file.

    Attributes:
        file: where it is.
        digest: SHA-256 of its content; of a module with a stub file beside it, of both.
        imports: dotted names that may be modules which it imports.
        imports_by_computed_names: whether it can load code that none of these names.
    """

    file: Path
    digest: str
    imports: tuple[str, ...]
    imports_by_computed_names: bool


def read_source(file: Path, name: str) -> Source:
    """Read a source file that is the module of that dotted name."""
    stub = file.with_suffix(".pyi")
    return _read(file, name, _state(file), _state(stub) if stub.is_file() else None)


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def sources_beside(file: Path) -> list[Source]:
    """All sources in the folder of a file and in the packages within it."""
    folder = file.parent
    files = list(folder.glob("*.py"))
    for package in folder.iterdir():
        if (package / "__init__.py").is_file():
            files += package.rglob("*.py")
    return [Source(path, _file_digest(path), (), False) for path in sorted(files)]


def module_in(folder: Path, name: str) -> Path | None:
    """The source of the module of that dotted name in a folder, if it is there."""
    place = folder.joinpath(*name.split("."))
    return next((f for f in (place / "__init__.py", place.with_suffix(".py")) if f.is_file()), None)


def only_registers(file: Path) -> bool:
    """Whether a module does nothing but import names, list them and register them in hooks."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return all(_is_listing(node) for node in tree.body)


def _is_listing(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
            return all(_is_listing(inner) for inner in body)
        case ast.Assign(targets=[ast.Name()], value=ast.Tuple() | ast.List() as value):
            return all(isinstance(item, ast.Name) for item in value.elts)
        case ast.FunctionDef(body=body):
            return all(_is_registering(inner) for inner in body)
    return False


def _is_registering(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="register"), args=[ast.Name()], keywords=[])):
            return True
        case ast.For(target=ast.Name(), iter=ast.Name() | ast.Tuple(), body=body, orelse=[]):
            return all(_is_registering(inner) for inner in body)
    return False


@cache
def _read(file: Path, name: str, _own: object, _stub: object) -> Source:
    content = file.read_bytes()
    try:
        tree = ast.parse(content, filename=str(file))
    except (SyntaxError, ValueError):  # it cannot be imported either; its content counts all the same
        return Source(file, _file_digest(file), (), False)
    # Expressions are many, and few files have one of these calls.
    calls = any(function.encode() in content for function in _BY_NAME | _BY_OTHER_MEANS | _LOADERS)
    finder = _Finder(name, package=file.name == "__init__.py")
    for node in ast.walk(tree) if calls else _statements(tree):
        finder.look_at(node)
    return Source(file, _file_digest(file), tuple(finder.names), finder.computed)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement of a module, without the expressions in them."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, None)
            if isinstance(inner, list):  # the body of a lambda is an expression
                pending += inner


class _Finder:
    """Collects the names of modules from the statements and calls of a module."""

    def __init__(self, module: str, *, package: bool) -> None:
        self._module = module
        self._package = package
        self.names: dict[str, None] = {}
        self.computed = False

    def look_at(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self.names |= dict.fromkeys(alias.name for alias in node.names)
            self.computed |= any(alias.name in _LOADERS and alias.asname for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = self._absolute(node.module or "", node.level)
            self.names |= dict.fromkeys([base, *(f"{base}.{alias.name}" for alias in node.names)])
            # A star takes what `__all__` names, modules among them; another name hides a function that loads.
            star = any(alias.name == "*" for alias in node.names)
            self.computed |= star or (base in _LOADERS and any(alias.asname for alias in node.names))
        elif isinstance(node, ast.Call):
            self._look_at_call(node)

    def _look_at_call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _BY_NAME and node.args:
            name, *package = map(_text, [*node.args, *(key.value for key in node.keywords)])
            if name is None or (name.startswith(".") and not (package and package[0])):
                self.computed = True
            elif name.startswith("."):
                bare = name.lstrip(".")
                parents = str(package[0]).split(".")
                self.names[".".join([*parents[: len(parents) + 1 - (len(name) - len(bare))], bare])] = None
            else:
                self.names[name] = None
        elif called in _BY_OTHER_MEANS and _is_function(node.func, called):
            self.computed = True

    def _absolute(self, module: str, level: int) -> str:
        """The dotted name of what a module imports, whose dots in front are counted by `level`."""
        if level == 0:
            return module
        parts = self._module.split(".")
        parent = parts[: len(parts) - level + (1 if self._package else 0)]
        return ".".join([*parent, module] if module else parent)


def _text(node: ast.expr) -> str | None:
    """The text that an expression is, if it is one."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_function(function: ast.expr, called: str) -> bool:
    """Whether a call is of the function meant: `model.eval()` is none of the built-in `eval`."""
    return isinstance(function, ast.Name) or called not in ("exec", "eval")


def _file_digest(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes())
    stub = file.with_suffix(".pyi")
    if stub.is_file():
        digest.update(b"\0" + stub.read_bytes())
    return digest.hexdigest()
