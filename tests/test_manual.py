"""`--help` and `snaprun help KEY` tell of every key what the YAML files say of it."""

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from snaprun import keys
from snaprun.cli import _main
from snaprun.commands import COMMANDS
from snaprun.paths import conf_dir

FILES = [file for file in conf_dir().rglob("*.yaml") if not {"hydra", "panel"} & {*file.parts}]
GROUPS = ("cell", "optim", "readout", "rule", "sparsity", "task")


def leaves(node, path=()):
    """The paths of a nested dict's values, as Hydra composes it."""
    if not isinstance(node, dict):
        return [".".join(path)]
    return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_names_every_key_that_hydra_composes(command, capfd):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = OmegaConf.to_container(compose(command), resolve=False)
    wanted = {path for path in leaves(composed) if not re.fullmatch(r"\w+\.name", path)}
    assert _main([command, "--help"]) == 0
    said = capfd.readouterr().out
    named = {found[1] for found in re.finditer(r"^ *([\w.]+)=", said, re.M)}
    assert {path for path in wanted if path} <= named
    assert f"snaprun {command}: {COMMANDS[command]}." in said
    assert "Examples:\n  snaprun " in said


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_command_follows_the_choices_on_its_line(group, capfd):
    for file in (conf_dir() / group).glob("*.yaml"):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            chosen = compose("train", [f"{group}={file.stem}"])[group]
        assert _main(["train", f"{group}={file.stem}", "--help"]) == 0
        said = capfd.readouterr().out
        assert re.search(rf"^{group}={file.stem}\b", said, re.M)
        for key in chosen:
            assert key == "name" or f"  {group}.{key}=" in said


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_key_and_every_file_is_explained(file):
    page = keys.read(file, file.parent.name if file.parent != conf_dir() else "")
    assert page.title
    if file.parent.name != "experiment":  # which sets the keys of others
        assert [key.path for key in page.keys if not key.comment] == []


def test_a_key_is_found_by_its_last_part(capfd):
    assert _main(["help", "lanes"]) == 0
    said = capfd.readouterr().out
    assert "train.lanes=16    (snaprun train)\n    sequences side by side" in said
    assert "(snaprun cost)" in said
    assert _main(["help", "train.lanes"]) == 0
    assert "(snaprun cost)" not in capfd.readouterr().out


def test_a_group_is_told_with_its_choices(capfd):
    assert _main(["help", "rule"]) == 0
    said = capfd.readouterr().out
    for file in (conf_dir() / "rule").glob("*.yaml"):
        assert f"  rule={file.stem} " in said


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_explained_as_for_train(group, capfd):
    assert _main(["help", group]) == 0
    (own,) = [one for one in keys.read(conf_dir() / "train.yaml").groups if one.path == group]
    head = " ".join(capfd.readouterr().out.split())
    assert head.startswith(f"{group} {own.comment.partition(':')[0]} ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["help", "train.lane"], "Did you mean train.lanes?"),
        (["train", "task=nothing", "--help"], "task='nothing' is not accepted: expected adding"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(words, said, capfd):
    assert _main(words) == 2
    err = capfd.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_files_of_the_user_are_found(tmp_path, capfd):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "mine.yaml").write_text(
        "# A cell of mine.\nname: mine\ngain: 2  # of it\n"
    )
    for flag in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert _main(["train", *flag, "cell=mine", "--help"]) == 0
        assert re.search(r"cell\.gain=2 +of it", capfd.readouterr().out)
