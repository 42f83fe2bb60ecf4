"""Run config files in the processes that torchrun started: ``two_process_inference.py FILES.json OPTIONS.json``."""

import json
import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow

files, options = (json.loads(Path(name).read_text()) for name in sys.argv[1:])
workflow = ConfigWorkflow(files, logging_file=False, workflow_type=options.pop("workflow_type"), **options)
workflow.initialize()
workflow.run()
workflow.finalize()
