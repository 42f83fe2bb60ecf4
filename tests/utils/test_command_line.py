import json
import shlex

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from condseg_monai.cli.workflows import config_file
from condseg_monai.utils.command_line import check_command_line, command_word, config_value

PROGRAM = "/somewhere/site-packages/monai/bundle/__main__.py"
TEXTS = [
    "plain",
    "/data/a b",
    "set#2",
    "a#b#c",
    "2024_11_28",
    "a,b",
    "@home",
    "$x",
    "%20",
    "{a}",
    "1e3",
    "True",
    "a@::b",
]
TEXTS += ["it's", 'say "x"', "back\\slash", "$'#", "ä#ö", "None ", "x:y", "[1", "100%", "a%b", "a$b", "-", "~x", "#"]


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "mine.json"
    options = {
        "learning_rate": 0.1,
        "dataset_dir": "d",
        "output_dir": "o",
        "encoder": None,
        "class_names": ["a", "b"],
        "device": "cpu",
    }
    file.write_text(json.dumps({**options, "my_step": "$print(@my_rate)", "my_network": {}, "run": []}))
    return str(file)


def check(config, *words):
    check_command_line([PROGRAM, "run", "--config_file", config, *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--learning_rat", "0.2"],
        ["--learning_rat=0.2", "--my_rate", "3"],
        ["--learning-rat", "0.2"],
        ["--args_file", "ARGS"],
        ["--learning_rat::x", "0.2"],
    ],
)
def test_unknown_option_is_refused_with_the_one_it_looks_like(words, config, tmp_path):
    args_file = tmp_path / "args.json"
    args_file.write_text(json.dumps({"learning_rat": 0.2, "config_file": config}))
    words = [str(args_file) if word == "ARGS" else word for word in words]
    with pytest.raises(
        ValueError, match=r"no such option: learning_rat \(did you mean learning_rate\?\), in mine.json"
    ):
        check(config, *words)


@pytest.mark.parametrize("words", [["--checkpoint", "x.pt"], ["--lr", "0.01"], ["--epochs=3"]])
def test_option_of_another_config_is_refused(words, config):
    with pytest.raises(ValueError, match=r"no such option: (checkpoint|lr|epochs), in mine\.json; condseg options"):
        check(config, *words)


@pytest.mark.parametrize("option", [["--checkpoint", "x.pt"], ["--lr", "0.01"]])
def test_option_that_no_training_has_is_refused(option):
    with pytest.raises(ValueError, match=r"no such option: (checkpoint .*|lr), in train_stage2\.json; condseg options"):
        check(str(config_file("train_stage2")), *option)


@pytest.mark.parametrize("value", ["set#2", "2024_11_28", "a,b", "@x", "$x", "%x"])
def test_folder_that_fire_or_monai_would_change_is_refused_by_the_config(value):
    with pytest.raises(ValueError, match=r"dataset_dir .* would not arrive as it is"):
        check(str(config_file("train_stage2")), "--dataset_dir", value)


def test_option_that_an_overlay_leaves_unused_is_refused(config, tmp_path):
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"unused_options": ["encoder"]}))
    with pytest.raises(ValueError, match=r"no such option: encoder, in mine\.json, overlay\.json"):
        check(f"{config},{overlay}", "--encoder", "resnet18")


@pytest.mark.parametrize(
    "words",
    [
        ["--learning_rate", "0.2"],
        ["--my_rate", "2", "--my_network#width=3", "--+my_step", "$print('--x')"],  # the config has or reads them
        ["--meta_file", "metadata.json", "--run_id", "run", "--logging_file", "x"],  # MONAI's own
        ["--dataset_dir", "../data set/a", "--output_dir=/x/y.z", "--class_names", "['c','d']", "--encoder", "null"],
        ["--encoder", "$None"],  # as MONAI needs it where a config reads the value itself
        ["--class_names", "c,d"],
    ],
)
def test_what_the_config_or_monai_knows_passes(words, config):
    check(config, *words)
    check(f"['{config}','{config}']", *words)
    check(f"{config},{config}", *words)


def test_arguments_of_other_programs_are_not_looked_at():
    check_command_line(["/usr/bin/monailabel", "start_server", "--learning_rat", "1"])
    check_command_line()  # pytest's own


@pytest.mark.parametrize("text", ["set#2", "2024_11_28", "a,b", "@home", "$x", "%20", "1e3", "'a'#b", "[a]", "a/$b/#c"])
def test_text_that_would_change_is_refused_with_a_way_to_write_it(text, config):
    with pytest.raises(ValueError, match="would not arrive as it is") as refused:
        check(config, "--dataset_dir", text)
    assert f"dataset_dir {text!r}" in str(refused.value)
    way = shlex.split(str(refused.value).partition("write --dataset_dir ")[2].partition(", or use")[0])
    check(config, "--dataset_dir", *way)


def test_text_of_an_args_file_that_would_change_is_refused_with_a_way_to_write_it(config, tmp_path):
    args_file = tmp_path / "args.json"
    args_file.write_text(json.dumps({"dataset_dir": "set#9"}))
    with pytest.raises(ValueError, match=r"dataset_dir 'set#9' of .*args\.json would not arrive as it is") as refused:
        check(config, "--args_file", str(args_file))
    way = str(refused.value).partition("write ")[2].partition(" there, or use")[0]
    for value in (json.loads(way), "plain", "2024_11_28", None):
        args_file.write_text(json.dumps({"dataset_dir": value}))
        check(config, "--args_file", str(args_file))
    args_file.write_text(json.dumps({"dataset_dir": "set#9"}))
    check(config, "--args_file", str(args_file), "--dataset_dir", "plain")  # takes its place


def test_part_that_the_block_of_options_does_not_have_is_refused(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"learning_rate": 0.1, "options": {"learning_rate": "@learning_rate"}, "run": []}))
    for name in ("options#learning_rat", "options::learning_rat"):
        with pytest.raises(ValueError, match=r"no such option: learning_rat \(did you mean learning_rate\?\)"):
            check(str(file), f"--{name}", "1")
    check(str(file), "--options#learning_rate", "1")


def test_device_that_there_is_not_is_refused(config):
    with pytest.raises(ValueError, match="device must be cpu, cuda"):
        check(config, "--device", "cud")
    check(config, "--device", "cuda:1")


def test_class_names_that_would_change_are_refused(config):
    with pytest.raises(ValueError, match=r"class_names \['background', '\$x'\] would not arrive"):
        check(config, "--class_names", "['background','$x']")


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_arrives_through_a_shell_fire_and_monai(text):
    (word,) = shlex.split(command_word(text))
    parser = ConfigParser({"value": DefaultParseValue(word)})
    parser.parse()
    assert parser.get_parsed_content("value") == text
    parser = ConfigParser({"values": config_value(["a", text])})
    parser.parse()
    assert parser.get_parsed_content("values") == ["a", text]


@pytest.mark.parametrize("value", [True, 3, 0.5, [1, 2], ["a", "b#c"]])
def test_other_values_arrive_as_they_are(value):
    parser = ConfigParser({"value": DefaultParseValue(*shlex.split(command_word(value)))})
    parser.parse()
    assert parser.get_parsed_content("value") == value
