"""The service, called in this process."""

import base64
import gzip
import io
import json
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from condseg_monai import Segmenter
from condseg_monai.cli.commands import main
from condseg_monai.data.ct.volume import axial_slices
from condseg_monai.serve.app import Limits
from tests.ct import AFFINE, phantom, write_dicom, write_nifti
from tests.dicom import dicom_picture
from tests.serve.conftest import ORGANS, png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (37, 53, 3), dtype=np.uint8)


def image_file(array=PIXELS, name="frame.png"):
    return {"file": (name, png(array))}


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def from_uri(uri):
    return opened(base64.b64decode(uri.partition("base64,")[2]))


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    array, _ = phantom()
    return write_nifti(tmp_path_factory.mktemp("scan") / "scan.nii.gz", array, AFFINE)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return write_dicom(tmp_path_factory.mktemp("series"), phantom()[0], AFFINE)


def zip_of(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"study/{file.name}")
    return stream.getvalue()


class Gate(Segmenter):
    """A Segmenter whose predictions wait until they may go on, and fail where a flag says so."""

    def __init__(self, model):
        super().__init__(model, device="cpu")
        self.go_on, self.started, self.error = threading.Event(), threading.Event(), None

    def predict(self, x):
        self.started.set()
        assert self.go_on.wait(30)
        if self.error is not None:
            raise self.error
        return super().predict(x)


def test_mask_is_the_file_that_predict_writes(client, image_model, tmp_path):
    (tmp_path / "frame.png").write_bytes(png(PIXELS))
    assert main(["predict", str(image_model), str(tmp_path / "frame.png"), str(tmp_path / "out"), "--device=cpu"]) == 0
    expected = (tmp_path / "out" / "frame.png").read_bytes()
    service = client(image_model)
    for query, accept in (({"format": "png"}, "*/*"), ({}, "image/webp, image/png;q=0.9, */*")):
        response = service.post("/predict", params=query, files=image_file(), headers={"Accept": accept})
        assert response.status_code == 200 and response.headers["content-type"] == "image/png"
        assert response.content == expected


def test_dicom_picture_is_an_image(client, image_model):
    pytest.importorskip("pydicom")
    content = io.BytesIO()
    dicom_picture(PIXELS).save_as(content, enforce_file_format=True)
    service = client(image_model)
    found = [service.post("/predict?format=png", files=file) for file in (image_file(), {"file": content.getvalue()})]
    np.testing.assert_array_equal(*(opened(response.content) for response in found))


def test_facts_are_those_of_the_segmenter(client, image_model):
    expected = Segmenter(image_model, device="cpu").predict(PIXELS)
    facts = client(image_model).post("/predict", files=image_file()).json()
    assert facts == {
        "shape": [37, 53],
        "class_names": ["background", "lesion"],
        "classes": {
            "lesion": {
                "number": 1,
                "value": 255,
                "color": "#00e5ff",
                "pixels": int(expected.mask.sum()),
                "fraction": pytest.approx(expected.mask.mean()),
                "max_probability": pytest.approx(float(expected.probability.max())),
            }
        },
    }
    assert 0 < facts["classes"]["lesion"]["pixels"] < PIXELS.size / 3


def test_threshold_takes_the_place_of_the_cards(client, image_model):
    result = Segmenter(image_model, device="cpu").predict(PIXELS)
    middle = float(np.quantile(result.probability, 0.3)) / 2 + float(result.probability.max()) / 2
    response = client(image_model).post("/predict", params={"threshold": middle, "format": "png"}, files=image_file())
    assert np.array_equal(opened(response.content) > 0, result.probability >= middle)
    assert not np.array_equal(result.mask > 0, result.probability >= middle)


def test_view_has_what_the_page_draws(client, image_model, monkeypatch):
    service, result = client(image_model), Segmenter(image_model, device="cpu").predict(PIXELS)
    facts = service.post("/predict", params={"view": True}, files=image_file()).json()
    view, scores = facts["view"], from_uri(facts["view"]["scores"]).astype(float)
    assert np.array_equal(opened(base64.b64decode(facts["mask"]["base64"])), result.mask * 255)
    assert np.array_equal(from_uri(view["labels"]), result.mask) and view["step"] == 1
    np.testing.assert_allclose((scores[..., 0] * 256 + scores[..., 1]) / 65535, result.probability, atol=1 / 65535)
    np.testing.assert_allclose(scores[..., 2] / 255, result.uncertainty, atol=1 / 255)
    shown, given = (np.asarray(Image.fromarray(a).convert("L"), float) for a in (from_uri(view["image"]), PIXELS))
    assert np.abs(shown - given).mean() < 8  # JPEG of noise
    monkeypatch.setattr("condseg_monai.serve.answers._MAX_PIXELS", 600)
    view = service.post("/predict", params={"view": True}, files=image_file()).json()["view"]
    assert view["step"] == 2 and np.array_equal(from_uri(view["labels"]), result.mask[::2, ::2])


