"""`hub.image_embedding_column`: the features of images as a feature column.

TensorFlow keeps feature columns for `tf.compat.v1.feature_column.input_layer`, in graphs, and for
`tf_keras.layers.DenseFeatures`; Estimators, for which they were made, are gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.feature_column.feature_column import _DenseColumn

from mobilenet_hub.catalog import ModuleInfo
from mobilenet_hub.signatures import Signatures
from mobilenet_hub.tensorflow.graph_module import GraphModule
from mobilenet_hub.tensorflow.loaded import LoadedModule, load
from mobilenet_hub.weights.resolve import Spec, module_of


class _ImageEmbeddingColumn(
    tf.__internal__.feature_column.DenseColumn,
    _DenseColumn,
    NamedTuple("ImageEmbeddingColumn", [("key", str), ("module_spec", Any), ("image_size", Any)]),
):
    """A dense column: see `image_embedding_column`.

    What begins with an underscore is what `input_layer` asks for, the rest `DenseFeatures`.
    """

    @property
    def _is_v2_column(self) -> bool:
        return True

    @property
    def parents(self) -> list[Any]:
        """Its one input: the images of that key."""
        return [self.key]

    @property
    def name(self) -> str:
        """The key with what is computed of it."""
        return f"{self.key}_hub_module_embedding"

    @property
    def parse_example_spec(self) -> dict[str, Any]:
        """How `tf.io.parse_example` reads decoded images of this size."""
        return {self.key: tf.io.FixedLenFeature((*self._size, 3), tf.float32)}

    _parse_example_spec = parse_example_spec

    @property
    def variable_shape(self) -> Any:
        """The features of one image."""
        info = self._info
        return tf.TensorShape(Signatures(info, info.network).outputs(None)["default"].shape[1:])

    _variable_shape = variable_shape

    def transform_feature(self, transformation_cache: Any, state_manager: Any) -> Any:
        """The images, of their size."""
        return self._of_size(transformation_cache.get(self.key, state_manager))

    def _transform_feature(self, inputs: Any) -> Any:
        return self._of_size(inputs.get(self.key))

    def _of_size(self, images: Any) -> Any:
        return tf.ensure_shape(images, (None, *self._size, 3))

    def create_state(self, state_manager: Any) -> None:
        """The module's variables."""
        state_manager.add_resource(self, "module", load(self.module_spec))

    def get_dense_tensor(self, transformation_cache: Any, state_manager: Any) -> Any:
        """The features: float32 [batch, num_features]."""
        module: LoadedModule = state_manager.get_resource(self, "module")
        return module(transformation_cache.get(self, state_manager))

    def _get_dense_tensor(
        self, inputs: Any, weight_collections: Any = None, trainable: bool | None = None
    ) -> Any:
        return GraphModule(self.module_spec)(inputs.get(self))

    def get_config(self) -> dict[str, Any]:
        """What rebuilds it."""
        return self._asdict()

    @classmethod
    def from_config(
        cls, config: Any, custom_objects: Any = None, columns_by_name: Any = None
    ) -> Any:
        """The column of a config."""
        return cls(**config)

    @property
    def _info(self) -> ModuleInfo:
        return module_of(self.module_spec)

    @property
    def _size(self) -> tuple[int, int]:
        size = self._info.image_size
        return self.image_size or (size, size)


def image_embedding_column(
    key: str, module_spec: Spec, image_size: tuple[int, int] | None = None
) -> Any:
    """A feature column that computes the features of images.

    ```python
    column = hub.image_embedding_column("photo", handle)
    features = tf_keras.layers.DenseFeatures([column])({"photo": images})
    ```

    Args:
        key: of the images among the features: float32 [batch, height, width, 3] in [0,1].
        module_spec: a handle, a path or a `ModuleSpec`.
        image_size: height and width, in place of the module's own.

    Raises:
        UnknownHandleError, MissingWeightsError, AmbiguousModuleError: as `hub.Module`.
    """
    module_of(module_spec)
    return _ImageEmbeddingColumn(key, module_spec, tuple(image_size) if image_size else None)
