"""Recurrent layers: their toggles, sizes, layers, and why one of them may have learnt nothing."""
