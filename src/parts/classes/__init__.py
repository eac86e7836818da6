"""Tasks that tell classes apart: their toggle, and what is measured of them."""
