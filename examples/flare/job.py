"""Train a packed bundle's network at two sites, for two rounds, with the simulator of NVIDIA FLARE.

python job.py BUNDLE DATA OUTPUT {class_path,network}

``DATA`` has the sites' data sets, ``site-1`` and ``site-2``; the last word chooses how FLARE gets the network.
"""

import sys
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

from condseg_monai import ConDSeg, ModelCard

bundle, data, output, form = sys.argv[1:]
arguments = ModelCard.read(Path(bundle) / "models" / "model.json").network
if form == "class_path":
    model = {"class_path": "condseg_monai.ConDSeg", "args": arguments}
else:
    model = ConDSeg(**arguments)
    # FLARE writes down a network's class and arguments, which it looks for in the object, under their names after "_".
    vars(model).update({f"_{name}": value for name, value in arguments.items()})
recipe = FedAvgRecipe(
    name="condseg",
    model=model,
    min_clients=2,
    num_rounds=2,
    train_script=str(Path(__file__).with_name("client.py")),
    train_args=f"{bundle} {data} {output}",
    key_metric="val_mean_iou",
)
recipe.execute(SimEnv(num_clients=2, workspace_root=output))
