"""tensorflow_hub itself reads what is saved here, and what it saves is read here.

Arguments: a file of images, and the file to write all that it computes to.
"""

import hashlib
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_hub
import tf_keras

import mobilenet_hub as hub
import mobilenet_hub.tensorflow as on_tensorflow

URL = "https://tfhub.dev/google/imagenet/mobilenet_v1_025_224/feature_vector/5"
photos = np.load(sys.argv[1])["images"]
cached = Path(os.environ["TFHUB_CACHE_DIR"], hashlib.sha1(URL.encode()).hexdigest())
tf.saved_model.save(on_tensorflow.load(URL), str(cached))

found = {"features": tensorflow_hub.load(URL)(photos)}
layer = tensorflow_hub.KerasLayer(URL, trainable=True, input_shape=(224, 224, 3))
model = tf_keras.Sequential([layer, tf_keras.layers.Dense(2)])
model.compile("sgd", "mse")
model.fit(photos, np.zeros((len(photos), 2)), verbose=0)
found["trained"] = model.predict(photos, verbose=0)
model.save("model.h5")
model.save("saved_model")

custom = {"KerasLayer": on_tensorflow.KerasLayer}
for name in ("model.h5", "saved_model"):
    again = tf_keras.models.load_model(name, custom_objects=custom, compile=False)
    found[name] = again.predict(photos, verbose=0)
custom = {"KerasLayer": hub.KerasLayer}
again = keras.models.load_model("model.h5", custom_objects=custom, compile=False)
found["keras_3"] = again.predict(photos, verbose=0)
np.savez(sys.argv[2], **{name: np.asarray(value) for name, value in found.items()})
