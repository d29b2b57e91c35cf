"""What make_image_classifier makes with tensorflow_hub's own KerasLayer, in every form.

Arguments: a TF1 hub module for images of 96×96, and the folder to write to.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_hub
import tf_keras

module, folder = sys.argv[1], Path(sys.argv[2])
random = np.random.default_rng(0)
images = random.random((2, 96, 96, 3), np.float32)
layers = tf_keras.layers
model = tf_keras.Sequential(
    [
        tf_keras.Input((96, 96, 3)),
        tensorflow_hub.KerasLayer(module),
        layers.Dropout(0.2),
        layers.Dense(3, activation="softmax"),
    ]
)
kernel, biases = model.layers[-1].get_weights()
kernel = 0.05 * random.standard_normal(kernel.shape)
model.layers[-1].set_weights([kernel.astype(np.float32), biases])
tf.saved_model.save(model, str(folder / "saved_model"))
converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
(folder / "model.tflite").write_bytes(converter.convert())
model.save(folder / "model.h5")
model.save(folder / "model.keras")
np.savez(folder / "found.npz", images=images, probabilities=model.predict(images, verbose=0))
