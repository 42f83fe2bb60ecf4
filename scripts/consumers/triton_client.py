"""Compare a Triton server's logits with those of ONNX Runtime: ``triton_client.py MODEL.onnx PORT``."""

import json
import sys
import time

import numpy
import onnxruntime
import tritonclient.http

client = tritonclient.http.InferenceServerClient(f"127.0.0.1:{sys.argv[2]}")
for _ in range(120):
    try:
        if client.is_model_ready("model"):
            break
    except Exception:
        pass
    time.sleep(1)
else:
    sys.exit("the server is not ready after two minutes")
card = json.loads(client.get_model_config("model")["parameters"]["model_card"]["string_value"])
channels = card["network"]["in_channels"]
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
largest = 0.0
for shape in ((1, channels, 128, 128), (2, channels, 96, 144)):
    image = numpy.random.default_rng(0).normal(size=shape).astype(numpy.float32)
    tensor = tritonclient.http.InferInput("image", shape, "FP32")
    tensor.set_data_from_numpy(image)
    found = client.infer("model", [tensor]).as_numpy("pred")
    largest = max(largest, float(abs(found - session.run(["pred"], {"image": image})[0]).max()))
print(largest)
sys.exit(largest > 1e-3)
