"""Descriptions of config fields: for sections from their docstrings, for names with fields from the tables here."""

from __future__ import annotations

import inspect
import re

from cnnctl.spec.section import Section

KINDS = {
    # layers
    "conv2d": "2D convolution (Keras Conv2D): every filter spans all input channels and gives one output channel.",
    "depthwise_conv2d": "A filter for each input channel alone; channels are not mixed (Keras DepthwiseConv2D).",
    "separable_conv2d": "A depthwise convolution, then a 1×1 convolution that mixes the channels (Keras SeparableConv2D; Chollet 2016).",
    "conv2d_transpose": "Transposed convolution, which enlarges: every input pixel adds a filter to the output (Keras Conv2DTranspose).",
    "zero_padding2d": "Zeros around an image (Keras ZeroPadding2D).",
    "cropping2d": "An image without rows and columns at its sides (Keras Cropping2D).",
    "up_sampling2d": "An image with more rows and columns, repeated or interpolated (Keras UpSampling2D).",
    "rescaling": "scale · x + offset, in training and inference (Keras Rescaling).",
    "reshape": "The same values in the same order in another shape; the batch axis is unchanged (Keras Reshape).",
    "permute": "The axes in another order; the batch axis stays first (Keras Permute).",
    "max_pooling2d": "Maximum of each window (Keras MaxPooling2D).",
    "average_pooling2d": "Mean of each window (Keras AveragePooling2D).",
    "global_average_pooling2d": "Mean of each channel over height and width (Keras GlobalAveragePooling2D).",
    "global_max_pooling2d": "Maximum of each channel over height and width (Keras GlobalMaxPooling2D).",
    "flatten": "All values of an image as one vector; the batch axis is unchanged (Keras Flatten).",
    "dense": "A matrix product with a bias (Keras Dense).",
    "batch_normalization": "Normalization by mean and variance of the batch in training, by moving averages in inference "
    "(Keras BatchNormalization).",
    "layer_normalization": "Normalization by mean and variance of each image along axes, the same in training and inference "
    "(Keras LayerNormalization; Ba et al. 2016).",
    "group_normalization": "Normalization by mean and variance of each image over groups of channels "
    "(Keras GroupNormalization; Wu and He 2018).",
    "normalization": "Normalization of each value by mean and variance of the training images, or by numbers "
    "(Keras Normalization).",
    "unit_normalization": "Divides by the L2 norm along axes, which becomes 1 (Keras UnitNormalization).",
    "dropout": "Sets a fraction of the values to 0, in training only (Keras Dropout).",
    "spatial_dropout2d": "Sets whole channels to 0, in training only (Keras SpatialDropout2D; Tompson et al. 2014).",
    "gaussian_noise": "Adds normal noise, in training only (Keras GaussianNoise).",
    "gaussian_dropout": "Multiplies by normal noise around 1, in training only (Keras GaussianDropout; Srivastava et al. 2014).",
    "alpha_dropout": "Dropout that keeps mean and variance of SELU outputs, in training only (Keras AlphaDropout; Klambauer et al. 2017).",
    "activation": "A function of each value (Keras Activation).",
    "relu": "max(x, 0), with a slope below, a threshold and a maximum if set (Keras ReLU).",
    "leaky_relu": "x above 0, negative_slope · x below (Keras LeakyReLU).",
    "prelu": "x above 0, alpha · x below, with a trained alpha (Keras PReLU; He et al. 2015).",
    "elu": "x above 0, alpha · (exp(x) - 1) below (Keras ELU; Clevert et al. 2015).",
    "softmax": "exp(x) divided by the sum of exp(x) along an axis (Keras Softmax).",
    "add": "The sum of two or more layers (Keras Add).",
    "subtract": "The first of two layers minus the second (Keras Subtract).",
    "multiply": "The product of two or more layers, value by value (Keras Multiply).",
    "average": "The mean of two or more layers, value by value (Keras Average).",
    "maximum": "The largest value of two or more layers at each position (Keras Maximum).",
    "minimum": "The smallest value of two or more layers at each position (Keras Minimum).",
    "concatenate": "Two or more layers joined along an axis (Keras Concatenate).",
    "use": "A layer or block of the stack once more, with the same weights.",
    "repeat": "Layers that are built several times in sequence.",
    # optimizers
    "sgd": "Gradient descent, with momentum if set (Keras SGD).",
    "rmsprop": "Gradients divided by the root of their mean square (Keras RMSprop).",
    "adam": "Adam (Keras Adam; Kingma and Ba 2014).",
    "adamw": "Adam with decoupled weight decay (Keras AdamW; Loshchilov and Hutter 2017).",
    "adadelta": "Adadelta (Keras Adadelta; Zeiler 2012).",
    "adagrad": "Adagrad (Keras Adagrad; Duchi et al. 2011).",
    "adamax": "Adam with the infinity norm (Keras Adamax).",
    "adafactor": "Adam with less memory (Keras Adafactor; Shazeer and Stern 2018).",
    "nadam": "Adam with Nesterov momentum (Keras Nadam).",
    "ftrl": "Follow the regularized leader (Keras Ftrl; McMahan et al. 2013).",
    "lion": "The sign of a momentum (Keras Lion; Chen et al. 2023).",
    "lamb": "Adam with a rate for each layer (Keras Lamb; You et al. 2019).",
    "muon": "Orthogonalized momentum for matrices, Adam for other weights (Keras Muon).",
    "schedule_free_adamw": "AdamW without a schedule: the weights that are evaluated and saved are the mean of all steps "
    "(Keras ScheduleFreeAdamW; Defazio et al. 2024).",
    # schedules
    "constant": "One value throughout.",
    "exponential": "initial_learning_rate · decay_rate^(step / decay_steps) (Keras ExponentialDecay).",
    "cosine": "Half a cosine from the initial rate down, after a linear warm-up if set (Keras CosineDecay).",
    "piecewise": "A constant rate between boundaries (Keras PiecewiseConstantDecay).",
    "one_cycle": "Up to a maximum by a cosine, then down (Smith 2018; PyTorch OneCycleLR).",
    # losses
    "sparse_categorical_crossentropy": "Cross-entropy for integer labels (Keras SparseCategoricalCrossentropy).",
    "categorical_crossentropy": "Cross-entropy for one-hot labels (Keras CategoricalCrossentropy).",
    # few-shot methods and pruners
    "prototypical": "Prototypical networks (Snell et al. 2017): nearest class mean of the embedded images.",
    "maml": "MAML (Finn et al. 2017): initial weights from which a few gradient steps suffice.",
    "cosine_classifier": "A cosine classifier over the training classes; episodes compare its embedding.",
    "median": "Prunes a trial whose best value so far is worse than the median of the other trials at the same epoch.",
    "successive_halving": "Prunes all but the best trials at growing numbers of epochs.",
    # initializers
    "zeros": "All 0.",
    "ones": "All 1.",
    "random_normal": "Normal distribution (Keras RandomNormal).",
    "truncated_normal": "Normal distribution, cut at two standard deviations (Keras TruncatedNormal).",
    "random_uniform": "Uniform distribution (Keras RandomUniform).",
    "glorot_uniform": "Uniform in ± sqrt(6 / (fan_in + fan_out)) (Keras GlorotUniform).",
    "glorot_normal": "Truncated normal, variance 2 / (fan_in + fan_out) (Keras GlorotNormal).",
    "he_uniform": "Uniform in ± sqrt(6 / fan_in) (Keras HeUniform).",
    "he_normal": "Truncated normal, variance 2 / fan_in (Keras HeNormal).",
    "lecun_uniform": "Uniform in ± sqrt(3 / fan_in) (Keras LecunUniform).",
    "lecun_normal": "Truncated normal, variance 1 / fan_in (Keras LecunNormal).",
    "variance_scaling": "Variance scale / n, n chosen by mode (Keras VarianceScaling).",
    "orthogonal": "A random orthogonal matrix (Keras Orthogonal).",
    "identity": "The identity matrix times gain, for a kernel of a dense layer (Keras Identity).",
    "stft": "The waves of a short-time Fourier transform, for weights of 3 axes (Keras STFT).",
    # regularizers and constraints
    "l1": "Adds l1 · sum of absolute values to the loss (Keras L1).",
    "l2": "Adds l2 · sum of squares to the loss (Keras L2).",
    "l1_l2": "Adds both penalties to the loss (Keras L1L2).",
    "orthogonal_regularizer": "Adds factor · mean |cosine| between the rows of a matrix, or its columns (Keras OrthogonalRegularizer).",
    "max_norm": "Norms of at most max_value, after each step (Keras MaxNorm).",
    "min_max_norm": "Norms between min_value and max_value, after each step (Keras MinMaxNorm).",
    "unit_norm": "Norms of 1, after each step (Keras UnitNorm).",
    "non_neg": "No negative weights, after each step (Keras NonNeg).",
}
"""Description of each layer, optimizer, schedule, loss, initializer and so on."""

