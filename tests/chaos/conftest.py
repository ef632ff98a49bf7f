"""The same fixtures as the integration tests': whole runs with real processes, and the audit of what they leave."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_SPEC = spec_from_file_location("whole_runs", Path(__file__).parents[1] / "integration" / "conftest.py")
_whole_runs = sys.modules[_SPEC.name] = module_from_spec(_SPEC)  # dataclasses look their module up
_SPEC.loader.exec_module(_whole_runs)

simulator = _whole_runs.simulator
manifest = _whole_runs.manifest
state = _whole_runs.state
vidbatch = _whole_runs.vidbatch
audit = _whole_runs.audit
faults = _whole_runs.faults