@pytest.mark.parametrize("as_zip", [False, True])
def test_scan_gives_the_labels_that_predict_writes(client, ct_model, scan, tmp_path, as_zip):
    assert main(["predict", str(ct_model), str(scan), str(tmp_path), "--device=cpu"]) == 0
    expected = next(tmp_path.glob("scan*.nii.gz"))
    file = {"file": ("scan", zip_of([scan]) if as_zip else scan.read_bytes())}
    service = client(ct_model)
    response = service.post("/predict", params={"format": "nifti"}, files=file)
    assert response.status_code == 200 and response.headers["content-type"] == "application/gzip"
    assert response.content == expected.read_bytes()
    labels, facts = np.asarray(nibabel.load(expected).dataobj), service.post("/predict", files=file).json()
    assert facts["shape"] == [20, 26, 9] and facts["spacing_mm"] == [1.5, 2, 5]
    assert [*facts["classes"]] == [*ORGANS[1:]]
    for number, organ in enumerate(ORGANS[1:], 1):
        assert facts["classes"][organ]["voxels"] == (labels == number).sum()
        assert facts["classes"][organ]["volume_ml"] == pytest.approx((labels == number).sum() * 0.015)


@pytest.mark.parametrize("as_zip", [False, True])
def test_dicom_series_gives_dicom_seg_and_a_view(client, ct_model, series, as_zip):
    pydicom = pytest.importorskip("pydicom")
    files = [("file", (path.name, path.read_bytes())) for path in series]
    service, files = client(ct_model), [("file", ("series.zip", zip_of(series)))] if as_zip else files
    response = service.post("/predict", files=files, headers={"Accept": "application/dicom"})
    assert response.status_code == 200 and response.headers["content-disposition"].endswith('"mask.dcm"')
    segmentation = pydicom.dcmread(io.BytesIO(response.content))
    assert segmentation.Modality == "SEG" and len(segmentation.SegmentSequence) == len(ORGANS) - 1
    view = service.post("/predict", params={"view": True}, files=files).json()["view"]
    assert view["is_dicom"] and view["shape"] == [9, 26, 20] and view["spacing_mm"] == pytest.approx([5, 2, 1.5])
    expected = Segmenter(ct_model, device="cpu").predict(series[0].parent)
    labels, grey = (
        np.frombuffer(gzip.decompress(base64.b64decode(view[key])), np.uint8) for key in ("labels", "image")
    )
    assert np.array_equal(labels.reshape(9, 26, 20), axial_slices(expected.mask, expected.volume.affine))
    units = axial_slices(expected.volume.hounsfield(expected.volume.array), expected.volume.affine)
    np.testing.assert_allclose(grey.reshape(9, 26, 20), np.clip((units + 125) / 400, 0, 1) * 255, atol=0.51)


