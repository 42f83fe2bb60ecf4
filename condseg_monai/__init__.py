"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components.

Every public name of the subpackages is here too, so that a bundle's JSON can say ``condseg_monai.Name``.
"""

from condseg_monai import checkpoints, data, engines, losses, metrics, networks, reports
from condseg_monai.checkpoints import *  # noqa: F403
from condseg_monai.data import *  # noqa: F403
from condseg_monai.engines import *  # noqa: F403
from condseg_monai.losses import *  # noqa: F403
from condseg_monai.metrics import *  # noqa: F403
from condseg_monai.networks import *  # noqa: F403
from condseg_monai.reports import *  # noqa: F403
from condseg_monai.version import __version__

__all__ = ["__version__"]
for _package in (checkpoints, data, engines, losses, metrics, networks, reports):
    __all__ += _package.__all__
