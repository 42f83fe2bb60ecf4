"""Get masks from a server of MONAI Label: ``label.py URL OUT``, of the models ``picture`` and ``scan``."""

import json
import sys
import time
from pathlib import Path

import requests

url, out = sys.argv[1], Path(sys.argv[2])
for _ in range(120):
    try:
        models = requests.get(f"{url}/info/", timeout=60).json()["models"]
        break
    except requests.ConnectionError:
        time.sleep(1)
else:
    sys.exit("the server is not ready after two minutes")
offered = {name: model["config"]["model_filename"] for name, model in models.items()}
if offered != {"picture": ["model.pt"], "scan": ["model.pt"]}:
    sys.exit(f"it offers {offered}")
for name, ending in (("picture", ".png"), ("scan", ".nii.gz")):
    parameters = json.dumps({"result_extension": ending, "result_dtype": "uint8"})
    answer = requests.post(
        f"{url}/infer/{name}", params={"image": name, "output": "image"}, data={"params": parameters}, timeout=300
    )
    answer.raise_for_status()
    (out / f"{name}{ending}").write_bytes(answer.content)
