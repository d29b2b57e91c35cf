"""`hub.Module` in TensorFlow's graphs: placeholders, sessions, collections, functions.

As in `tensorflow_hub`, making a module adds its variables to the graph, and each call adds
operations on these variables. Where a function is being traced (`tf.function`, `Dataset.map`), the
variables are made outside of it, by `tf.init_scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from types import MappingProxyType
from typing import Any
from weakref import WeakKeyDictionary

import tensorflow as tf

from mobilenet_hub.catalog import Task
from mobilenet_hub.signatures import BaseModule, Signatures, checked_tags
from mobilenet_hub.tensorflow.inputs import unit_images
from mobilenet_hub.tensorflow.network import (
    MobileNet,
    add_regularization_losses,
    current_graph,
    made_outside,
)
from mobilenet_hub.weights.canonical import Weights, from_tensors, once_trained
from mobilenet_hub.weights.resolve import Spec, WeightsLike, resolve

_KEYS = tf.compat.v1.GraphKeys
_EAGER = tf.Graph()  # stands for eager execution among graphs; nothing is ever in it


class GraphModule(BaseModule):
    """A module whose inputs and outputs are tensors of a TensorFlow graph.

    ```python
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        module = hub.Module(handle)
        images = tf.compat.v1.placeholder(tf.float32, [None, 224, 224, 3])
        features = module(images)
        session.run(tf.compat.v1.global_variables_initializer())
    ```

    As in `tensorflow_hub`, `tags` and `trainable` are two things. The tag `train` makes batch norm
    use the statistics of the batch, and a classifier drop features. `trainable` puts variables into
    `TRAINABLE_VARIABLES` and kernels' losses into `REGULARIZATION_LOSSES`. With both, each call
    adds the updates of the moving averages to `UPDATE_OPS` (inside a function, which has no such
    collection, they are done when it runs).

    Args:
        spec: a handle, a path, or something in training, as `hub.Module` takes it.
        trainable: see above.
        name: of the variable scope, made unique.
        tags: none or `{"train"}`.
        weights: instead of the published ones, as `hub.Module` takes them.

    Raises:
        UnknownHandleError, MissingWeightsError, AmbiguousModuleError, WeightsError: as
            `hub.Module`.
        TagsError: there is no such graph variant.
        RuntimeError: the name scope is taken, though the variable scope is not.
    """

    autograph_info__: Mapping[str, Any] = MappingProxyType({})  # AutoGraph: call it as it is

    def __init__(
        self,
        spec: Spec,
        trainable: bool = False,
        name: str = "module",
        tags: Collection[str] | None = None,
        *,
        weights: WeightsLike = None,
    ) -> None:
        self.trainable = trainable
        self.tags = checked_tags(tags)
        resolved = resolve(spec, weights)
        self.info = resolved.info
        self._metadata = once_trained(self.info.handle, resolved.weights)
        self._network = made_outside(lambda: self._make(resolved.weights, name))

    def _make(self, weights: Weights, name: str) -> MobileNet:
        self._graph = current_graph()
        with _fresh_scope(self._graph, name) as scope:
            self.name = scope.rstrip("/").rpartition("/")[2]
            network = MobileNet(
                weights.network,
                weights.tensors,
                logits=self.info.task == "classification",
                trainable=self.trainable,
            )
            if self.trainable and self._graph is not None:
                add_regularization_losses(network)
        return network

    def __call__(
        self,
        inputs: Any = None,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
        *,
        outputs: Iterable[str] | None = None,
    ) -> Any:
        """Apply a signature: see `hub.Module`. Inputs may be anything that converts to tensors."""
        with tf.name_scope(f"{self.name}_apply_{signature or 'default'}"):
            return super().__call__(inputs, _sentinel, signature, as_dict, outputs=outputs)

    @property
    def variable_map(self) -> Mapping[str, Any]:
        """`tf.Variable`s by their TF-Slim name, without the module's scope."""
        return self._network.by_name

    def current_weights(self, session: Any = None) -> Weights:
        """The weights as they are now, in canonical form.

        Args:
            session: whose values to take, in a TF1 graph; the default session's by default.

        Raises:
            WeightsError: values that are not finite: the training went wrong.
            RuntimeError: there is no session.
        """
        variables = dict(self.variable_map)
        if self._graph is None:
            values = {name: variable.numpy() for name, variable in variables.items()}
        else:
            session = session or tf.compat.v1.get_default_session()
            if session is None:
                raise RuntimeError(
                    "the weights of a module in a graph are in a session: call this in "
                    "`with session.as_default():`. Received: no default session"
                )
            values = session.run(variables)
        return from_tensors(
            values,
            metadata=self._metadata,
            where=f"the session's {self.name}",
            expected=self._network.network,
        )

    def export(self, path: str | PathLike[str], session: Any = None) -> Any:
        """Write the weights as they are now.

        Args:
            path: with a session, a folder for a module in the TF1 "hub" format, as
                `tensorflow_hub`'s `Module.export` wrote it; without, a file of canonical weights.
                `hub.Module(path)` reads both.
            session: that has the values.

        Returns:
            The sha256 of the file; None of a folder.

        Raises:
            RuntimeError: the session or the default graph is another one, or there is none.
            WeightsError: values that are not finite: the training went wrong.
            OSError: it cannot be written.
        """
        if session is None:
            return self.current_weights().save(path)
        if tf.compat.v1.get_default_graph() is not self._graph:
            raise RuntimeError(
                "default graph differs from the graph where the module was instantiated."
            )
        if session.graph is not self._graph:
            raise RuntimeError(
                "session graph differs from the graph where the module was instantiated."
            )
        from mobilenet_hub.tensorflow.hub_format import write_hub_module

        return write_hub_module(path, self.info, self.current_weights(session))

    def __getstate__(self) -> Any:
        """Refuse to be pickled: variables belong to their graph."""
        raise TypeError(
            "a module in a TensorFlow graph cannot be pickled or copied; export(path, session) "
            f"writes it. Received: {self!r}"
        )

    def __repr__(self) -> str:
        """The handle, and what is trained."""
        tags = sorted(self.tags)
        return (
            f"<hub.Module {self.info.handle} {self.name!r} in a graph "
            f"trainable={self.trainable} tags={tags}>"
        )

    @property
    def _signatures(self) -> Signatures:
        return Signatures(self.info, self._network.network)

    def _compute(
        self, images: Any, task: Task, names: tuple[str, ...], momentum: Any
    ) -> dict[str, Any]:
        with tf.init_scope():
            here = current_graph()
        if here is not self._graph:
            raise RuntimeError("Module must be applied in the graph it was instantiated for.")
        if momentum is None:
            momentum = self.info.batch_norm_momentum
        applied = self._network.apply(
            unit_images(images, self.info),
            logits=task == "classification",
            training="train" in self.tags,
            momentum=momentum,
            update_averages=self.trainable,
        )
        graph = current_graph()
        if graph is not None and not graph.building_function:
            for update in applied.updates:
                graph.add_to_collection(_KEYS.UPDATE_OPS, update)
        computed = applied.outputs(task)
        return {name: computed[name] for name in names}


