"""Plugins of strangers: described and asked through a process of their own, and never imported here."""

from __future__ import annotations

import compileall
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import platformdirs
import pytest

from benchsuite.contracts.digests import source_digest, source_libraries
from benchsuite.contracts.plugin import content_of
from benchsuite.errors import PluginError, UsageError
from benchsuite.plan.stage_keys import plugin_content
from benchsuite.registry import stranger_process
from benchsuite.registry.discovery import discover, discover_apart

PLUGIN = '''
import benchsuite, os, sys, time
{top}

class Mine(benchsuite.Scorer):
    """Mine, and nobody else's."""
    name, version = "mine", "3"
    granularity, scale, coupled, needs_target, draws = "both", "network", True, True, 2
    bins: int = 4
    kind: str = "a"

    def score(self, context):
        return {{}}

    def fingerprint(self):
        {fingerprint}

class Net(benchsuite.ModelPlugin):
    """A net."""
    name = "mine-net"
    recipe = benchsuite.TrainingRecipe(epochs=7, milestones=(0.25,))
    def build(self, input_shape, classes):
        return None

class Family(benchsuite.ModelFamily):
    """Many."""
    name = "mine-family"
    @classmethod
    def architectures(cls):
        return ["one", "two"]
    def build(self, input_shape, classes):
        return None

class Data(benchsuite.DatasetPlugin):
    """Data."""
    name = "mine-data"
    def load(self, folder):
        return None
    def fingerprint(self, folder):
        return f"in {{folder}}"

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Mine)

@benchsuite.hookimpl
def benchsuite_register_models(register):
    register(Net)
    register(Family)

@benchsuite.hookimpl
def benchsuite_register_datasets(register):
    register(Data)
'''


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Descriptions are remembered in a folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(folder))
    return folder


@pytest.fixture
def stranger(tmp_path):
    made = []

    def make(top="", fingerprint='return ""'):
        path = tmp_path / "my_plugin.py"
        path.write_text(PLUGIN.format(top=top, fingerprint=fingerprint))
        registry, strangers = discover_apart([path])
        made.append(strangers)
        return path, registry

    yield make
    for strangers in made:
        strangers.close()


@pytest.mark.parametrize("kind", ["scorer", "model", "dataset"])
def test_what_stands_for_a_plugin_says_what_the_plugin_would(stranger, kind, tmp_path):
    path, apart = stranger()
    here, _ = discover([path])
    name = {"scorer": "mine", "model": "mine-net", "dataset": "mine-data"}[kind]
    there, real = apart.create(kind, name, {}), here.create(kind, name, {})
    arguments = (tmp_path,) if kind == "dataset" else ()
    assert plugin_content(there, lambda: there.fingerprint(*arguments)) == plugin_content(
        real, lambda: real.fingerprint(*arguments)
    )
    facts = (
        "name",
        "version",
        "granularity",
        "scale",
        "coupled",
        "needs_target",
        "draws",
        "recipe",
        "data_free",
    )
    for fact in facts:
        assert getattr(type(there), fact, None) == getattr(type(real), fact, None)
    assert [i for i in apart.infos if i.origin == str(path)] == [
        i for i in here.infos if i.origin == str(path)
    ]
    assert source_digest(type(there)) == source_digest(type(real))
    assert source_libraries(type(there)) == source_libraries(type(real))


def test_parameters_are_checked_where_the_plugin_is(stranger):
    _, registry = stranger()
    assert registry.create("scorer", "mine", {"bins": 9}).parameters == {"bins": 9, "kind": "a"}
    with pytest.raises(UsageError, match="there is no parameter 'bin'; did you mean 'bins'"):
        registry.create("scorer", "mine", {"bin": 9})
    with pytest.raises(UsageError, match="bins"):
        registry.create("scorer", "mine", {"bins": "many"})


def test_families_are_asked_for_their_architectures(stranger):
    _, registry = stranger()
    assert registry.create("model", "mine-family/two", {}).parameters == {"architecture": "two"}
    with pytest.raises(UsageError, match="has no architecture 'tow'; did you mean 'two'"):
        registry.get("model", "mine-family/tow")


def test_its_code_does_not_run_here(stranger, tmp_path):
    mark, before = tmp_path / "ran", set(sys.modules)
    _, registry = stranger(top=f"open({str(mark)!r}, 'a').write(f'{{os.getpid()}}\\n')")
    assert "mine" in registry.names("scorer")
    assert str(os.getpid()) not in mark.read_text().split()
    assert not [name for name in set(sys.modules) - before if "my_plugin" in name]


