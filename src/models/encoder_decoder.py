r"""Translation with attention: an encoder reads the source, a decoder writes the translation word by word.

Letters: B sentences, S source positions, T target steps, L largest number of words of a translation, V ids, D width of
an embedding, H width of a decoder state, E width of an annotation (of an encoder state), W width of an attentional
state.

The encoder turns the source into annotations v_1 … v_S. One step of the decoder reads the word y_{t-1} before:

    s_t = cell([y_{t-1}; f_t], s_{t-1})      a_t, c_t = attention(q_t, v)      h_t = tanh(W_c [c_t; s_t] + b)
    log p(y_t) = log softmax(W_o h_t + b_o)

The two papers on attention differ in what the attention is asked with, q_t, and in what the cell is fed with, f_t. The
score decides which of them the decoder follows:

    additive    q_t = s_{t-1}, f_t = c_t      Bahdanau, Cho and Bengio, ICLR 2015, appendix A.1.2
    all others  q_t = s_t, f_t = h_{t-1}      Luong, Pham and Manning, EMNLP 2015, sections 3.1 and 3.3

Without `input_feeding` there is no f_t: the states then do not depend on what was attended to, in either order. So
`concat`, whose function is that of `additive`, shows what the order alone changes. With `attention=none` there is no
c_t either, and the decoder knows the source only by its initial state.

Ours, not the papers': Bahdanau's output layer has maxout units that also read y_{t-1}; ours is Luong's for both.
As in OpenNMT, `units` is the width of both directions of the encoder together, so E = H.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from src.models import decoding
from src.models.attention import Attention, Memory
from src.models.cells import CELLS, ForgetBias
from src.models.loops import LOOPS
from src.models.word_loss import NEVER, WordLoss
from src.streams import stream_seed

PADDING, START, UNKNOWN, END = 0, 1, 2, 3  # ids as in `src.data.tokens`: layers and data know nothing of each other
FIRST_WRITTEN = UNKNOWN  # the lowest id that a translation may contain


@dataclass(frozen=True)
class Design:
    """An encoder and its decoder, in names and numbers.

    Attributes:
      source_size: number of ids of the source.
      target_size: V, of the target.
      embedding_dim: D, of both languages.
      units: H. A bidirectional encoder has half of them in each direction.
      cell: a key of `CELLS`.
      depth: recurrent layers of the encoder, and of the decoder.
      bidirectional: whether the encoder reads the source in both directions.
      attention: a key of `SCORES`, or `none`.
      input_feeding: whether the cell reads f_t, see the module.
      initial_state: of the decoder. `zero`; `last`: layer by layer the states in which the encoder ends; `bridge`: a
        layer with tanh on the last states of its last layer.
      mask_attention: whether padding gets no weight.
      mask_loss: whether padding has no loss in training. Without, padding is a word that the decoder learns.
      dropout: share of the inputs of each recurrent layer, and of the attentional states before the output layer,
        that are zero in training.
      label_smoothing: see `word_losses`; only in training.
      tie_weights: whether the output layer multiplies with the embedding of the target; W is then D, otherwise H.
      teacher_forcing: probability with which a step of a training batch reads the right word before, and not the
        likeliest word of the model; drawn once per step for the whole batch. The first step always reads the start.
      longest_source: number of positions that the location score knows; None for other scores.
      longest: L; 0 for a model that does not translate.
      decode: `greedy` or `sample`, how the model translates.
      loop: `graph_loop` or `fused_loop`, the recurrent layers that need no attention between two steps.
      skips_padding: whether the output layer leaves out padding, which XLA cannot.
      seed: of initial weights and draws.
    """

    source_size: int
    target_size: int
    embedding_dim: int = 64
    units: int = 128
    cell: str = "gru"
    depth: int = 1
    bidirectional: bool = True
    attention: str = "additive"
    input_feeding: bool = True
    initial_state: str = "bridge"
    mask_attention: bool = True
    mask_loss: bool = True
    dropout: float = 0.0
    label_smoothing: float = 0.0
    tie_weights: bool = False
    teacher_forcing: float = 1.0
    longest_source: int | None = None
    longest: int = 0
    decode: str = "greedy"
    loop: str = "graph_loop"
    skips_padding: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bidirectional and self.units % 2:
            raise ValueError(f"each direction of the encoder has half of the units; {self.units} is odd")
        if self.initial_state not in ("zero", "last", "bridge"):
            raise ValueError(f"initial_state is {self.initial_state!r}; allowed: zero, last, bridge")


def encoder_decoder(design: Design) -> keras.Model:
    """Returns the untrained model.

    Its inputs are a dict: `source` int32[B, S], with an end and then padding (0); `target` int32[B, T], the words that
    the decoder reads, the start first; `labels` int32[B, T], the words that it should write, the end last.

    Its outputs are those of `Decoder`.
    """
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("source", "target", "labels")}
    annotations, states = Encoder(design, name="encoder")(inputs["source"])
    decoder = Decoder(design, name="decoder")
    outputs = decoder(inputs["target"], inputs["labels"], inputs["source"], annotations, states)
    return keras.Model(inputs, outputs, name="encoder_decoder")


class _Part(keras.layers.Layer):
    """What encoder and decoder share: the design, embeddings, cells, and random draws."""

    def __init__(self, design: Design | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.design = design if isinstance(design, Design) else Design(**design)
        self.draws = keras.random.SeedGenerator(stream_seed(self.design.seed, "dropout", self.name))

    def _seed(self, *name: str) -> int:
        return stream_seed(self.design.seed, "weights", self.name, *name)

    def _embedding(self, size: int) -> Any:
        # Keras' default, ±0.05, hardly moves a cell. With it, no translation of a date was right after 470 steps, and
        # with ±0.5 all were (10,000 dates by character, additive attention, 128 units, Adam at 0.002).
        initial = keras.initializers.RandomUniform(-0.5, 0.5, seed=self._seed("embedding"))
        return keras.layers.Embedding(size, self.design.embedding_dim, embeddings_initializer=initial, name="embedding")

    def _cell(self, units: int, *name: str) -> Any:
        weights = {
            "kernel_initializer": keras.initializers.GlorotUniform(self._seed(*name, "kernel")),
            "recurrent_initializer": keras.initializers.Orthogonal(seed=self._seed(*name, "recurrent")),
        }
        if self.design.cell == "lstm":
            weights["bias_initializer"] = ForgetBias(1.0)
        return CELLS[self.design.cell](units, name="_".join(name), **weights)

    def _dense(self, units: int, name: str, **options: Any) -> Any:
        initial = keras.initializers.GlorotUniform(self._seed(name, "kernel"))
        return keras.layers.Dense(units, kernel_initializer=initial, name=name, **options)

    def _dropped(self, x: Any, training: bool | None) -> Any:
        rate = self.design.dropout
        return keras.random.dropout(x, rate, seed=self.draws) if training and rate else x

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration that recreates the layer."""
        return {**super().get_config(), "design": asdict(self.design)}


