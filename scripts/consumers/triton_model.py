"""Triton's Python backend in the place of its ONNX Runtime backend, which no package of PyPI has."""

from pathlib import Path

import onnxruntime
import triton_python_backend_utils as utils


class TritonPythonModel:
    """The class that the backend looks for."""

    def initialize(self, args):
        """Open the model beside this file."""
        path = str(Path(__file__).with_name("model.onnx"))
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """Answer each request with its images' logits."""
        responses = []
        for request in requests:
            image = utils.get_input_tensor_by_name(request, "image").as_numpy()
            (pred,) = self.session.run(["pred"], {"image": image})
            responses.append(utils.InferenceResponse([utils.Tensor("pred", pred)]))
        return responses
