"""Check what a federation of two sites left: ``federated.py OUTPUT``; the global model must be the sites' mean."""

import json
import sys
from pathlib import Path

import torch

output = Path(sys.argv[1])
server = output / "condseg" / "server" / "simulate_job"
whole = torch.load(server / "app_server" / "FL_global_model.pt", weights_only=True)["model"]
sites = [torch.load(output / f"site-{number}" / "models" / "model_final.pt", weights_only=True) for number in (1, 2)]
rounds = [json.loads(line) for line in (server / "metrics" / "round_metrics.jsonl").read_text().splitlines()]
if [len(entry["sites"]) for entry in rounds] != [2, 2]:
    sys.exit(f"metrics of {rounds}, not of two sites in two rounds")
if {*whole} != {*sites[0]}:
    sys.exit(f"the global model has other parameters: {sorted({*whole} ^ {*sites[0]})[:5]}")
differences = [
    (whole[name].double() - (sites[0][name].double() + sites[1][name].double()) / 2).abs().max() for name in whole
]
largest = float(max(differences))
print(f"two rounds of two sites; {len(whole)} tensors are the sites' mean within {largest:.1e}")
sys.exit(int(largest > 1e-5))