@keras.saving.register_keras_serializable("ablation")
class Encoder(_Part):
    """Recurrent layers over the source, in one direction or both. Padding does not change their states.

    Call: int32[B, S] → the annotations float32[B, S, E], and for each layer its last states, float32[B, E] each. Both
    directions are concatenated.
    """

    def __init__(self, design: Design | Mapping[str, Any], **kwargs: Any) -> None:
        """Creates the layer."""
        super().__init__(design, **kwargs)
        used = self.design
        self.embedding = self._embedding(used.source_size)
        self.directions = ("forward", "backward") if used.bidirectional else ("forward",)
        units = used.units // len(self.directions)
        self.cells = [
            [self._cell(units, name, str(number)) for name in self.directions] for number in range(1, used.depth + 1)
        ]

    def build(self, shape: Any) -> None:
        """Creates the weights."""
        self.embedding.build(shape)
        width = self.design.embedding_dim
        for layer in self.cells:
            for cell in layer:
                cell.build((None, width))
            width = self.design.units
        self.built = True

    def call(self, ids: Any, training: bool | None = None) -> tuple[Any, list[list[Any]]]:
        """Returns the annotations, and for each layer its last states."""
        x, mask, last = self.embedding(ids), ids != PADDING, []
        for cells in self.cells:
            x = self._dropped(x, training)
            outputs, states = zip(
                *(self._read(cell, x, mask, direction) for cell, direction in zip(cells, self.directions, strict=True)),
                strict=True,
            )
            x = tf.concat(outputs, axis=2)
            last.append([tf.concat(parts, axis=1) for parts in zip(*states, strict=True)])
        return x, last

    def _read(self, cell: Any, x: Any, mask: Any, direction: str) -> tuple[Any, list[Any]]:
        """Returns the outputs of one direction, in the order of the source, and its last states."""
        backwards = direction == "backward"
        if backwards:
            x, mask = tf.reverse(x, [1]), tf.reverse(mask, [1])
        states = cell.zero_states(tf.shape(x)[0])
        outputs, after = LOOPS[self.design.loop](cell, x, mask, states, with_states=True)
        return tf.reverse(outputs, [1]) if backwards else outputs, after

    def compute_output_spec(self, ids: Any, training: bool | None = None) -> Any:
        """Returns the shapes and types of the outputs."""
        units, states = self.design.units, CELLS[self.design.cell].facts.states
        last = [[keras.KerasTensor((ids.shape[0], units)) for _ in range(states)] for _ in self.cells]
        return keras.KerasTensor((*ids.shape, units)), last