OF_KIND = {
    ("zero_padding2d", "padding"): "Rows and columns of zeros: one number, [rows, columns] or [[top, bottom], [left, right]].",
    ("conv2d_transpose", "strides"): "Pixels of the output from the window of one input pixel to that of the next.",
    ("conv2d_transpose", "padding"): "`valid` keeps the whole windows, `same` crops the output to strides times the input.",
    ("cropping2d", "cropping"): "Rows and columns to remove: one number, [rows, columns] or [[top, bottom], [left, right]].",
    ("up_sampling2d", "size"): "Factors of rows and columns: one number or [rows, columns].",
    ("rescaling", "scale"): "Factor of the values: one number, or one per channel.",
    ("rescaling", "offset"): "Added to the scaled values: one number, or one per channel.",
    ("reshape", "target_shape"): "Sizes of the axes without the batch; one may be -1, which is what remains.",
    ("permute", "dims"): "The new order of the axes, counted from 1 after the batch: [2, 1, 3] swaps the first two.",
    ("batch_normalization", "axis"): "The axis of the channels.",
    ("batch_normalization", "momentum"): "Weight of the old moving average in each step.",
    ("batch_normalization", "scale"): "Whether to multiply by a trained gamma.",
    ("batch_normalization", "renorm"): "Batch renormalization (Ioffe 2017): training corrects towards moving statistics.",
    ("batch_normalization", "renorm_clipping"): "Bounds of its corrections r and d; null for none.",
    ("batch_normalization", "renorm_momentum"): "Weight of its old statistics in each step.",
    (
        "batch_normalization",
        "synchronized",
    ): "Keras's option for several devices; here the statistics are of the whole batch in any case.",
    ("batch_normalization", "epsilon"): "Added to the variance, against a division by 0.",
    (
        "layer_normalization",
        "axis",
    ): "The axis that each mean is over, or a list of axes: [1, 2, 3] for all values of an image.",
    ("layer_normalization", "scale"): "Whether to multiply by a trained gamma.",
    ("layer_normalization", "epsilon"): "Added to the variance, against a division by 0.",
    ("layer_normalization", "rms_scaling"): "Deprecated by Keras: divide by the standard deviation, and subtract no mean.",
    ("group_normalization", "groups"): "Groups of channels, each with its own mean and variance; -1 for one channel per group.",
    ("group_normalization", "axis"): "The axis of the channels.",
    ("group_normalization", "scale"): "Whether to multiply by a trained gamma.",
    ("group_normalization", "epsilon"): "Added to the variance, against a division by 0.",
    ("normalization", "axis"): "The axis, or list of axes, along which each value has its own mean; null for one mean of all.",
    ("normalization", "mean"): "Numbers to subtract; null for the mean of the training images, without augmentation.",
    ("normalization", "variance"): "Squares of the numbers to divide by; null for the variance of the training images.",
    ("normalization", "invert"): "Multiply by the standard deviation and add the mean instead.",
    ("unit_normalization", "axis"): "The axis along which each norm becomes 1, or a list of axes; -1 is the last.",
    ("relu", "max_value"): "Largest output; null for none.",
    ("softmax", "axis"): "The axis over which the outputs sum to 1, or a list of axes; -1 is the last.",
    ("elu", "alpha"): "The outputs approach -alpha for inputs far below 0.",
    ("concatenate", "axis"): "The axis along which the layers are joined; -1 is the last.",
    ("dropout", "rate"): "Fraction of the values that are set to 0; the others are scaled by 1 / (1 - rate).",
    ("spatial_dropout2d", "rate"): "Fraction of the channels that are set to 0; the others are scaled by 1 / (1 - rate).",
    ("gaussian_dropout", "rate"): "The noise has the standard deviation sqrt(rate / (1 - rate)).",
    ("gaussian_noise", "stddev"): "Standard deviation of the noise.",
    ("alpha_dropout", "rate"): "Fraction of the values that are set to the lowest output of SELU.",
    ("use", "layer"): "The name of the layer or block.",
    ("repeat", "layers"): "The layers, one per item.",
    ("cosine_classifier", "scale"): "Factor of the cosines before the softmax.",
    ("variance_scaling", "scale"): "Factor of the variance.",
    ("orthogonal_regularizer", "factor"): "Factor of the mean.",
    ("orthogonal_regularizer", "mode"): "What is compared: `rows`, one per input, or `columns`, one per output.",
    ("min_max_norm", "rate"): "How far a norm moves towards the bounds per step; 1 moves it all the way.",
    ("muon", "momentum"): "Decay of the momentum.",
    ("schedule_free_adamw", "beta_1"): "Share of the mean of all steps in the weights at which gradients are taken.",
    ("schedule_free_adamw", "warmup_steps"): "Length of the linear warm-up in steps, or a text such as 1 epoch; 0 for none.",
    ("lion", "beta_1"): "Share of the momentum in a step.",
    ("lion", "beta_2"): "Decay of the momentum.",
    ("constant", "learning_rate"): "The rate of every step.",
    ("piecewise", "values"): "A rate per interval: one more than boundaries.",
}
"""Descriptions of fields that differ in one kind."""

