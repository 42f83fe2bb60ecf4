import subprocess
import sys


def test_import_leaves_out_what_only_some_runs_need():
    code = "import sys, condseg_monai; print(sorted({'highdicom', 'kornia'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