@pytest.mark.parametrize(
    ("top", "error"),
    [
        ("os._exit(7)", "exited with code 7 while it was imported"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL while it was imported"),
        ("os.closerange(0, 64)", "while it was imported"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        ("raise KeyboardInterrupt", "while it was imported"),
        ("sys.exit('bye')", "SystemExit: bye"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = (", "SyntaxError"),
    ],
)
def test_what_goes_wrong_at_import_is_its_error(stranger, top, error):
    path, registry = stranger(top=top)
    (info,) = (i for i in registry.infos if i.origin == str(path))
    assert (info.name, info.status) == ("my_plugin", "error")
    assert error in info.error
    assert "magnitude-l1" in registry.names("scorer")
    with pytest.raises(UsageError, match="there is no scorer 'mine'"):
        registry.get("scorer", "mine")


@pytest.mark.parametrize(
    "top",
    [
        "os.chdir('/'); os.environ.clear(); sys.stdout.close(); sys.stderr.close()",
        "print('noise' * 100000); os.write(1, b'{}\\n' * 1000)",
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)",
        "import builtins; builtins.print = None; sys.stdin.close()",
    ],
)
def test_what_it_does_to_its_process_is_no_matter(stranger, top):
    _, registry = stranger(top=top)
    assert registry.create("scorer", "mine", {}).parameters == {"bins": 4, "kind": "a"}


def test_an_import_that_does_not_end_is_given_up(stranger, monkeypatch):
    monkeypatch.setattr(stranger_process, "IMPORT_SECONDS", 3.0)
    path, registry = stranger(top="time.sleep(600)")
    (info,) = (i for i in registry.infos if i.origin == str(path))
    assert "did not answer within 3 s while it was imported" in info.error


def test_what_goes_wrong_in_a_method_is_said(stranger):
    _, registry = stranger(fingerprint="raise ValueError('no \\x1b[31m file')")
    plugin = registry.create("scorer", "mine", {})
    assert content_of(plugin.fingerprint) == "fingerprint() raised ValueError: no \x1b[31m file"
    _, registry = stranger(fingerprint="os._exit(3)")
    plugin = registry.create("scorer", "mine", {})
    with pytest.raises(PluginError, match="exited with code 3 when it was asked for its content"):
        plugin.fingerprint()


def test_a_description_is_remembered_for_the_same_files_alone(stranger, tmp_path, memory):
    count = tmp_path / "count"
    top = f"open({str(count)!r}, 'a').write('x')"
    path, first = stranger(top=top)
    assert len(count.read_text()) == 2, "twice, to see that both say the same"
    assert len(list((memory / "plugins").iterdir())) == 1
    _, second = stranger(top=top)
    assert second.infos == first.infos
    assert len(count.read_text()) == 2
    # A file beside it may be imported by it.
    path.with_name("beside.py").write_text("")
    stranger(top=top)
    assert len(count.read_text()) == 4
    # Using it starts its process, once.
    _, registry = stranger(top=top)
    registry.create("scorer", "mine", {})
    registry.create("scorer", "mine", {"bins": 2})
    assert len(count.read_text()) == 5


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless"])
def test_what_is_no_file_in_place_of_a_memory_is_no_memory(stranger, memory, kind):
    _, first = stranger()
    (file,) = (memory / "plugins").iterdir()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")
    _, again = stranger()
    assert again.infos == first.infos


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"plugins": 3}',
        '{"plugins": [{}]}',
        "[" * 100_000,
        "null",
        '{"plugins": [{"info": {"x": 1}}]}',
    ],
)
def test_a_damaged_memory_is_asked_for_again(stranger, memory, content):
    _, first = stranger()
    (file,) = (memory / "plugins").iterdir()
    file.write_text(content)
    _, second = stranger()
    assert second.infos == first.infos


CHANGING = """
import benchsuite, os, tempfile, time

class Changing(benchsuite.Scorer):
    name = "changing"
    version = "1"
    started: {kind} = {value}
    def score(self, context):
        return {{}}

class Fixed(benchsuite.Scorer):
    name = "fixed"
    def score(self, context):
        return {{}}

@benchsuite.hookimpl
def benchsuite_register_scorers(register):
    register(Changing)
    register(Fixed)
"""