def test_nothing_is_left_of_uploads(client, ct_model, image_model, series, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    service, zipped = client(ct_model), ("series.zip", zip_of(series))
    assert service.post("/predict", params={"view": True}, files={"file": zipped}).status_code == 200
    assert service.post("/predict", files={"file": ("series.zip", zipped[1][:-40])}).status_code == 422
    assert client(image_model).post("/predict", params={"format": "png"}, files=image_file()).status_code == 200
    assert [*tmp_path.iterdir()] == []


def test_waiting_images_are_one_batch_and_a_bad_one_fails_alone(client, image_model):
    segmenter = Gate(image_model)
    service = client(segmenter)
    contents = [png(PIXELS), png(PIXELS[:20]), b"no image", png(PIXELS[:, :30])]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(service.post, "/predict", files=image_file())
        assert segmenter.started.wait(30)
        others = [pool.submit(service.post, "/predict", files={"file": ("x", content)}) for content in contents[1:]]
        while b"condseg_requests_in_progress 4.0" not in service.get("/metrics").content:
            pass
        segmenter.go_on.set()
        responses = [first.result(30), *(other.result(30) for other in others)]
    assert [response.status_code for response in responses] == [200, 200, 422, 200]
    assert [response.json().get("shape") for response in responses] == [[37, 53], [20, 53], None, [37, 30]]
    assert responses[2].json() == {
        "detail": "cannot read the image: not a BMP, JPEG, PNG, TIFF, WEBP or DICOM file, or its header is damaged"
    }
    metrics = service.get("/metrics").text
    assert 'condseg_requests_total{status="200"} 3.0' in metrics and "condseg_batch_size_sum 4.0" in metrics
    assert "condseg_batch_size_count 2.0" in metrics and "condseg_requests_in_progress 0.0" in metrics


def test_request_beyond_the_limit_is_sent_away_and_no_accepted_one_is_lost(client, image_model):
    segmenter = Gate(image_model)
    service = client(segmenter, Limits(requests=3), workers=2)
    with ThreadPoolExecutor(3) as pool:
        accepted = [pool.submit(service.post, "/predict", files=image_file()) for _ in range(3)]
        while b"condseg_requests_in_progress 3.0" not in service.get("/metrics").content:
            pass
        refused = service.post("/predict", files=image_file())
        segmenter.go_on.set()
        assert [future.result(30).status_code for future in accepted] == [200] * 3
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert refused.json() == {"detail": "3 requests are in progress; come again later"}
    assert service.post("/predict", files=image_file()).status_code == 200


def test_prediction_that_raises_is_an_error_and_the_next_works(client, image_model, caplog):
    segmenter = Gate(image_model)
    segmenter.go_on.set()
    service = client(segmenter)
    segmenter.error = MemoryError("of the graphics card")
    response = service.post("/predict", files=image_file())
    assert response.status_code == 500
    assert response.json() == {"detail": "the prediction failed; the service's log says why"}
    assert "the prediction failed: MemoryError: of the graphics card" in caplog.text
    segmenter.error = ImportError('DICOM needs pydicom: pip install "condseg_monai[dicom]"')
    assert service.post("/predict", files=image_file()).status_code == 501
    segmenter.error = None
    assert service.post("/predict", files=image_file()).status_code == 200


def test_prediction_that_takes_too_long_is_given_up(client, image_model):
    segmenter = Gate(image_model)
    service = client(segmenter, Limits(seconds=0.3))
    response = service.post("/predict", files=image_file())
    assert response.status_code == 504 and response.json() == {"detail": "the prediction took more than 0.3 s"}
    segmenter.go_on.set()


def test_upload_beyond_the_limit_is_refused(client, image_model):
    service, content = client(image_model, Limits(upload_bytes=1000)), png(PIXELS)
    said = service.post("/predict", files=image_file())
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + content + b"\r\n--b--\r\n"
    parts = (body[i : i + 100] for i in range(0, len(body), 100))  # of a length that is not said
    counted = service.post("/predict", content=parts, headers={"Content-Type": "multipart/form-data; boundary=b"})
    for response in (said, counted):
        assert response.status_code == 413 and "the limit is 1000" in response.json()["detail"]


FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({}, b"", 415, "send multipart/form-data"),
        ({"Content-Type": "image/png"}, png(PIXELS), 415, "send multipart/form-data"),
        ({"Content-Type": "application/json"}, b"{}", 415, "send multipart/form-data"),
        ({"Content-Type": "multipart/form-data"}, b"x", 400, "Missing boundary"),
        (FORM, b"", 422, "the request has no file"),
        (FORM, b"nothing", 400, "Invalid multipart data"),
        (FORM, PART + png(PIXELS), 422, "the request has no file"),
        (FORM, PART + b"\r\n--b--\r\n", 422, "cannot read the image"),
        (FORM, PART + png(PIXELS)[:900] + b"\r\n--b--\r\n", 422, "cannot read the image"),
        (FORM, PART.replace(b'; filename="x.png"', b"") + b"x\r\n--b--\r\n", 422, "the request has no file"),
        (FORM, PART.replace(b'name="file"; ', b"") + b"x\r\n--b--\r\n", 400, '"name" must be provided'),
        (FORM, PART.replace(b"file", b"\xff\xfe") + b"x\r\n--b--\r\n", 422, "the request has no file"),
        (FORM, (PART + b"x\r\n") * 2 + b"--b--\r\n", 422, "one image at a time, got 2 files"),
        (FORM, PART.replace(b'; filename="x.png"', b"") + b"x" * 2_000_000 + b"\r\n--b--\r\n", 400, "1024KB"),
    ],
)
def test_malformed_bodies_are_errors_of_the_sender(client, image_model, headers, body, status, words):
    service = client(image_model)
    response = service.post("/predict", content=body, headers=headers)
    assert response.status_code == status and words in response.json()["detail"]
    assert service.post("/predict", files=image_file()).status_code == 200


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: b"", "series has no volume"),
        (lambda scan: scan.read_bytes()[:600], "scan.nii.gz is damaged"),
        (lambda _: b"\x1f\x8bnothing", "scan.nii.gz is not a NIfTI volume"),
        (lambda scan: zip_of([scan])[:-30], "scan cannot be unpacked"),
        (lambda _: bytes(128) + b"DICM" + b"x" * 500, "the network is for CT"),
        (lambda _: png(PIXELS), "series has no volume"),
    ],
)
def test_what_is_no_scan_is_refused_without_a_word_of_where_it_lay(client, ct_model, scan, make, words):
    response = client(ct_model).post("/predict", files={"file": ("scan", make(scan))})
    assert response.status_code == 422
    assert words in response.json()["detail"] and tempfile.gettempdir() not in response.json()["detail"]


