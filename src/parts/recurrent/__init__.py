"""Recurrent layers: their toggles, their sizes, the Keras layers, and the diagnosis of models that did not learn."""