@pytest.fixture
def changing(tmp_path):
    made = []

    def make(kind, value):
        path = tmp_path / "changing.py"
        path.write_text(CHANGING.format(kind=kind, value=value))
        registry, strangers = discover_apart([path])
        made.append(strangers)
        return registry

    yield make
    for strangers in made:
        strangers.close()


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("float", "time.time()", "its parameter 'started' has another default each time it is imported"),
        ("int", "os.getpid()", "its parameter 'started' has another default each time it is imported"),
        ("str", "tempfile.mkdtemp()", "its parameter 'started' has another default each time it is imported"),
        ("object", "object()", "its parameter 'started' has another default each time it is imported"),
        ("float", "float('inf')", "the default of its parameter 'started' is inf, which records cannot hold"),
        ("float", "float('nan')", "the default of its parameter 'started' is nan, which records cannot hold"),
        ("list", "[1.0, -float('inf')]", "the default of its parameter 'started' is [1.0, -inf], which"),
        ("int", "1\n    version = str(time.time_ns())", "its version is another each time it is imported"),
    ],
)
def test_what_is_another_at_each_import_is_an_error_of_that_plugin_alone(changing, kind, value, told):
    for _ in range(3):
        registry = changing(kind, value)
        with pytest.raises(UsageError, match=f"scorer 'changing' .* is broken: {re.escape(told)}"):
            registry.create("scorer", "changing", {})
        assert registry.create("scorer", "fixed", {}).parameters == {}


def test_what_changes_more_slowly_than_two_imports_is_noticed_when_it_is_used(changing, tmp_path):
    (tmp_path / "aside").mkdir()
    turn = tmp_path / "aside/turn"
    value = f"(open({str(turn)!r}, 'a').write('x'), os.path.getsize({str(turn)!r}) // 4)[1]"
    registry = changing("int", value)
    registry.create("scorer", "changing", {})
    seen = []
    for _ in range(4):
        registry = changing("int", value)
        try:
            registry.create("scorer", "changing", {})
        except (PluginError, UsageError) as error:
            seen.append(str(error))
        registry.create("scorer", "fixed", {})
    assert seen


def test_a_helper_that_the_memory_does_not_see_is_noticed_when_the_plugin_is_used(stranger, tmp_path):
    (tmp_path / "helpers").mkdir()
    helper = tmp_path / "helpers/sign.py"
    helper.write_text("SIGN = 1\n")
    top = "from helpers.sign import SIGN"
    _, registry = stranger(top=top)
    before = source_digest(type(registry.create("scorer", "mine", {})))
    helper.write_text("SIGN = -1\n")
    _, registry = stranger(top=top)
    assert source_digest(registry.get("scorer", "mine")) == before  # nobody has looked
    after = source_digest(type(registry.create("scorer", "mine", {})))
    assert after != before
    _, registry = stranger(top=top)
    assert source_digest(registry.get("scorer", "mine")) == after


def test_listing_costs_little_beyond_the_import_and_nothing_the_second_time(stranger):
    """In the product's own terms: no torch is loaded for it."""
    path, _ = stranger()
    script = f"""
import sys
from pathlib import Path
from benchsuite.registry.discovery import discover_apart
registry, strangers = discover_apart([Path({str(path)!r})])
assert "mine" in registry.names("scorer")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_its_process_ends_with_the_command(tmp_path):
    path = tmp_path / "my_plugin.py"
    path.write_text(
        PLUGIN.format(top=f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))", fingerprint="pass")
    )
    script = f"""
import compileall
import os
from pathlib import Path
from benchsuite.registry.discovery import discover_apart
registry, strangers = discover_apart([Path({str(path)!r})])
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("kind", ["family", "model"])
def test_a_name_of_a_shipped_family_is_nobodys_and_loads_no_stranger(tmp_path, kind):
    """A suite with a network of the family is refused; before, the stranger was loaded wherever it ran."""
    base, extra = (
        ("ModelFamily", "    @classmethod\n    def architectures(cls):\n        return ['resnet18']\n")
        if kind == "family"
        else ("ModelPlugin", "")
    )
    path = tmp_path / "same.py"
    path.write_text(
        f"import benchsuite\nclass Same(benchsuite.{base}):\n    name = 'torchvision'\n{extra}"
        "    def build(self, input_shape, classes):\n        return None\n"
        "@benchsuite.hookimpl\ndef benchsuite_register_models(register):\n    register(Same)\n"
    )
    registry, strangers = discover_apart([path])
    try:
        assert strangers.source_of("model", "torchvision/resnet18") is None
        for name in ("torchvision/resnet18", "torchvision"):
            with pytest.raises(UsageError, match="model 'torchvision' is defined twice"):
                registry.get("model", name)
    finally:
        strangers.close()


