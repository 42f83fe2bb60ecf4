"""A site's training: ``job.py`` names it to NVIDIA FLARE, which runs it at every site."""

import sys
from pathlib import Path

import nvflare.client as flare
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

bundle, data, output = map(Path, sys.argv[1:])
flare.init()
site = flare.get_site_name()
options = {
    "dataset_dir": str(data / site),
    "ckpt_dir": str(output / site / "models"),
    "output_dir": str(output / site / "eval"),
    "batch_size": 2,
    "num_workers": 0,
    "device": "cpu",
    "tracker": "none",
    "progress_bar": False,
}
client = MonaiAlgo(
    bundle_root=str(bundle), local_epochs=1, send_weight_diff=False, train_kwargs=options, eval_kwargs=options
)
client.initialize(extra={ExtraItems.CLIENT_NAME: site})
while flare.is_running():
    received = flare.receive().params
    weights = ExchangeObject(weights={name: torch.as_tensor(value) for name, value in received.items()})
    metrics = client.evaluate(weights).metrics  # of the server's weights, on this site's val.txt
    client.train(weights)
    flare.send(flare.FLModel(params=client.get_weights().weights, metrics=metrics))
client.finalize()