@contextmanager
def _fresh_scope(graph: Any, name: str) -> Iterator[str]:
    """A name scope for variables that no other module's have, as `tensorflow_hub` chose it.

    Raises:
        RuntimeError: operations have the name that variables could have.
    """
    if graph is None:
        with tf.name_scope(f"{name}/") as scope:
            yield scope
        return
    with tf.compat.v1.variable_scope(None, name, auxiliary_name_scope=False) as variables:
        wanted = f"{variables.name}/"
    with graph.name_scope(None):
        is_free = graph.unique_name(wanted[:-1], mark_as_used=False) == wanted[:-1]
    if not is_free:
        raise RuntimeError(
            f"variable_scope {wanted} was unused but the corresponding name_scope was already "
            "taken."
        )
    with tf.name_scope(wanted) as scope:
        yield scope


@contextmanager
def evaluated(spec: Spec, tags: Collection[str]) -> Iterator[Callable[..., Any]]:
    """A function from arrays to arrays that computes a module in a graph and session of its own."""
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    applied: dict[str | None, tuple[dict[str, Any], dict[str, Any]]] = {}
    with graph.as_default():
        module = GraphModule(spec, tags=tags)
        session.run(tf.compat.v1.global_variables_initializer())

    def evaluate(
        inputs: Any = None,
        _sentinel: None = None,
        signature: str | None = None,
        as_dict: bool | None = None,
    ) -> Any:
        images, momentum = module._signatures.unpack(inputs, signature)
        if signature not in applied:
            with graph.as_default():
                given = {
                    name: tf.compat.v1.placeholder(info.dtype, info.shape)
                    for name, info in module.get_input_info_dict(signature).items()
                }
                applied[signature] = given, module(given, signature=signature, as_dict=True)
        given, outputs = applied[signature]
        values = {"images": images, "batch_norm_momentum": momentum}
        feed = {tensor: values[name] for name, tensor in given.items()}
        return session.run(outputs if as_dict else outputs["default"], feed)

    try:
        yield evaluate
    finally:
        session.close()


class InGraphs:
    """A module that was made in eager execution, in the graphs where it is applied later.

    Its variables are made, once, in each graph that it is applied in, outside of functions.
    """

    def __init__(self) -> None:
        self._forms: WeakKeyDictionary[Any, tuple[Weights, GraphModule]] = WeakKeyDictionary()

    def form(self, module: BaseModule) -> GraphModule:
        """The module, in the current graph, with the weights it has now."""
        with tf.init_scope():
            graph = current_graph() or _EAGER
        weights = module.current_weights()
        made = self._forms.get(graph)
        if made is None or made[0] is not weights:
            form = GraphModule(module.info, name=module.name, weights=weights)
            made = self._forms[graph] = (weights, form)
        return made[1]
