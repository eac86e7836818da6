"""The settings of word vectors. Names and defaults are those of gensim's `Word2Vec`, where it has them.

The learning rate is twice gensim's: at 0.025, 0.05 and 0.1 the loss in validation was 2.606, 2.600 and 2.613
(3,000 reviews, 4 epochs, seed 100), and at 0.1 batches of 4,096 diverge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from src.data.options import MovieReviews, Running
from src.spec.section import Width
from src.spec.settings import Settings as Core


class Settings(Core):
    """A vector for each word, from the words around it."""

    ALIASES: ClassVar[Mapping[str, str]] = {
        "sg": "architecture (1 = skipgram, 0 = cbow)",
        "size": "vector_size",
        "dim": "vector_size",
        "embeddingdim": "vector_size",
        "embeddingsize": "vector_size",
        "windowsize": "window",
        "alpha": "learning_rate",
        "minalpha": "learning_rate_end",
        "minlearningrate": "learning_rate_end",
        "numns": "negative",
        "negativesamples": "negative",
        "k": "negative",
        "subsample": "sample",
        "subsampling": "sample",
        "maxfinalvocab": "vocab_size",
        "maxvocabsize": "vocab_size",
        "vocab": "vocab_size",
        "vocabularysize": "vocab_size",
        "hs": "loss=full (there is no hierarchical softmax)",
        "softmax": "loss",
    }

    task: str = "word_vectors"
    data: Running = Field(MovieReviews.model_construct(), discriminator="name", description="corpus (config group)")
    across_lines: bool = Field(
        True, description="windows span whole texts; false = they end at the ends of lines and sentences"
    )
    vocab_size: int | None = Field(
        None, ge=2, le=10_000_000, description="most frequent words that get a vector; null = all with min_count"
    )
    min_count: int = Field(5, ge=1, le=1_000_000, description="a word needs this many occurrences in training")
    sample: float = Field(
        1e-3,
        ge=0,
        le=1,
        description="remove occurrences of words whose share of all words is above this, the more the higher "
        "(subsampling, in each epoch anew); 0 = none",
    )
    window: int = Field(5, ge=1, le=1_000, description="words to either side that a window reaches, W")
    shrink_windows: bool = Field(True, description="draw how far each window reaches, from 1 to window")
    pad_pairs: bool = Field(
        False, description="pad every text with window padding words and train on pairs with them, which is a mistake"
    )
    architecture: Literal["skipgram", "cbow", "ppmi_svd"] = Field(
        "skipgram",
        description="skipgram = predict a word around from a word, cbow = predict a word from the words around it, "
        "ppmi_svd = factorise the counts of pairs, without training (Levy and Goldberg, 2014)",
    )
    vector_size: Width = Field(100, description="size of a word's vector, D")
    cbow_mean: bool = Field(True, description="architecture=cbow: mean of the vectors around; false = their sum")
    loss: Literal["full", "negative", "sampled"] = Field(
        "negative",
        description="full = softmax over all words, negative = a logistic loss on the true word and drawn negatives, "
        "sampled = softmax over the true word and drawn negatives",
    )
    negative: int = Field(5, ge=1, le=100_000, description="negatives of each example, K")
    noise: Literal["unigram", "log_uniform", "uniform"] = Field(
        "unigram",
        description="distribution of negatives: counts to the power of ns_exponent, by rank as Zipf's law has it, "
        "or all words alike",
    )
    ns_exponent: float = Field(0.75, ge=-1, le=1, description="exponent of the counts with noise=unigram")
    negatives: Literal["redrawn", "fixed"] = Field(
        "redrawn", description="draw negatives anew, or give an example the same ones whenever it comes"
    )
    hits: Literal["allow", "drop", "resample"] = Field(
        "drop", description="negatives that are the true word: keep them, leave them out, or draw others"
    )
    combine: Literal["input", "output", "sum", "average"] = Field(
        "input",
        description="vector of a word: that of the input table, of the output table, or of both "
        "(sum and average differ only in length)",
    )
    select: Literal["cross_entropy", "loss", "wordsim", "simlex", "analogies"] = Field(
        "cross_entropy", description="metric whose validation value chooses the epoch"
    )
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("sgd", description="Keras optimizer")
    learning_rate: float = Field(
        0.05, gt=0, le=1_000, description="learning rate of one example: a step minimises the sum over its batch"
    )
    learning_rate_end: float | None = Field(
        1e-4, ge=0, le=1_000, description="learning rate at the end, to which it falls linearly; null = constant"
    )
    batch_size: Width = Field(4_096, description="examples per batch, B")
    epochs: int = Field(5, ge=1, le=10_000, description="passes over the training split")
    execution: Literal["eager", "graph", "graph_epoch", "xla"] = Field(
        "xla",
        description="eager = the training step runs in Python, graph = the step is one graph, "
        "graph_epoch = all steps of an epoch are one graph, xla = the step is compiled, which is the fastest here",
    )


def is_counted(settings: Settings) -> bool:
    """Returns whether vectors are computed from counts, without training."""
    return settings.architecture == "ppmi_svd"


def is_skipgram(settings: Settings) -> bool:
    """Returns whether an example is a pair of words."""
    return settings.architecture != "cbow"
