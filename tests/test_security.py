"""What a stranger's words, YAML or files can do: name a run inside the results, and no more."""

import ast
import copy
import os
import re
import unicodedata
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

import snaprun
from snaprun import config
from snaprun.checks import UserError
from snaprun.cli import _main
from snaprun.paths import conf_dir

SOURCES = sorted(Path(snaprun.__file__).parent.rglob("*.py"))

with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    PLAIN = config.resolve(compose("train"))

TRICKS = [
    "..",
    ".",
    "../../etc",
    "/etc/cron.d/x",
    "a/../../b",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    "~root",
    "$HOME",
    "${oc.env:HOME}",
    "CON",
    "x" * 300,
    "-rf",
    "",
    " ",
    "．．／x",  # full-width: .. / under NFKC
    "‥∕x",  # a leader of two dots and a division slash
    "x\u202egnp.exe",  # right-to-left override
    "a\u0300" * 50,
    "\ud800",
    "℀",  # a/c under NFKC
]
words = st.one_of(st.sampled_from(TRICKS), st.text(max_size=300))
values = st.one_of(words, st.integers(), st.floats(), st.none(), st.booleans(), st.lists(words))
# Where the words of a run_id come from.
PLACES = ("task.name", "cell.name", "cell.units", "sparsity.name", "sparsity.level", "rule.name")
PLACES += ("rule.n", "train.update_every", "seed")


def changed(place: str, value: object) -> dict:
    plain = copy.deepcopy(PLAIN)
    *groups, key = place.split(".")
    target = plain
    for group in groups:
        target = target[group]
    target[key] = value
    return plain


@settings(deadline=None)
@given(changes=st.dictionaries(st.sampled_from(PLACES), values, max_size=9))
def test_whatever_the_choices_are_the_run_id_is_one_short_plain_visible_name(changes):
    plain = copy.deepcopy(PLAIN)
    for place, value in changes.items():
        *groups, key = place.split(".")
        (plain[groups[0]] if groups else plain)[key] = value
    folder = config.run_folder(plain)
    assert re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9.-]{0,119})?-[0-9a-f]{8}", folder.name)
    assert folder.parent == Path("results/copy")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_in_a_choice_stays_inside(place, trick):
    folder = config.run_folder(changed(place, trick))
    assert Path(os.path.normpath(folder)).parent == Path("results/copy")
    assert len(folder.name) <= 129
    # Two choices that look alike once they are cleaned are still two runs.
    assert folder != config.run_folder(changed(place, trick + "/"))


@given(name=words)
def test_a_name_is_taken_as_it_is_or_refused(name):
    try:
        folder = config.run_folder({**PLAIN, "name": name})
    except UserError:
        assert not re.fullmatch(r"\w[\w.-]*", name, re.ASCII) or len(name) > 100
    else:
        assert folder.parent.name == name == unicodedata.normalize("NFKC", name)
        assert folder.parent.parent == Path("results")
        assert not name.startswith(".")
        assert len(name) <= 100


@pytest.mark.parametrize("name", sorted(set(TRICKS) - {"CON"}))
def test_no_trick_is_a_name(name):
    with pytest.raises(UserError, match=r"^name="):
        config.run_folder({**PLAIN, "name": name})


@pytest.mark.parametrize("results", ["a\0b", "a\nb", "\x1b", "\ud800"])
def test_results_with_control_characters_are_refused(results):
    with pytest.raises(UserError, match=r"^results="):
        config.run_folder({**PLAIN, "results": results})


GROUPS = (*config.GROUPS, "")


HYDRA = {
    "callbacks": {"callbacks": {"x": {"_target_": "os.system", "command": "id"}}},
    "logging": {"job_logging": {"handlers": {"h": {"()": "os.system", "command": "id"}}}},
    "launcher": {"launcher": {"_target_": "os.system", "command": "id"}},
}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Somewhere to be, and the calls that must not happen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    calls: list[object] = []
    monkeypatch.setattr(os, "system", calls.append)
    yield tmp_path
    assert calls == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_target_on_the_command_line_is_refused(trap, capfd, group):
    prefix = f"{group}." if group else ""
    words = [f"+{prefix}_target_=os.system", f"+{prefix}_args_=[id]"]
    assert _main(["train", *words]) == 2
    err = capfd.readouterr().err
    assert "_target_" in err
    assert err.count("\n") == 1
    assert list(trap.iterdir()) == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_target_in_an_experiment_file_is_refused(trap, capfd, group):
    evil = {"_target_": "os.system", "command": "id"}
    (trap / "experiment").mkdir()
    text = "# @package _global_\n" + yaml.safe_dump({group: evil} if group else evil)
    (trap / "experiment" / "evil.yaml").write_text(text)
    assert _main(["train", "--config-dir", str(trap), "experiment=evil"]) == 2
    err = capfd.readouterr().err
    assert "_target_ is not a key" in err
    assert err.count("\n") == 1
    assert [path.name for path in trap.iterdir()] == ["experiment"]


@pytest.mark.parametrize("place", HYDRA)
def test_code_that_an_experiment_file_gives_to_hydra_is_refused(trap, capfd, place):
    (trap / "experiment").mkdir()
    text = "# @package _global_\n" + yaml.safe_dump({"hydra": HYDRA[place]})
    (trap / "experiment" / "evil.yaml").write_text(text)
    assert _main(["train", "-m", "--config-dir", str(trap), "experiment=evil"]) != 0
    assert [path.name for path in trap.iterdir()] == ["experiment"]


# No terminal sends half of a surrogate pair; the folder above may hold texts.
@pytest.mark.parametrize("trick", sorted(set(TRICKS) - {"\ud800", ".."}))
def test_a_trick_as_the_path_of_a_text_writes_nothing(trap, capfd, trick):
    quoted = trick.replace("\\", "\\\\").replace("'", "\\'")
    words = ["train", "task=charlm", f"task.text='{quoted}'"]
    assert _main(words) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert list(trap.iterdir()) == []


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
FORBIDDEN_CALLS |= {"pd.read_pickle", "yaml.unsafe_load", "yaml.full_load"}
FORBIDDEN_NAMES = {"instantiate", "get_method", "get_class", "UnsafeLoader", "FullLoader"}
NEEDED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_the_source_runs_nothing_that_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = {name.split(".")[0] for name in [*names, getattr(node, "module", "") or ""]}
            assert not modules & FORBIDDEN_MODULES
            assert not set(names) & FORBIDDEN_NAMES
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_CALLS
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert given.get("shell") is not True
            if called in NEEDED:
                key, value = NEEDED[called]
                assert given.get(key) is value, f"{called} without {key}={value}"
            if called == "yaml.load":
                assert ast.unparse(node.args[1]) == "YAML"  # PyYAML's safe loader
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value != "_target_"


def test_no_configuration_names_code():
    for file in conf_dir().rglob("*.yaml"):
        targets = re.findall(r"^\s*_target_:\s*(\S+)", file.read_text(encoding="utf-8"), re.M)
        # Hydra finds its launchers so, and takes them from this package alone.
        assert all(target.startswith("hydra_plugins.") for target in targets), file
