"""What the training scripts share: flags out of options, and data sets that are made on the spot."""

import functools
import subprocess

import pytest
from absl import flags

from kerapose import training
from kerapose.data import prepared
from kerapose.training.options import Option, common_options
from train import common

OPTIONS = [
    *common_options("runs/mine", "puppets/tracks"),
    Option("recipe", str, None, "What others are if not given.", choices=("published", "small")),
    Option("model", str, "hrnet", "Network."),
    Option("depth", int, 50, "Of the network.", least=18, most=152),
    Option("dropout", float, None, "Share.", least=0.0, most=1.0),
    Option("flip", bool, True, "Whether to mirror."),
    Option("filter_widths", [int], [3, 3], "Of each block."),
    Option("limits", [float], None, "From, to."),
    Option("subjects", [str], [], "Whose poses are known."),
    Option("gpu", [int], [], "Numbers of devices.", repeated=True),
    Option("scale", [float], [], "Of pictures.", repeated=True),
]


class Noting:
    """A training that notes with what options it was made, and that it was run."""

    OPTIONS = OPTIONS
    made = ()

    def __init__(self, **options):
        Noting.made = (options,)

    def run(self):
        Noting.made += ("run",)
        return {"mpjpe_mm": 50.0}

    @classmethod
    def test_preset(cls, name, **options):
        Noting.made = (name, options)
        return {"mpjpe_mm": 46.8}


@pytest.fixture
def parse(monkeypatch):
    """A function that defines the flags of OPTIONS anew and parses a command line; it gives them."""

    def parsed(*command_line, options=OPTIONS):
        values = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", values)
        for name in [name for name in dir(flags) if name.startswith("DEFINE")]:
            define = functools.partial(getattr(flags, name), flag_values=values)
            monkeypatch.setattr(flags, name, define)
        common.define_flags(options)
        flags.DEFINE_string("preset", None, "As `main` does.")
        flags.DEFINE_bool("evaluate", False, "As `main` does.")
        values(["script", *command_line])
        return values

    return parsed


@pytest.fixture
def run(parse, monkeypatch):
    """A function that runs `Noting` with a command line, and gives the options that it was made with."""

    def ran(*command_line):
        parse(*command_line)
        assert common.run(Noting) is None  # which would be the status of the process
        options, done = Noting.made
        assert done == "run"
        return options

    monkeypatch.setattr(prepared, "find", lambda name, split, data_dir: None)
    return ran


# ---------------------------------------- flags
def test_every_option_has_a_flag_with_its_default_and_its_help(parse):
    values = parse()
    for option in OPTIONS:
        flag = values[option.name]
        assert flag.value == option.default and not flag.present
        assert option.help in flag.help and ("repeat this option" in flag.help) == option.repeated


def every_training():
    classes = [getattr(training, name) for name in training.__all__]
    return [each for each in classes if isinstance(each, type) and issubclass(each, training.Training) and each.OPTIONS]


def test_help_shows_the_options(parse, monkeypatch):
    values = parse()
    for name in ("DEFINE_string", "DEFINE_bool"):
        monkeypatch.setattr(flags, name, lambda *arguments: None)  # they are
    monkeypatch.setattr(common, "define_flags", lambda options: None)
    monkeypatch.setattr(common.app, "run", lambda main: None)
    assert OPTIONS[0].help not in values.main_module_help()
    common.main(Noting)
    shown = " ".join(values.main_module_help().split())
    assert all(f"--{option.name}:" in shown or f"--[no]{option.name}:" in shown for option in OPTIONS)


@pytest.mark.parametrize("kind", every_training(), ids=lambda kind: kind.__name__)
def test_the_flags_of_every_training_are_its_options(parse, kind):
    values = parse(options=kind.OPTIONS)
    for option in kind.OPTIONS:
        assert option.checked(values[option.name].value) == option.checked(option.default)