FIELDS = {
    "filters": "Number of filters, equal to the number of output channels.",
    "kernel_size": "Height and width of a filter in pixels: one number or [height, width].",
    "strides": "Step between windows in pixels: one number or [height, width]; null in pooling for the pool size.",
    "padding": "`valid` for none, `same` for zeros so that a stride of 1 keeps height and width.",
    "data_format": "`channels_last` (B, H, W, C) or `channels_first` (B, C, H, W); null for model.data_format.",
    "dilation_rate": "Distance between the pixels that a filter reads; 1 is an ordinary convolution.",
    "output_padding": "Rows and columns that the output has beyond the smallest size, less than strides; null derives the size.",
    "depth_multiplier": "Filters of each input channel, each of which gives a channel of its own.",
    "groups": "Groups of input channels, each with its own filters.",
    "activation": "The function applied to the output, by Keras's name; null for none.",
    "use_bias": "Whether a bias is added.",
    "pool_size": "Height and width of a window in pixels: one number or [height, width].",
    "interpolation": "How values between pixels are computed: `nearest` repeats pixels, `bilinear` weighs the 2 nearest rows and columns, "
    "`bicubic` 4, `lanczos3` 6 and `lanczos5` 10.",
    "keepdims": "Whether height and width stay as axes of length 1.",
    "units": "Number of outputs; `classes` for as many as the data has classes.",
    "center": "Whether to add a trained beta.",
    "noise_shape": "Shape of the mask that is drawn, the batch first; null in it follows the input. null: one draw per value.",
    "negative_slope": "Slope for inputs below the threshold.",
    "threshold": "Inputs up to it are output as 0, or with the negative slope.",
    "shared_axes": "Axes along which all positions share one alpha: an axis or a list; [1, 2] shares it over rows and columns.",
    "times": "How often they are built.",
    # optimizers
    "learning_rate": "The learning rate: a number, or a schedule by its name.",
    "weight_decay": "Weight decay per step as a fraction of the learning rate; null for none.",
    "clipnorm": "Largest norm of the gradient of one weight tensor; null for any.",
    "clipvalue": "Largest absolute value in a gradient; null for any.",
    "global_clipnorm": "Largest norm of all gradients together; null for any.",
    "use_ema": "Whether to use an exponential moving average of the weights, which the final weights are taken from.",
    "ema_momentum": "Weight of the old average in each step.",
    "ema_overwrite_frequency": "Steps after which the average replaces the weights; null for the end only.",
    "loss_scale_factor": "Factor of the loss while gradients are computed; null for none.",
    "gradient_accumulation_steps": "Steps whose gradients are averaged before one update; null for each step.",
    "momentum": "Fraction of the last update that is added to the next.",
    "nesterov": "Whether to use Nesterov momentum.",
    "rho": "Decay of the mean square of the gradients.",
    "epsilon": "Small constant that prevents a division by 0.",
    "centered": "Whether to divide by the variance of the gradients instead of their mean square.",
    "beta_1": "Decay of the mean of the gradients.",
    "beta_2": "Decay of the mean square of the gradients.",
    "amsgrad": "Whether the largest mean square so far is used (AMSGrad).",
    "initial_accumulator_value": "Initial value of the sums of squares.",
    "beta_2_decay": "Exponent by which the decay of the mean square grows with the steps.",
    "epsilon_1": "Added to squared gradients.",
    "epsilon_2": "Smallest scale of a weight tensor that steps are multiplied by.",
    "clip_threshold": "Largest root mean square of an update.",
    "relative_step": "Whether the rate also falls with the square root of the steps.",
    "learning_rate_power": "How the rate falls with the sum of squares; 0 is a fixed rate.",
    "l1_regularization_strength": "L1 penalty.",
    "l2_regularization_strength": "L2 penalty.",
    "l2_shrinkage_regularization_strength": "L2 penalty on the gradient (shrinkage).",
    "beta": "Keras's beta of Ftrl.",
    "adam_beta_1": "beta_1 for the weights that Adam trains.",
    "adam_beta_2": "beta_2 for the weights that Adam trains.",
    "adam_weight_decay": "weight_decay for the weights that Adam trains.",
    "exclude_embeddings": "Whether Adam trains embeddings.",
    "muon_a": "First coefficient of the Newton-Schulz iteration.",
    "muon_b": "Second coefficient of the Newton-Schulz iteration.",
    "muon_c": "Third coefficient of the Newton-Schulz iteration.",
    "adam_lr_ratio": "Learning rate of Adam as a multiple of that of Muon.",
    "ns_steps": "Newton-Schulz iterations per step.",
    "rms_rate": "Factor of the update, by the size of the matrix.",
    # schedules
    "initial_learning_rate": "The rate at the start.",
    "decay_rate": "Factor of the rate over decay_steps.",
    "decay_steps": "Length of the decay in steps, or a text such as 2 epochs; null for the whole training.",
    "staircase": "Whether the rate falls in steps of decay_steps instead of smoothly.",
    "alpha": "The last rate, as a fraction of the first.",
    "warmup_target": "The rate that the warm-up reaches; null for no warm-up.",
    "warmup_steps": "Length of the warm-up in steps, or a text such as 1 epoch.",
    "boundaries": "Where the rate changes, in steps or texts such as 2 epochs.",
    "max_learning_rate": "The highest rate.",
    "total_steps": "Length of the cycle in steps, or a text such as 2 epochs; null for the whole training.",
    "pct_start": "Fraction of the cycle in which the rate rises.",
    "div_factor": "The first rate is max_learning_rate / div_factor.",
    "final_div_factor": "The last rate is the first / final_div_factor.",
    # losses, few-shot methods, pruners
    "from_logits": "Whether the network outputs logits; null derives it from the last layer.",
    "label_smoothing": "Fraction of the label that is spread over all classes.",
    "distance": "Distance between embeddings: `squared_euclid` or `cosine`.",
    "inner_steps": "Gradient steps within a training episode.",
    "inner_learning_rate": "Learning rate of the inner steps.",
    "first_order": "Whether second derivatives are left out.",
    "test_steps": "Inner steps in validation and test; null for inner_steps.",
    "startup_trials": "Finished trials before any is pruned.",
    "warmup_epochs": "Epochs of each trial before it may be pruned.",
    "min_epochs": "Epochs before a trial may be pruned.",
    "reduction_factor": "One trial in `reduction_factor` continues from each round.",
    # weights
    "seed": "Seed of the random draws; null to derive it from the seed of the config.",
    "value": "The value of every weight.",
    "mean": "Mean of the distribution.",
    "stddev": "Standard deviation of the distribution.",
    "minval": "Smallest value.",
    "maxval": "Largest value.",
    "mode": "The divisor of the variance: inputs (`fan_in`), outputs (`fan_out`) or their mean (`fan_avg`).",
    "distribution": "The distribution of the draws.",
    "gain": "Factor of the matrix.",
    "side": "The part of the complex waves: `real` (cosines) or `imag` (sines).",
    "window": "Window function over the times, by its name in SciPy; null for none.",
    "scaling": "Norm of the window that the waves are divided by: `density` (L2), `spectrum` (L1) or null for none.",
    "periodic": "Whether the window is periodic.",
    "l1": "Factor of the sum of absolute values.",
    "l2": "Factor of the sum of squares.",
    "max_value": "Largest norm.",
    "min_value": "Smallest norm.",
    "axis": "Axes of the weight over which a norm is computed.",
}
"""Descriptions of fields that mean the same everywhere."""

