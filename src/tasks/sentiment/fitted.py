"""Classifiers that are computed from the training texts: the largest class, and a logistic regression of TF-IDF.

Letters: N texts, V ids, K classes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from src.data.encoded import Encoded
from src.data.splits import TRAIN, VALIDATION
from src.data.tokens import PADDING, START
from src.tasks.sentiment import texts
from src.tasks.sentiment.settings import Settings

if TYPE_CHECKING:
    import keras
    from scipy.sparse import csr_matrix

    from src.data.encoded import Sequences

STRENGTHS = tuple(10 ** (power / 2) for power in range(-4, 7))  # C, from 0.01 to 1,000
LEAST = 1e-7  # share of a class without training texts
_log = logging.getLogger(__name__)


def start(model: keras.Model, settings: Settings, data: Encoded) -> None:
    """Gives a model of `encoders.fitted` its weights, from the training texts as a trial reads them."""
    classes, outputs = len(data.classes), model.output_shape[-1]
    splits = texts.splits_of(settings, data)
    labels = splits[TRAIN].labels
    if settings.encoder == "largest_class":
        shares = np.maximum(np.bincount(labels, minlength=classes) / len(labels), LEAST)
        kernel, biases = np.zeros((1, classes)), np.log(shares)
    else:
        counts = {name: word_counts(splits[name], settings.vocab_size) for name in (TRAIN, VALIDATION)}
        idf = inverse_frequencies(counts[TRAIN])
        model.get_layer("encoding").idf.assign(idf)
        train, validation = (weighted(counts[name], idf) for name in (TRAIN, VALIDATION))
        weight = "balanced" if settings.class_weights == "balanced" else None
        of_validation = splits[VALIDATION].labels
        kernel, biases = regression(train, labels, validation, of_validation, classes=classes, class_weight=weight)
    if outputs == 1:  # the logit of class 1
        kernel, biases = kernel[:, 1:] - kernel[:, :1], biases[1:] - biases[:1]
    model.get_layer("head").set_weights([kernel, biases])


def word_counts(split: Sequences, vocab_size: int) -> csr_matrix:
    """Returns how often each text has each id, float64[N, V]; padding and the start of a text do not count."""
    from scipy.sparse import csr_matrix

    of_words = np.ones(len(split.ids)), np.array(split.ids), np.array(split.starts)  # copies: they are sorted in place
    counts = csr_matrix(of_words, shape=(len(split.labels), vocab_size))
    counts.sum_duplicates()
    counts.data[np.isin(counts.indices, (PADDING, START))] = 0
    counts.eliminate_zeros()
    return counts


def inverse_frequencies(counts: csr_matrix) -> np.ndarray:
    """Returns the weight of each id, float64[V]: ln((1 + N) / (1 + n_v)) + 1, where n_v texts have it; 0 for no word.

    It is that of scikit-learn's `TfidfTransformer`.
    """
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log((1 + counts.shape[0]) / (1 + texts)) + 1
    idf[[PADDING, START]] = 0
    return np.asarray(idf)


def weighted(counts: csr_matrix, idf: np.ndarray) -> csr_matrix:
    """Returns the counts times the weights, each text with length 1, as the layer `TfIdf` computes them."""
    from sklearn.preprocessing import normalize

    return normalize(counts.multiply(idf).tocsr())


def regression(
    train: Any,
    labels: np.ndarray,
    validation: Any,
    of_validation: np.ndarray,
    *,
    classes: int,
    class_weight: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights float64[V, K] and biases float64[K] of a logistic regression, the logits of the classes.

    Its strength C is that of the highest validation accuracy, the smallest on ties. A class without training texts has
    a bias that leaves it no probability. `class_weight` is that of scikit-learn.
    """
    from sklearn.linear_model import LogisticRegression

    known = np.unique(labels)
    if len(known) == 1:
        biases = np.where(np.arange(classes) == known[0], 0.0, np.log(LEAST))
        return np.zeros((train.shape[1], classes)), biases
    models = [
        LogisticRegression(C=strength, max_iter=2_000, class_weight=class_weight).fit(train, labels)
        for strength in STRENGTHS
    ]
    accuracies = [float(model.score(validation, of_validation)) for model in models]
    place = int(np.argmax(accuracies))
    _log.info("tfidf: C=%.3g, with a validation accuracy of %.3f", STRENGTHS[place], accuracies[place])
    model, kernel = models[place], np.zeros((train.shape[1], classes))
    biases = np.full(classes, np.log(LEAST))
    if len(known) == 2:
        kernel[:, known[1]], biases[known] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        kernel[:, known], biases[known] = model.coef_.T, model.intercept_
    return kernel, biases
