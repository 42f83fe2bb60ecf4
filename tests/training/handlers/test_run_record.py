import json
import logging

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser

from condseg_monai import __version__
from condseg_monai.data.lists.datalist import datalist_hash
from condseg_monai.training.handlers.run_record import RunRecord, current_parser, knob_values
from condseg_monai.utils.environment import describe_environment
from condseg_monai.utils.files import file_sha256

CASES = [{"image": "data/images/a.png", "label": "data/masks/a.png"}]


def run(record: RunRecord, epochs: int = 2) -> None:
    trainer = Engine(lambda engine, batch: None)
    record.attach(trainer)
    trainer.run([0, 1, 2], max_epochs=epochs)


def read(path):
    return json.loads(path.read_text())


def config(folder) -> dict:
    return {
        "_meta_": {"version": "9.9"},
        "epochs": 3,
        "rate": "$1 / 4",
        "unused": "$1 / 0",
        "device": "$torch.device('cpu')",
        "network": "$torch.nn.Linear(1, 1)",
        "used": ["@rate", "@device", "@network"],
        "record": {
            "_target_": "condseg_monai.RunRecord",
            "save_dir": str(folder),
            "filename": "run.json",
            "splits": {"train": CASES},
            "parser": "$__import__('condseg_monai').current_parser()",
        },
    }


def test_record_holds_knobs_config_splits_and_environment(tmp_path):
    parser = ConfigParser(config(tmp_path))
    parser["epochs"] = 5  # an override
    parser.get_parsed_content("used")
    run(parser.get_parsed_content("record"))
    record = read(tmp_path / "run.json")
    assert record["knobs"] == {"epochs": 5, "rate": 0.25, "unused": "$1 / 0", "device": "cpu"}
    assert record["config"]["epochs"] == 5
    assert record["config"]["network"] == "$torch.nn.Linear(1, 1)"
    assert "_meta_" not in record["config"]
    assert record["bundle_version"] == "9.9"
    assert record["splits"] == {"train": {"count": 1, "sha256": datalist_hash(CASES)}}
    assert record["environment"]["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_result_holds_epochs_best_metric_and_checkpoint_hashes(tmp_path):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name, evaluator.state.best_metric, evaluator.state.best_metric_epoch = "iou", 0.75, 2
    evaluator.state.metrics = {"iou": 0.5}
    (tmp_path / "model.pt").write_bytes(b"weights")
    run(RunRecord(str(tmp_path), "run.json", {}, evaluator=evaluator, checkpoints=["model.pt", "missing.pt"]))
    result = read(tmp_path / "run.json")["result"]
    assert (result["epochs"], result["max_epochs"], result["iterations"]) == (2, 2, 6)
    assert result["best"] == {"metric": "iou", "value": 0.75, "epoch": 2}
    assert result["last"] == {"iou": 0.5}
    assert result["checkpoints"] == {"model.pt": file_sha256(tmp_path / "model.pt")}


def test_best_is_what_the_checkpoint_is_though_an_epoch_is_repeated(tmp_path):
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name, evaluator.state.best_metric, evaluator.state.best_metric_epoch = "iou", 0.80, 5
    record = RunRecord(str(tmp_path), "run.json", {}, evaluator=evaluator, checkpoints=["model.pt"])
    run(record)
    for weights, value in ((b"first", 0.80), (b"second", 0.81)):
        (tmp_path / "model.pt").write_bytes(weights)
        evaluator.state.best_metric = value
        record.validated(evaluator)
        best = read(tmp_path / "run.json")["best"]
        assert (best["epoch"], best["value"]) == (5, value)
        assert best["sha256"] == file_sha256(tmp_path / "model.pt")


def test_record_names_the_checkpoint_that_training_starts_from(tmp_path):
    (tmp_path / "stage1.pt").write_bytes(b"weights")
    run(RunRecord(str(tmp_path), "run.json", {}, starts_from=str(tmp_path / "stage1.pt")))
    start = read(tmp_path / "run.json")["starts_from"]
    assert start == {"checkpoint": str(tmp_path / "stage1.pt"), "sha256": file_sha256(tmp_path / "stage1.pt")}


def test_null_on_the_command_line_is_no_checkpoint(tmp_path):
    run(RunRecord(str(tmp_path), "run.json", {}, starts_from="null"))
    assert read(tmp_path / "run.json")["starts_from"] is None


def test_interrupted_run_leaves_a_record_without_result(tmp_path):
    def fail(engine, batch):
        raise RuntimeError("out of memory")

    trainer = Engine(fail)
    RunRecord(str(tmp_path), "run.json", {}).attach(trainer)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.run([0])
    assert "result" not in read(tmp_path / "run.json")


def test_record_of_an_earlier_run_is_kept(tmp_path):
    for epochs in (1, 2):
        run(RunRecord(str(tmp_path), "run.json", {}), epochs)
    assert read(tmp_path / "run-1.json")["result"]["epochs"] == 1
    assert read(tmp_path / "run.json")["result"]["epochs"] == 2


def test_a_second_start_of_the_same_run_keeps_nothing(tmp_path):
    record = RunRecord(str(tmp_path), "run.json", {})
    run(record, 1)
    run(record, 1)  # federated rounds start the same trainer again and again
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_overwrite_replaces_the_record(tmp_path):
    for _ in range(2):
        run(RunRecord(str(tmp_path), "run.json", {}, overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_there_is_no_parser_outside_of_a_config():
    assert current_parser() is None


def test_knobs_are_not_evaluated_for_the_record():
    parser = ConfigParser({"heavy": "$1 / 0", "plain": None})
    parser.parse()
    assert knob_values(parser) == {"heavy": "$1 / 0", "plain": None}


def test_environment_names_versions_and_hardware():
    environment = describe_environment()
    assert environment["condseg_monai"] == __version__
    assert environment["processes"] == 1
    assert {"torch", "monai", "numpy", "kornia"} <= environment["packages"].keys()
    assert json.loads(json.dumps(environment)) == environment


def test_resumed_run_goes_on_in_its_record(tmp_path):
    first = RunRecord(str(tmp_path), "run.json", {})
    run(first)
    record = RunRecord(str(tmp_path), "run.json", {})
    record.load_state_dict({"seconds": 100.0})
    trainer = Engine(lambda engine, batch: None)
    trainer.state.resumed, trainer.state.skipped_batches = True, 3
    record.attach(trainer)
    trainer.run([0, 1, 2], max_epochs=3)
    found = read(tmp_path / "run.json")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert [entry["after_epoch"] for entry in found["resumed"]] == [0]
    assert found["resumed"][0]["environment"]["packages"]["monai"]
    assert found["result"]["epochs"] == 3
    assert found["result"]["seconds"] >= 100
    assert found["result"]["skipped_batches"] == 3
