"""What the processes that are killed in tests have imported before they begin."""

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest  # noqa: F401

import mobilenet_hub.pipeline.job  # noqa: F401
from mobilenet_hub.runtime.openvino import import_openvino

import_openvino()  # without its telemetry
pa.array([""])  # imports pandas, where it is installed
