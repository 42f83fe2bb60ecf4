"""ConDSeg, Med-DisSeg and DEC-Seg as MONAI components.

Every public name of the subpackages is here too, so that a bundle's JSON can say ``condseg_monai.Name``.
"""

from condseg_monai import data, inference, losses, metrics, networks, reports, training, utils
from condseg_monai.data import *  # noqa: F403
from condseg_monai.inference import *  # noqa: F403
from condseg_monai.losses import *  # noqa: F403
from condseg_monai.metrics import *  # noqa: F403
from condseg_monai.networks import *  # noqa: F403
from condseg_monai.reports import *  # noqa: F403
from condseg_monai.training import *  # noqa: F403
from condseg_monai.utils import *  # noqa: F403
from condseg_monai.version import __version__

__all__ = ["__version__"]
for _package in (utils, networks, losses, metrics, data, training, inference, reports):
    __all__ += _package.__all__
