import pytest

from condseg_monai.data.ct.volume_names import case_key, is_label_name, label_key


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("img0001", "label0001"),
        ("case0001", "label0001"),
        ("imagesTr/liver_7", "labelsTr/liver_7"),
        ("s0001/ct", "s0001/segmentation"),
        ("case_00003/imaging", "case_00003/segmentation"),
        ("ct", "label"),
    ],
)
def test_image_and_label_have_one_key(image, label):
    assert case_key(image) == case_key(label)
    assert is_label_name(label) and not is_label_name(image)


def test_words_inside_of_others_do_not_count():
    assert case_key("actor_1") == "actor_1" and not is_label_name("masked_2") and not is_label_name("gtv_1")
    assert case_key("anna_20210304") != case_key("bert_20210304")


def test_first_channel_is_taken_off_where_no_label_has_it():
    assert label_key("x_0000", {"x"}) == "x" and label_key("x_0000", {"x", "x_0000"}) == "x_0000"
    assert label_key("x_0001", {"x"}) == "x_0001"
