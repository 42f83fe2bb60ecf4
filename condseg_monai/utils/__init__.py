"""Files, environment, text tables and option values; imports nothing else of this package."""

from condseg_monai.utils.command_line import check_command_line
from condseg_monai.utils.options import read_options

__all__ = ["check_command_line", "read_options"]
