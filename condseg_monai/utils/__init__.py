"""Files, environment, text tables and option values; imports nothing else of this package."""

from condseg_monai.utils.options import read_options
from condseg_monai.utils.startup import prepare_process, prepare_run

__all__ = ["prepare_process", "prepare_run", "read_options"]
