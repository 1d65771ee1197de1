"""The documentation is correct: its commands parse, its suites are valid, its plugins work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchsuite.cli import COMMANDS, build_parser
from benchsuite.registry.discovery import discover
from benchsuite.suite import RecipeOverrides, Suite, load_suite
from benchsuite.testing import CHECKS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def blocks(language: str) -> list[pytest.param]:
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks_of(page, language))
    ]


def suites() -> list[pytest.param]:
    return [
        pytest.param(page, text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks_of(page, "toml"))
        if "[suite]" in text
    ]


def commands() -> list[pytest.param]:
    found = []
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"^ {4}(?:\$ )?(benchsuite [^\n]*)", text, re.MULTILINE)
        lines += re.findall(r"`(benchsuite [a-z-]+ [^`\n]+)`", text)
        found += [pytest.param(line, id=f"{page.name}: {line}") for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize("line", commands())
def test_commands_are_such_as_the_parser_takes(line):
    words = shlex.split(line.split(" > ")[0], comments=True)
    build_parser(COMMANDS).parse_args(words[1:])


@pytest.mark.parametrize(("page", "text"), suites())
def test_suites_are_valid(page, text, tmp_path):
    plugins = []
    for number, plugin in enumerate(blocks_of(page, "python")):
        plugins.append(tmp_path / f"documented{number}.py")
        plugins[-1].write_text(plugin)
    path = tmp_path / "suite.toml"
    path.write_text(text)
    load_suite(path, discover(plugins)[0])


@pytest.mark.parametrize("text", blocks("python"))
def test_plugins_load_and_scorers_conform(text, tmp_path):
    path = tmp_path / "documented.py"
    path.write_text(text)
    registry, _ = discover([path])
    own = [info for info in registry.infos if info.origin == str(path)]
    assert own
    assert [info.error for info in own if info.error] == []
    for info in own:
        if info.kind == "scorer":
            scorer = registry.create("scorer", info.name, {})
            for check in CHECKS.values():
                check(scorer)


def test_every_key_of_a_suite_is_documented():
    text = (ROOT / "docs/suites.md").read_text()
    sections = Suite.model_fields
    for name in sections:
        assert f"[{name}]" in text, name
    for section in ("suite", "pruning", "scoring", "metrics", "workload", "reference"):
        annotation = sections[section].annotation
        model = annotation.__args__[0] if section in ("workload", "reference") else annotation
        model = getattr(model, "__args__", (model,))[0]
        for field in model.model_fields:
            assert f"`{field}" in text, (section, field)
    for field in RecipeOverrides.model_fields:
        assert f"`{field}`" in text, field


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page, target)