def test_image_of_too_many_pixels_is_refused(client, image_model, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    response = client(image_model).post("/predict", files=image_file())
    assert response.status_code == 422 and "are more than the limit of 1000" in response.json()["detail"]


def test_scan_that_unpacks_to_too_much_is_refused(client, ct_model, scan, monkeypatch):
    monkeypatch.setattr("condseg_monai.data.ct.volume.MAX_VOLUME_BYTES", 1000)
    for content in (scan.read_bytes(), zip_of([scan])):
        response = client(ct_model).post("/predict", files={"file": ("scan", content)})
        assert response.status_code == 422 and "more than the limit of 1000" in response.json()["detail"]


def test_formats_that_a_model_has_not_are_refused(client, image_model, ct_model, scan):
    service, ct = client(image_model), client(ct_model)
    assert service.post("/predict", params={"format": "nifti"}, files=image_file()).status_code == 406
    assert service.post("/predict", params={"format": "gif"}, files=image_file()).status_code == 422
    assert service.post("/predict", params={"threshold": 1}, files=image_file()).status_code == 422
    response = service.post("/predict", files=image_file(), headers={"Accept": "text/html"})
    assert response.status_code == 406 and "there are application/json, image/png" in response.json()["detail"]
    file = {"file": ("scan", scan.read_bytes())}
    assert "json, nifti, seg" in ct.post("/predict", params={"format": "png"}, files=file).json()["detail"]
    assert "several classes" in ct.post("/predict", params={"threshold": 0.3}, files=file).json()["detail"]
    response = ct.post("/predict", params={"format": "seg"}, files=file)
    assert response.status_code == 422 and response.json()["detail"].startswith("scan.nii.gz is no DICOM series")


def test_health_says_what_is_served(client, image_model, ct_model):
    health = client(image_model).get("/health").json()
    assert health["status"] == "ok" and health["kind"] == "image" and health["threshold"] == 0.45
    health = client(ct_model).get("/health").json()
    assert health["kind"] == "ct" and health["threshold"] is None and [*health["classes"]] == [*ORGANS[1:]]


def test_description_is_complete_and_pages_load_nothing_from_elsewhere(client, image_model):
    service = client(image_model)
    description = service.get("/openapi.json").json()
    assert {"/predict", "/health", "/metrics"} <= description["paths"].keys()
    assert "multipart/form-data" in json.dumps(description["paths"]["/predict"])
    assert service.get("/docs").status_code == service.get("/redoc").status_code == 404
    for path in ("/", "/page.js", "/page.css"):
        response = service.get(path)
        assert response.status_code == 200 and "http://" not in response.text and "https://" not in response.text
    assert service.get("/../app.py").status_code == service.get("/%2e%2e/app.py").status_code == 404


def test_only_own_names_lead_to_a_service_on_a_loopback_address(image_model):
    from starlette.testclient import TestClient

    from condseg_monai.serve.app import make_app

    app = make_app(Segmenter(image_model, device="cpu"), hosts=("localhost", "[::1]"))
    for name, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("elsewhere.example", 400)):
        assert TestClient(app).get("/health", headers={"Host": name}).status_code == status


def test_command_names_what_is_missing_or_taken(image_model, monkeypatch, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(image_model), "--port", port]) == 1
    assert f"--host 127.0.0.1 --port {port} cannot be listened on: " in capsys.readouterr().err
    assert main(["serve", str(Path("nowhere.pt"))]) == 1
    assert "nowhere.pt does not exist" in capsys.readouterr().err
    monkeypatch.setattr("condseg_monai.cli.serve.find_spec", lambda name: None if name == "uvicorn" else object())
    assert main(["serve", str(image_model)]) == 1
    assert 'needs uvicorn: pip install "condseg_monai[serve]"' in capsys.readouterr().err