class Step(NamedTuple):
    """What a step of the decoder hands to the next one.

    Attributes:
      states: for each layer its states, float32[B, H] each.
      attentional: h_t, float32[B, W].
    """

    states: list[list[Any]]
    attentional: Any


@keras.saving.register_keras_serializable("ablation")
class Decoder(_Part):
    """Writes the translation. In training it reads the right words, or its own, see `Design.teacher_forcing`.

    Call: target int32[B, T], labels int32[B, T], source int32[B, S], annotations float32[B, S, E] and the states of the
    encoder → a dict:

        losses       float32[B, T], -log p(label) (smoothed in training); 0 where `counted` is 0
        counted      float32[B, T], 1 where a label counts: real words, in training all if `mask_loss` is false
        attention    float32[B, T, S], the weights while it reads the target; not with `attention=none`
        translation  int32[B, L], its own words with the end, then padding; all 0 in training; not with `longest` 0
    """

    def __init__(self, design: Design | Mapping[str, Any], **kwargs: Any) -> None:
        """Creates the layer."""
        super().__init__(design, **kwargs)
        used = self.design
        self.embedding = self._embedding(used.target_size)
        self.cells = [self._cell(used.units, "cell", str(number)) for number in range(1, used.depth + 1)]
        self.looks_first = used.attention == "additive"
        self.attention = None
        if used.attention != "none":
            self.attention = Attention(
                used.attention, used.units, longest=used.longest_source, seed=used.seed, name="attention"
            )
        self.width = used.embedding_dim if used.tie_weights else used.units
        self.attentional = self._dense(self.width, "attentional", activation="tanh")
        gates = len(CELLS[used.cell].facts.gates)
        self.feed = self._dense(gates * used.units, "feed", use_bias=False) if used.input_feeding else None
        self.bridges = [
            self._dense(used.units, f"bridge_{place}", activation="tanh")
            for place in range(used.depth * self._states if used.initial_state == "bridge" else 0)
        ]
        self.output_layer = WordLoss(
            used.target_size,
            first=FIRST_WRITTEN if used.mask_loss else PADDING,
            skips_others=used.skips_padding,
            label_smoothing=used.label_smoothing,
            initializer=keras.initializers.RandomUniform(-0.05, 0.05, seed=self._seed("output")),
            name="output",
        )
        self.coins = keras.random.SeedGenerator(stream_seed(used.seed, "teacher_forcing"))

    @property
    def _states(self) -> int:
        """The number of states of a layer."""
        return CELLS[self.design.cell].facts.states

    def build(self, *shapes: Any) -> None:
        """Creates the weights."""
        used, units = self.design, self.design.units
        self.embedding.build((None, None))
        for number, cell in enumerate(self.cells):
            cell.build((None, units if number else used.embedding_dim))
        if self.attention is not None:
            self.attention.build(units, units)
        self.attentional.build((None, units if self.attention is None else 2 * units))
        if self.feed is not None:
            self.feed.build((None, units if self.looks_first else self.width))
        for bridge in self.bridges:
            bridge.build((None, units))
        table = (used.target_size, self.width) if used.tie_weights else None
        self.output_layer.build((None, None, self.width), (None, None), table)
        self.built = True

    def call(
        self, target: Any, labels: Any, source: Any, annotations: Any, states: Any, training: bool | None = None
    ) -> dict[str, Any]:
        """Returns the outputs, see the class."""
        memory, start = self.memory(source, annotations), self.start(annotations, states)
        attentional, weights = self.read(target, start, memory, training)
        dropped = self._dropped(attentional, training)
        counted = tf.ones_like(dropped[:, :, 0])
        if self.design.mask_loss or not training:
            counted = tf.cast(labels != PADDING, tf.float32)
        losses = self.output_layer(dropped, labels, *self._table(), training=training)
        outputs = {"losses": losses * counted, "counted": counted}
        if weights is not None:
            outputs["attention"] = weights
        if self.design.longest:
            outputs["translation"] = self._translation(start, memory, training)
        return outputs

    def memory(self, source: Any, annotations: Any) -> Memory:
        """Returns what the attention reads at every step, computed once for a source int32[B, S]."""
        mask = source != PADDING if self.design.mask_attention else None
        return Memory(annotations) if self.attention is None else self.attention.memory(annotations, mask)

    def start(self, annotations: Any, states: list[list[Any]]) -> Step:
        """Returns what the first step gets; `states` are those of the encoder, the last ones of each of its layers."""
        batch, depth = tf.shape(annotations)[0], self.design.depth
        zeros = tf.zeros([batch, self.width])
        if self.design.initial_state == "zero":
            return Step([cell.zero_states(batch) for cell in self.cells], zeros)
        if self.design.initial_state == "last":
            return Step([list(of_layer) for of_layer in states], zeros)
        read = states[-1]  # the memory of an LSTM has a bridge from the memory
        made = [bridge(read[place % self._states]) for place, bridge in enumerate(self.bridges)]
        return Step([made[layer * self._states : (layer + 1) * self._states] for layer in range(depth)], zeros)

    def read(self, target: Any, start: Step, memory: Memory, training: bool | None = None) -> tuple[Any, Any]:
        """Returns the attentional states float32[B, T, W] and the weights float32[B, T, S] (None without attention).

        Args:
          target: int32[B, T].
          start: of `start`.
          memory: of `memory`.
          training: whether to drop inputs, and to read own words with probability 1 - `teacher_forcing`.
        """
        reads_own = bool(training) and self.design.teacher_forcing < 1
        if self.feed is None and not reads_own:
            return self._read_at_once(target, start, memory, training)
        return self._read_in_steps(target, start, memory, training, reads_own=reads_own)

    def _read_at_once(self, target: Any, start: Step, memory: Memory, training: bool | None) -> tuple[Any, Any]:
        """Computes the attention of all steps together, because no state depends on it."""
        x = self.embedding(target)
        for cell, states in zip(self.cells, start.states, strict=True):
            x = LOOPS[self.design.loop](cell, self._dropped(x, training), None, states)
        before = tf.concat([start.states[-1][0][:, None], x[:, :-1]], axis=1)
        context, weights = self._looked_up(before if self.looks_first else x, memory)
        return self._attentional(context, x), weights

    def _read_in_steps(
        self, target: Any, start: Step, memory: Memory, training: bool | None, *, reads_own: bool
    ) -> tuple[Any, Any]:
        batch, steps = target.shape[0], tf.shape(target)[1]
        z = self.cells[0].project(self._dropped(self.embedding(target), training))
        inputs = tf.TensorArray(z.dtype, steps).unstack(tf.transpose(z, [1, 0, 2]))
        kept = self._kept(tf.shape(target), training)
        coins = keras.random.uniform((steps,), seed=self.coins) < self.design.teacher_forcing if reads_own else None
        arrays = [tf.TensorArray(z.dtype, steps, element_shape=[batch, self.width])]
        if self.attention is not None:
            arrays.append(tf.TensorArray(z.dtype, steps, element_shape=[batch, memory.values.shape[1]]))

        def body(t: Any, before: Step, arrays: list[Any]) -> Any:
            z = inputs.read(t)
            if coins is not None:
                z = tf.cond(coins[t] | (t == 0), lambda: z, lambda: self._own(before.attentional))
            after, weights = self.step(z, before, memory, kept=[mask[t] for mask in kept])
            values = [after.attentional, *([] if weights is None else [weights])]
            return t + 1, after, [array.write(t, value) for array, value in zip(arrays, values, strict=True)]

        begin = (tf.constant(0), start, arrays)
        *_, arrays = tf.while_loop(lambda t, *_: t < steps, body, begin, maximum_iterations=steps)
        stacked = [tf.transpose(array.stack(), [1, 0, 2]) for array in arrays]
        return stacked[0], stacked[1] if len(stacked) > 1 else None

    def step(self, z: Any, before: Step, memory: Memory, kept: list[Any] | None = None) -> tuple[Step, Any]:
        """Returns what one step hands to the next one, and its weights float32[B, S] (None without attention).

        Args:
          z: the projection of the word before for the first cell, float32[B, G H].
          before: of the step before, or of `start`.
          memory: of `memory`.
          kept: factors of dropout for the inputs of the upper layers, float32[B, H] each.
        """
        context = weights = None
        if self.looks_first:
            context, weights = self._looked_up(before.states[-1][0], memory)
        if self.feed is not None:
            z = tf.add_n([z, self.feed(context if self.looks_first else before.attentional)])
        states, x = [], None
        for number, (cell, of_layer) in enumerate(zip(self.cells, before.states, strict=True)):
            if number:
                z = cell.project(x * kept[number - 1] if kept else x)
            x, new = cell.step(z, of_layer)
            states.append(list(new))
        if not self.looks_first:
            context, weights = self._looked_up(x, memory)
        return Step(states, self._attentional(context, x)), weights

    def _looked_up(self, query: Any, memory: Memory) -> tuple[Any, Any]:
        """Returns context and weights, or None for both without attention."""
        return (None, None) if self.attention is None else self.attention(query, memory)

    def _attentional(self, context: Any, state: Any) -> Any:
        return self.attentional(state if context is None else tf.concat([context, state], axis=-1))

    def _kept(self, shape: Any, training: bool | None) -> list[Any]:
        """Returns the factors of dropout for the inputs of the upper layers at all steps, float32[T, B, H] each."""
        if not (training and self.design.dropout):
            return []
        return [self._dropped(tf.ones([shape[1], shape[0], self.design.units]), training) for _ in self.cells[1:]]

    def _own(self, attentional: Any) -> Any:
        """Returns the projection of the likeliest word after an attentional state, float32[B, G H]."""
        return self.projected(tf.argmax(self.log_probs(attentional), axis=1, output_type=tf.int32))

    def projected(self, words: Any) -> Any:
        """Returns what `step` reads of words int32[B]."""
        return self.cells[0].project(self.embedding(words))

    def log_probs(self, attentional: Any) -> Any:
        """Returns log p(word) float32[..., V] from attentional states float32[..., W].

        An id that no translation may contain gets a log-probability below `NEVER`; the others are unchanged.
        """
        never = tf.where(tf.range(self.design.target_size) < FIRST_WRITTEN, NEVER, 0.0)
        return tf.nn.log_softmax(self.output_layer.logits(attentional, *self._table())) + never

    def _table(self) -> list[Any]:
        return [tf.convert_to_tensor(self.embedding.embeddings)] if self.design.tie_weights else []

    def stepper(self, memory: Memory) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
        """Returns a step for `decoding`: words int32[B], Step → log p(next word), next Step, weights float32[B, S]."""

        def step(words: Any, before: Step) -> tuple[Any, Any, Any]:
            after, weights = self.step(self.projected(words), before, memory)
            weights = tf.zeros(tf.shape(memory.values)[:2]) if weights is None else weights
            return self.log_probs(after.attentional), after, weights

        return step

    def _translation(self, start: Step, memory: Memory, training: bool | None) -> Any:
        longest = self.design.longest
        if training:
            return tf.zeros([tf.shape(memory.values)[0], longest], tf.int32)
        seed = stream_seed(self.design.seed, "decode") if self.design.decode == "sample" else None
        return decoding.walk(self.stepper(memory), start, START, END, longest=longest, seed=seed).ids

    def compute_output_spec(
        self, target: Any, labels: Any, source: Any, annotations: Any, states: Any, training: bool | None = None
    ) -> Any:
        """Returns the shapes and types of the outputs."""
        outputs = {name: keras.KerasTensor(target.shape) for name in ("losses", "counted")}
        if self.attention is not None:
            outputs["attention"] = keras.KerasTensor((*target.shape, source.shape[1]))
        if self.design.longest:
            outputs["translation"] = keras.KerasTensor((target.shape[0], self.design.longest), dtype="int32")
        return outputs