@pytest.mark.parametrize(
    "command_line, expected",
    [
        ("--model=", {"model": ""}),
        ("--workdir=runs/a --dataset=h36m/gt", {"workdir": "runs/a", "dataset": "h36m/gt"}),
        ("--recipe=small", {"recipe": "small"}),
        ("--depth=18 --dropout=1", {"depth": 18, "dropout": 1.0}),
        ("--noflip --export", {"flip": False, "export": True}),
        ("--flip=false --deterministic=true", {"flip": False, "deterministic": True}),
        ("--filter_widths=3,5,7", {"filter_widths": [3, 5, 7]}),
        ("--filter_widths=3", {"filter_widths": [3]}),
        ("--filter_widths=", {"filter_widths": []}),
        ("--limits=0.5,1", {"limits": [0.5, 1.0]}),
        ("--subjects=S1,S5", {"subjects": ["S1", "S5"]}),
        ("--skip=a,b --skip=c", {"skip": ["a,b", "c"]}),  # a name may have a comma
        ("--gpu=0 --gpu=1 --scale=0.5", {"gpu": [0, 1], "scale": [0.5]}),
        ("", {}),
        ("--seed=0", {"seed": 0}),  # the default, but given
    ],
)
def test_a_training_is_given_what_the_command_line_gave(run, command_line, expected):
    """And nothing else: a recipe may have other values than the defaults."""
    found = run(*command_line.split())
    assert found == expected
    for name, value in expected.items():
        option = next(option for option in OPTIONS if option.name == name)
        assert option.checked(found[name]) == value and type(found[name]) is type(value)


@pytest.mark.parametrize(
    "command_line, message",
    [
        ("--recipe=own", "flag --recipe=own: value should be one of <published|small>"),
        ("--depth=17", "flag --depth=17: 17 is not an integer in the range"),
        ("--depth=153", "flag --depth=153: 153 is not an integer in the range"),
        ("--dropout=1.5", "flag --dropout=1.5: 1.5 is not a number in the range"),
        (
            "--filter_widths=3,wide",
            "flag --filter_widths=3,wide: must be a whole number or several with commas between",
        ),
        ("--limits=0.5;1", "flag --limits=0.5;1: must be a number or several with commas between them; correct it"),
        ("--flip=maybe", "flag --flip=maybe: "),
        ("--dept=18", "Unknown command line flag 'dept'. Did you mean: depth"),
    ],
)
def test_a_command_line_with_a_mistake_is_refused(parse, command_line, message):
    with pytest.raises(flags.Error) as error:
        parse(command_line)
    assert message in str(error.value)


# ---------------------------------------- presets
def test_a_preset_is_tested_and_not_trained(parse, monkeypatch):
    looked_for = []
    monkeypatch.setattr(prepared, "find", lambda *place: looked_for.append(place))
    parse("--preset=lifter_h36m_cpn", "--evaluate", "--dataset=h36m/cpn", "--test_split=last", "--depth=34")
    assert common.run(Noting) is None
    name, options = Noting.made
    assert name == "lifter_h36m_cpn" and options == {"dataset": "h36m/cpn", "test_split": "last", "depth": 34}
    assert looked_for == [("h36m/cpn", "last", None)]


@pytest.mark.parametrize("given, alone", [("--preset=lifter_h36m_cpn", "former"), ("--evaluate", "latter")])
def test_a_preset_is_for_the_test_alone(parse, given, alone):
    parse(given)
    with pytest.raises(ValueError, match=f"--preset and --evaluate go together, got the {alone} alone; to train from"):
        common.run(Noting)


# ---------------------------------------- data sets
def test_only_what_needs_no_files_is_prepared(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check, env: commands.append((command[1:], check)))
    with pytest.raises(prepared.NotPreparedError, match="run: python datasets/build.py jhmdb"):
        common.prepare("jhmdb", "train1", str(tmp_path))
    assert not commands
    common.prepare("puppets/tracks", "train", str(tmp_path))
    common.prepare("puppets", "train", str(tmp_path))
    expected = [[str(common.BUILD), name, f"--data_dir={tmp_path}"] for name in ("puppets/tracks", "puppets")]
    assert commands == [(command, True) for command in expected]
    assert common.BUILD.is_file()


def test_what_is_prepared_is_taken(run, monkeypatch):
    found = []
    monkeypatch.setattr(prepared, "find", lambda *args: found.append(args))
    monkeypatch.setattr(subprocess, "run", None)
    run("--data_dir=tfds", "--train_split=val")
    assert found == [("puppets/tracks", "val", "tfds")]
