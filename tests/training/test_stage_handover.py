import logging

import pytest
import torch

from condseg_monai import ConDSeg, ConDSegStage1, DECSeg, ModelCard
from condseg_monai.networks.class_names import class_names_of
from condseg_monai.networks.methods import METHODS
from condseg_monai.training.stage_handover import start_from_model, start_from_stage1
from condseg_monai.utils.files import file_sha256


@pytest.fixture(scope="module")
def stage1():
    torch.manual_seed(1)
    network = ConDSegStage1(encoder="resnet18")
    network(torch.rand(2, 3, 32, 32))  # moves BatchNorm's running statistics off their start
    return network


@pytest.fixture
def network():
    torch.manual_seed(2)
    return ConDSeg(encoder="resnet18", decoder_channels=8)


def save(state_dict, path):
    torch.save(state_dict, path)
    return str(path)


def test_every_encoder_tensor_is_taken_over_and_nothing_else(stage1, network, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_stage1(network, save(stage1.state_dict(), tmp_path / "stage1.pt"))
    expected = stage1.encoder.state_dict()
    assert any(key.endswith("running_var") for key in expected)
    assert any(not torch.equal(before[f"encoder.{key}"], value) for key, value in expected.items())
    for key, value in network.state_dict().items():
        wanted = expected[key.removeprefix("encoder.")] if key.startswith("encoder.") else before[key]
        assert torch.equal(value, wanted), key
    assert "stage1.pt" in caplog.text


def test_missing_file_stops_and_says_how_to_get_one(network, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        start_from_stage1(network, tmp_path / "stage1.pt")
    for part in ("stage1.pt does not exist", "configs/train_stage1.json", "--stage1_checkpoint null"):
        assert part in str(error.value)


def test_damaged_file_is_named(network, tmp_path):
    (tmp_path / "stage1.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"stage1_checkpoint: .*stage1\.pt is damaged"):
        start_from_stage1(network, tmp_path / "stage1.pt")


@pytest.mark.parametrize("null", [None, "null"])
def test_null_announces_one_stage_training_and_changes_nothing(network, caplog, null):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_stage1(network, null)
    assert "one-stage training" in caplog.text
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_missing_buffer_fails_by_name_and_changes_nothing(stage1, network, tmp_path):
    state_dict = dict(stage1.state_dict())
    dropped = next(key for key in state_dict if key.endswith("running_mean"))
    del state_dict[dropped]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=rf"missing keys \[{dropped}\]"):
        start_from_stage1(network, save(state_dict, tmp_path / "stage1.pt"))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_unknown_key_and_other_shape_fail_by_name(stage1, network, tmp_path):
    state_dict = dict(stage1.state_dict())
    first = next(iter(state_dict))
    state_dict[first] = torch.zeros(1, 2)
    state_dict["encoder.extra"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"unknown keys \[encoder\.extra\]") as error:
        start_from_stage1(network, save(state_dict, tmp_path / "stage1.pt"))
    assert f"{first} (1, 2) instead of" in str(error.value)


def test_checkpoint_of_another_encoder_fails(network, tmp_path):
    other = ConDSegStage1(encoder="resnet34").state_dict()
    with pytest.raises(ValueError, match="is `encoder` the same in both stages"):
        start_from_stage1(network, save(other, tmp_path / "stage1.pt"))


def test_one_stage_training_starts_from_published_weights(stage1, network, tmp_path):
    weights = save(stage1.encoder.state_dict(), tmp_path / "resnet18.pth")
    start_from_stage1(network, None, weights)
    expected = stage1.encoder.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in network.encoder.state_dict().items())


def test_first_stage_leaves_published_weights_alone(stage1, network, tmp_path):
    start_from_stage1(network, save(stage1.state_dict(), tmp_path / "stage1.pt"), tmp_path / "there is none")
    assert torch.equal(network.encoder.conv1.weight, stage1.encoder.conv1.weight)


def test_model_given_as_stage_1_names_the_option_that_takes_it(network, tmp_path):
    path = save(ConDSeg(encoder="resnet18", decoder_channels=16).state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt is a whole model, not the first stage's: --init_from .*model\.pt"):
        start_from_stage1(network, path)


def test_card_says_that_a_file_is_a_whole_model(network, tmp_path):
    path = save(DECSeg(encoder="resnet18").state_dict(), tmp_path / "model.pt")
    shape = {"in_channels": 3, "out_channels": 1, **METHODS["dec_seg"].options, "encoder": "resnet18"}
    ModelCard("dec_seg", shape, weights={"sha256": file_sha256(path)}).write(tmp_path / "model.json")
    with pytest.raises(ValueError, match="is a whole model"):
        start_from_stage1(network, path)


def test_bare_encoder_given_as_stage_1_or_as_a_model_names_the_option_that_takes_it(stage1, network, tmp_path):
    path = save(stage1.encoder.state_dict(), tmp_path / "resnet18.pth")
    for start in (start_from_stage1, start_from_model):
        with pytest.raises(ValueError, match=r"bare encoder.*--encoder_weights .*resnet18\.pth"):
            start(network, path)


def test_model_given_as_weights_of_an_encoder_names_the_option_that_takes_it(network, tmp_path):
    path = save(network.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"is a model of this package, not an encoder: --init_from FILE"):
        start_from_model(network, None, path)


@pytest.mark.slow
def test_fine_tuning_takes_all_weights_that_fit_and_names_the_others(network, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    torch.manual_seed(3)
    other = ConDSeg(encoder="resnet18", decoder_channels=8, out_channels=3)
    state_dict = {**other.state_dict(), "extra": torch.zeros(1)}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    start_from_stage1(network, tmp_path / "there is none.pt", init_from=save(state_dict, tmp_path / "model.pt"))
    kept = {key for key, value in network.state_dict().items() if other.state_dict()[key].shape != value.shape}
    assert kept and len(kept) < 5
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key] if key in kept else state_dict[key]), key
    text = caplog.text
    assert f"{len(before) - len(kept)} of its {len(before)} tensors" in text
    assert all(f"{key} " in text for key in kept) and "1 tensors of the file are not used" in text and "[extra]" in text


@pytest.mark.parametrize(
    ("state_dict", "words"),
    [
        ({"a": torch.zeros(1)}, r"no weight of .*model\.pt fits the network: it is of another method or encoder"),
        ("nan", r"model\.pt holds values that are not finite numbers, in output\."),
    ],
)
def test_model_of_which_nothing_can_be_used_is_named(network, tmp_path, state_dict, words):
    if state_dict == "nan":
        own = network.state_dict()
        state_dict = {key: own[key] * torch.nan for key in own if key.startswith("output.") and own[key].ndim}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        start_from_model(network, save(state_dict, tmp_path / "model.pt"))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_missing_model_is_named(network, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"init_from: .*model\.pt does not exist"):
        start_from_model(network, tmp_path / "model.pt")


def test_class_names_are_the_network_s_own(tmp_path):
    first, second = (
        ConDSeg(encoder="resnet18", decoder_channels=8, out_channels=2, class_names=["background", name])
        for name in ("liver", "colon")
    )
    (tmp_path / "run" / "models").mkdir(parents=True)
    save(first.state_dict(), tmp_path / "run" / "models" / "model.pt")
    start_from_model(second, tmp_path / "run")
    assert class_names_of(second) == ("background", "colon")
