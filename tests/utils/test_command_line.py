import json

import pytest

from condseg_monai.utils.command_line import check_command_line

PROGRAM = "/somewhere/site-packages/monai/bundle/__main__.py"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"my_step": "$print(@my_rate)", "my_network": {}, "run": []}))
    return str(file)


@pytest.mark.parametrize(
    "words",
    [
        ["--learning_rat", "0.2"],
        ["--learning_rat=0.2", "--epochs", "3"],
        ["--learning-rat", "0.2"],
        ["--args_file", "ARGS"],
        ["--learning_rat::x", "0.2"],
    ],
)
def test_unknown_option_is_refused_with_the_one_it_looks_like(words, config, tmp_path):
    args_file = tmp_path / "args.json"
    args_file.write_text(json.dumps({"learning_rat": 0.2, "config_file": config}))
    words = [str(args_file) if word == "ARGS" else word for word in words]
    with pytest.raises(ValueError, match=r"no such option: learning_rat \(did you mean learning_rate\?\); docs/README"):
        check_command_line([PROGRAM, "run", "--config_file", config, *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--learning_rate", "0.2", "--lambda_ce", "-1"],
        ["--save_overlay", "True"],  # of another config of the bundle
        ["--my_rate", "2", "--my_network#width=3", "--my_step", "$print('--x')"],  # the config has or reads them
        ["--meta_file", "metadata.json", "--run_id", "run", "--logging_file", "x"],  # MONAI's own
    ],
)
def test_what_the_config_or_monai_knows_passes(words, config):
    check_command_line([PROGRAM, "run", "--config_file", config, *words])
    check_command_line([PROGRAM, "run", "--config_file", f"['{config}','{config}']", *words])


def test_arguments_of_other_programs_are_not_looked_at():
    check_command_line(["/usr/bin/monailabel", "start_server", "--learning_rat", "1"])
    check_command_line()  # pytest's own
