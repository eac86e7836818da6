"""The model of a trial: the encoder and the decoder that its settings describe."""

from __future__ import annotations

import keras

from src.data.encoded_pairs import EncodedPairs
from src.data.pair_contents import SOURCE, TARGET
from src.models.encoder_decoder import Design, encoder_decoder
from src.tasks.translation import sentences
from src.tasks.translation.settings import Settings, output_limit

SAME = (
    *("embedding_dim", "units", "cell", "depth", "bidirectional", "attention", "input_feeding", "initial_state"),
    *("mask_attention", "mask_loss", "dropout", "label_smoothing", "tie_weights", "teacher_forcing", "decode", "seed"),
)  # keys of the settings that are attributes of the design


def translation_model(settings: Settings, data: EncodedPairs) -> keras.Model:
    """Returns the untrained model of `src.models.encoder_decoder`, which also translates when it is evaluated."""
    longest = sentences.longest(data)[SOURCE]
    return encoder_decoder(
        Design(
            source_size=data.vocabulary(SOURCE, settings.vocab_size).size,
            target_size=data.vocabulary(TARGET, settings.vocab_size).size,
            longest_source=longest if settings.attention == "location" else None,
            longest=output_limit(settings, longest),
            skips_padding=True,
            **{key: getattr(settings, key) for key in SAME},
        )
    )
