"""What the processes that are forked in tests have imported before they begin."""

import PIL.Image  # noqa: F401
import platformdirs  # noqa: F401
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest  # noqa: F401

import mobilenet_hub.cli
import mobilenet_hub.pipeline.job
import mobilenet_hub.search  # noqa: F401
from mobilenet_hub.runtime.openvino import import_openvino

import_openvino()  # without its telemetry
pa.array([""])  # imports pandas, where it is installed
