"""The built-in tasks, a room for each; `src.registry` names them."""