PARTS = {
    "initializer": "Initial values of {}: the name of an initializer, alone or with its fields.",
    "regularizer": "Penalty on {} in the loss: the name of a regularizer; null for none.",
    "constraint": "Constraint on {} after each step, by name; null for none.",
}


def meaning_of(section: type[Section], field: str) -> str:
    """Return the description of a field of a section; empty if there is none."""
    if section.kind in KINDS or field == "seed":  # the class of a layer of one's own describes its other fields
        weight, _, part = field.rpartition("_")
        if part in PARTS:
            return PARTS[part].format("the output of the layer" if weight == "activity" else weight)
        if found := OF_KIND.get((section.kind, field)) or FIELDS.get(field):
            return found
    text = next((known[field] for each in section.__mro__ if field in (known := _documented(each))), "")
    return text[:1].upper() + text[1:]


def summary_of(section: type[Section]) -> str:
    """Return the description of a section."""
    return KINDS.get(section.kind, "") or re.sub(r"\s+", " ", (section.__doc__ or "").partition("\n\n")[0]).strip()


def _documented(section: type) -> dict[str, str]:
    """Parse the attribute descriptions from the docstring of a class; one entry may describe several attributes."""
    text = inspect.cleandoc(section.__doc__ or "").partition("Attributes:")[2]
    entries = re.findall(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning) for names, meaning in entries for name in names.split(", ")}
