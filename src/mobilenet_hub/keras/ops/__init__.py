"""The three operations that decide how fast, and how exactly, a MobileNet trains.

`reference` states them in `keras.ops`, for every backend; the other modules compute the same
faster on theirs. What each does is said once, here:

`convolve(x, kernel, *, stride, depthwise, data_format)`
    A convolution with TensorFlow's SAME padding, computed from the actual size of `x`.
    kernel: [rows, columns, in, out], or [rows, columns, in, 1] if `depthwise`.

`batch_norm_train(x, gamma, beta, *, epsilon, axis)`
    `x` normalised by its own statistics over all axes but `axis`, in `x`'s dtype; with the batch's
    mean and its unbiased variance, float32 [channels], through which no gradient flows. The
    normalisation itself uses the biased variance. Of a single value, the variance is 0.

`batch_norm_infer(x, gamma, beta, mean, variance, *, epsilon, axis)`
    `x` normalised by given statistics, in `x`'s dtype.

Statistics, gamma and beta are float32 whatever `x` is.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from mobilenet_hub.keras.ops.tensorflow import (
        batch_norm_infer,
        batch_norm_train,
        convolve,
    )
elif keras.backend.backend() == "jax":
    from mobilenet_hub.keras.ops.jax import batch_norm_infer, batch_norm_train, convolve
elif keras.backend.backend() == "torch":
    from mobilenet_hub.keras.ops.torch import batch_norm_infer, batch_norm_train, convolve
else:
    from mobilenet_hub.keras.ops.reference import (
        batch_norm_infer,
        batch_norm_train,
        convolve,
    )

__all__ = ["batch_norm_infer", "batch_norm_train", "convolve"]
