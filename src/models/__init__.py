"""Ids to logits: encoding → recurrent layers → readout and head."""