def test_only_models_have_families(stranger):
    path, registry = stranger()
    strangers = discover_apart([path])[1]
    try:
        for kind in ("scorer", "dataset", "concepts"):
            assert strangers.source_of(kind, "mine-family/one") is None
        assert strangers.source_of("model", "mine-family/one") is not None
        assert strangers.source_of("model", "mine-net/one") is None
    finally:
        strangers.close()
    assert "mine-family" in registry.names("model")


def test_a_question_that_its_process_dies_of_is_asked_once_and_others_are_answered(stranger, tmp_path):
    asked = tmp_path / "asked"
    _, registry = stranger(fingerprint=f"open({str(asked)!r}, 'a').write('x'); os._exit(3)")
    first = registry.create("scorer", "mine", {})
    for _ in range(3):
        assert content_of(first.fingerprint).endswith(
            "my_plugin.py: its process exited with code 3 when it was asked for its content"
        )
    assert asked.read_text() == "x"
    assert registry.create("scorer", "mine", {"bins": 9}).parameters["bins"] == 9
    for bins in range(10, 20):
        content_of(registry.create("scorer", "mine", {"bins": bins}).fingerprint) if bins < 14 else None
    with pytest.raises(PluginError, match="exited with code 3"):
        registry.create("scorer", "mine", {"bins": 30})
    assert asked.read_text() == "x" * 5, "after five deaths it is asked nothing more"


@pytest.mark.parametrize("helper", [False, True])
def test_code_that_runs_is_the_source_as_it_stands(tmp_path, helper):
    """Python takes bytecode for that of a source of the same length and time of change, to the second."""
    text = "VALUE = 'a{}'\n"
    plugin = tmp_path / "cached_plugin.py"
    changing = tmp_path / "a_helper_of_it.py" if helper else plugin
    plugin.write_text(
        ("from a_helper_of_it import VALUE\n" if helper else text.format(1))
        + "import benchsuite\nclass One(benchsuite.Scorer):\n    name = 'one'\n    version = VALUE\n"
        "    def score(self, context):\n        return {}\n"
        "@benchsuite.hookimpl\ndef benchsuite_register_scorers(register):\n    register(One)\n"
    )
    rest = plugin.read_text().removeprefix(text.format(1))
    code = (
        "import sys; from pathlib import Path; from benchsuite.registry.discovery import discover; "
        f"print(discover([Path({str(plugin)!r})])[0].get('scorer', 'one').version)"
    )
    for number in (1, 2):
        changing.write_text(text.format(number) + ("" if helper else rest))
        os.utime(changing, (1e9, 1e9))
        compileall.compile_dir(tmp_path, quiet=1) if number == 1 else None
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"a{number}"


def test_sets_as_parameters_are_the_same_in_every_process(tmp_path):
    path = tmp_path / "sets.py"
    path.write_text(
        "import benchsuite\nclass Sets(benchsuite.Scorer):\n    name = 'sets'\n"
        "    layers: frozenset[str] = frozenset({'a', 'b', 'c', 'd', 'e', 'f'})\n"
        "    def score(self, context):\n        return {}\n"
        "@benchsuite.hookimpl\ndef benchsuite_register_scorers(register):\n    register(Sets)\n"
    )
    found = []
    for _ in range(3):
        registry, strangers = discover_apart([path])
        found.append(registry.create("scorer", "sets", {"layers": ["z", "y", "x", "w"]}).parameters)
        strangers.close()
    assert found == [{"layers": ["w", "x", "y", "z"]}] * 3
    assert discover([path])[0].create("scorer", "sets", found[0]).parameters["layers"] == frozenset("wxyz")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "no"},
        {"recipe": {"epochs": -1}},
        {"granularity": "all"},
        {"draws": 0},
        {"draws": "2"},
        {"data_free": 1},
        {"name": "another"},
        {"name": "../x"},
        {"score": "mine"},
    ],
)
def test_a_forged_description_is_its_error(stranger, monkeypatch, memory, change):
    """A plugin can find the descriptor of its answers, and write on it at import."""
    honest = stranger_process.StrangerProcess.description

    def forged(self):
        found = honest(self)
        found["plugins"][0]["facts"] |= change
        return found

    monkeypatch.setattr(stranger_process.StrangerProcess, "description", forged)
    path, registry = stranger()
    (info,) = (i for i in registry.infos if i.origin == str(path))
    assert (info.status, info.error.startswith("its process sent no description")) == ("error", True)
    assert "mine" not in registry.names("scorer")
    assert not list(memory.rglob("*.json")), "it is not remembered"


