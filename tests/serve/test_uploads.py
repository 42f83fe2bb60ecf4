import io
import struct
import zipfile
from pathlib import Path

import pytest

from condseg_monai.serve import uploads
from condseg_monai.serve.uploads import opened, without_folder


def upload(content, name="scan.zip"):
    return [(name, io.BytesIO(content))]


def zip_of(members, compression=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_image_is_its_bytes():
    with opened(upload(b"image", "../x.png"), "image") as content:
        assert content == b"image"


def test_volume_is_known_by_its_content_and_gone_afterwards():
    for content, name in ((b"\x1f\x8bxx", "scan.nii.gz"), (bytes(344) + b"n+1\0", "scan.nii")):
        with opened(upload(content, "/etc/passwd"), "ct") as path:
            assert path.name == name and path.read_bytes() == content
            assert without_folder(f"{path} is damaged") == f"{name} is damaged"
        assert not path.parent.exists()


def test_slices_keep_what_their_names_tell_and_nothing_that_leads_elsewhere():
    names = ["a/../../IM 1.dcm", "C:\\x\\IM2", ".DS_Store", "DICOMDIR", "x" * 300]
    with opened([(name, io.BytesIO(name.encode())) for name in names], "ct") as folder:
        found = {path.name: path.read_bytes().decode() for path in folder.iterdir()}
    assert found == {"00000_IM_1.dcm": names[0], "00001_IM2": names[1], f"00004_{'x' * 100}": names[4]}


def test_zip_is_unpacked_with_its_folders():
    with opened(upload(zip_of({"a/": "", "a/1.dcm": "one", "b/2": "two"})), "ct") as folder:
        files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {"a/1.dcm": "one", "b/2": "two"}


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x"])
def test_zip_that_leads_out_of_its_folder_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="leads out of it"), opened(upload(zip_of({"a": "", name: "x"})), "ct"):
        pass


def test_zip_that_unpacks_to_more_than_a_volume_may_have_is_refused(monkeypatch):
    monkeypatch.setattr("condseg_monai.data.ct.volume.MAX_VOLUME_BYTES", 100_000)
    with (
        pytest.raises(ValueError, match=r"scan\.zip unpacks to 200000 bytes, more than the limit of 100000"),
        opened(upload(zip_of({"a": bytes(100_000), "b": bytes(100_000)})), "ct"),
    ):
        pass


def test_zip_unpacks_to_no_more_than_it_says(monkeypatch):
    bomb = bytearray(zip_of({"a": bytes(1_000_000)}))
    at = bomb.index(b"PK\1\2")
    bomb[at + 24 : at + 28] = struct.pack("<I", 10)  # the size in the list of files
    written = []
    monkeypatch.setattr(zipfile.ZipFile, "extract", _noting(zipfile.ZipFile.extract, written))
    with pytest.raises(ValueError, match=r"scan\.zip cannot be unpacked: "), opened(upload(bytes(bomb)), "ct"):
        pass
    assert written == []  # its checksum is that of the whole


def _noting(extract, written):
    def extract_and_note(self, member, folder):
        path = extract(self, member, folder)
        written.append(Path(path).stat().st_size)
        return path

    return extract_and_note


def test_list_of_millions_of_files_is_not_read(monkeypatch):
    monkeypatch.setattr(uploads, "_MAX_READ", 10_000)
    content = zip_of({f"{i:04d}": "" for i in range(500)})
    with pytest.raises(ValueError, match=r"its list of files has \d+ bytes, more than the limit of 10000"):
        opened(upload(content), "ct").__enter__()


def test_too_many_files_and_none_are_refused(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FILES", 3)
    for members, count in (({str(i): "" for i in range(4)}, 4), ({}, 0)):
        with pytest.raises(ValueError, match=f"it has {count} files; give 1 to 3"):
            opened(upload(zip_of(members)), "ct").__enter__()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(compression):
    with pytest.raises(ValueError, match="neither stored nor deflated"):
        opened(upload(zip_of({"a": "x"}, compression)), "ct").__enter__()


@pytest.mark.parametrize(
    "content",
    [
        b"PK\3\4nothing",
        zip_of({"a": "x" * 1000})[:-30],
        zip_of({"x" * 300: "x"}),
        zip_of({"a": "x", "a/b": "x"}),
        zip_of({"a": "x" * 100}, zipfile.ZIP_STORED).replace(b"x" * 100, b"y" * 100),
    ],
    ids=["no_zip", "cut", "long_name", "file_as_folder", "damaged"],
)
def test_zip_that_cannot_be_unpacked_is_named(content):
    with pytest.raises(ValueError, match=r"scan\.zip cannot be unpacked: "):
        opened(upload(content), "ct").__enter__()


def test_number_of_files_fits_the_model():
    with pytest.raises(ValueError, match="the request has no file"):
        opened([], "image").__enter__()
    with pytest.raises(ValueError, match="one image at a time, got 2 files"):
        opened(upload(b"") + upload(b""), "image").__enter__()
