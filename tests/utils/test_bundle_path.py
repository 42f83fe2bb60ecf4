import json

from condseg_monai.cli.commands import main
from condseg_monai.utils.bundle_path import bundle_dir
from condseg_monai.version import __version__


def test_bundle_of_the_repository_is_found():
    assert (bundle_dir() / "config_source" / "build.py").is_file()


def test_bundle_names_the_package_that_it_needs():
    metadata = json.loads((bundle_dir() / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["required_packages_version"]["condseg_monai"] == __version__


def test_bundle_is_written_into_a_new_folder_only(tmp_path, capsys):
    target = tmp_path / "my bundle"
    assert main(["bundle", str(target)]) == 0
    assert "cd '" in capsys.readouterr().out
    assert {path.name for path in target.iterdir()} == {"LICENSE", "configs", "docs", "models"}
    assert (target / "configs" / "train.json").read_bytes() == (bundle_dir() / "configs" / "train.json").read_bytes()
    shipped = {path.name for path in (bundle_dir() / "models").glob("condseg_*")}
    assert {path.name for path in (target / "models").iterdir()} == {"README.md", *shipped}
    assert main(["bundle", str(target)]) == 1
    assert "exists and is not an empty folder" in capsys.readouterr().err