@pytest.mark.parametrize("kind", ["scorer", "dataset"])
def test_only_a_model_may_be_described_as_a_family(stranger, monkeypatch, kind):
    honest = stranger_process.StrangerProcess.description

    def forged(self):
        found = honest(self)
        for plugin in found["plugins"]:
            plugin["facts"]["family"] |= plugin["info"]["kind"] == kind
        return found

    monkeypatch.setattr(stranger_process.StrangerProcess, "description", forged)
    path, registry = stranger()
    (info,) = (i for i in registry.infos if i.origin == str(path))
    assert "is described as a family of models" in info.error


FORGING = """
import json
honest = json.dumps
def forged(what, **options):
    return {answer!r} if isinstance(what, dict) and "answer" in what else honest(what, **options)
json.dumps = forged
"""


@pytest.mark.parametrize(
    "answer",
    [
        *("5", "null", "[1, 2]", "{}"),
        *(json.dumps({"answer": a}) for a in (5, None, [1, 2], "abc", True)),
        '{"error": {"x": 1}, "kind": ["UsageError"]}',
        '{"error": null, "kind": {}}',
    ],
)
def test_an_answer_of_another_shape_is_an_error_that_says_so(stranger, answer):
    _, registry = stranger(top=FORGING.format(answer=answer))
    with pytest.raises(PluginError, match="sent no usable answer when it was asked for its create"):
        registry.create("scorer", "mine", {})
    with pytest.raises(PluginError, match="sent no usable answer when it was asked for its architectures"):
        registry.get("model", "mine-family/one")


def gone(pid, seconds=60.0):
    """Whether a process ends by itself."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({file!r}, "a").write(f"{{os.getpid()}} ")
        time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists({file!r}) or not os.path.getsize({file!r}):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("end", ["", "os._exit(3)", "os.kill(os.getpid(), 9)", "os.killpg(0, 9)"])
def test_what_it_has_started_and_left_does_not_live_on(stranger, tmp_path, end):
    file = tmp_path / "daemons"
    _, registry = stranger(top=DAEMON.format(file=str(file)) + end)
    if not end:
        registry.create("scorer", "mine", {})
    started = [int(word) for word in file.read_text().split()]
    assert started
    if not end:
        assert Path(f"/proc/{started[-1]}").exists()
        registry.get("scorer", "mine")._stranger.close()
    assert all(map(gone, started))


def test_one_that_loops_dies_with_a_command_that_is_killed_and_somebody_is_told_meanwhile(tmp_path):
    path = tmp_path / "loops.py"
    path.write_text(
        f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: pass\n"
    )
    script = (
        "from pathlib import Path\n"
        "from benchsuite.registry import stranger_process\n"
        "from benchsuite.registry.discovery import discover_apart\n"
        "stranger_process._PATIENCE_SECONDS = 0.5\n"
        f"discover_apart([Path({str(path)!r})])\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        process.kill()
    assert line.startswith(
        f"waiting for plugin {path}, at most 120 s: it gives no answer while it was imported"
    )
    assert gone(int((tmp_path / "pid").read_text()))


def test_an_import_that_did_not_end_is_not_waited_for_again(stranger, monkeypatch, tmp_path):
    count = tmp_path / "count"
    monkeypatch.setattr(stranger_process, "IMPORT_SECONDS", 3.0)
    top = f"open({str(count)!r}, 'a').write('x'); time.sleep(600)"
    for _ in range(2):
        path, registry = stranger(top=top)
        (info,) = (i for i in registry.infos if i.origin == str(path))
        assert "did not answer within 3 s while it was imported" in info.error
    assert info.error.endswith("it is not waited for again until its files change")
    assert count.read_text() == "x"
    _, registry = stranger(top="")
    assert registry.create("scorer", "mine", {}).parameters["bins"] == 4
